"""Counters that are read now and then, of pools that come and go."""

from __future__ import annotations

import os

import pytest

from mysqlpool.contrib.growth import Growth


def test_the_first_look_sees_all_and_the_next_what_is_new() -> None:
    growth = Growth()
    assert growth.of("default", {"a": 3, "b": 0}) == {"a": 3, "b": 0}
    assert growth.of("default", {"a": 5, "b": 1}) == {"a": 2, "b": 1}
    assert growth.of("default", {"a": 5, "b": 1}) == {"a": 0, "b": 0}


def test_a_counter_that_was_not_there_yet_has_grown_by_all_of_it() -> None:
    growth = Growth()
    growth.of("default", {"a": 3})
    assert growth.of("default", {"a": 3, "b": 4}) == {"a": 0, "b": 4}


@pytest.mark.parametrize("anew", [{"a": 1, "b": 9}, {"b": 9}])
def test_where_one_counter_has_fallen_all_of_its_pool_began_anew(anew: dict[str, int]) -> None:
    growth = Growth()
    growth.of("default", {"a": 3, "b": 4})
    growth.of("other", {"a": 3, "b": 4})
    assert growth.of("default", dict(anew.items())) == anew
    assert growth.of("other", {"a": 4, "b": 4}) == {"a": 1, "b": 0}


def test_in_a_child_all_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    growth = Growth()
    growth.of("default", {"a": 3})
    monkeypatch.setattr(os, "getpid", lambda: 0)
    assert growth.of("default", {"a": 4}) == {"a": 4}
    assert growth.of("default", {"a": 5}) == {"a": 1}
