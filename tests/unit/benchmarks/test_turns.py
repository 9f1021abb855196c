"""benchmarks.turns and benchmarks.crowd: who is measured when."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import pytest
from django.db import connections

from benchmarks.contestants import REFERENCE, BareDriver, ThroughDjango, alone, contestants
from benchmarks.crowd import work_together
from benchmarks.turns import Stage, column
from tests.conftest import NOWHERE

STAGE = Stage(NOWHERE)


def test_every_second_round_goes_backwards() -> None:
    order: list[str] = []
    found = STAGE.turns("", {name: partial(order.append, name) for name in "abc"}, 3)
    assert "".join(order) == "abccbaabc"
    assert {name: len(turns) for name, turns in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_rounds_that_are_asked_for_win_over_a_scenarios_own() -> None:
    assert STAGE.turns("", {"a": lambda: 1}, 3) == {"a": [1, 1, 1]}
    assert Stage(NOWHERE, quick=True).turns("", {"a": lambda: 1}, 30) == {"a": [1, 1]}
    assert Stage(NOWHERE, quick=True, rounds=5).turns("", {"a": lambda: 1}, 30) == {"a": [1] * 5}


def test_django_knows_nobody_but_who_is_on_stage() -> None:
    before = set(connections)
    for one in contestants(NOWHERE):
        with one.on_stage():
            others = set() if isinstance(one, ThroughDjango) else before
            assert set(connections) == {*one.databases(), *others}
            assert isinstance(one, BareDriver) or {*connections} == {"default", one.key}
    assert set(connections) == before


def test_all_are_there_each_once_and_so_is_the_reference() -> None:
    everybody = contestants(NOWHERE)
    assert [one.key for one in everybody] == [
        *("driver", "held", "closed", "peer", "transaction", "task")
    ]
    assert len({one.name for one in everybody}) == len(everybody)
    assert REFERENCE in {one.name for one in everybody}


def test_in_a_process_of_its_own_a_contestant_has_the_default_alias() -> None:
    assert alone("task", NOWHERE).databases().keys() == {"default"}
    assert alone("driver", NOWHERE).databases() == {}


def test_ours_are_set_up_as_readme_tells_users_to() -> None:
    for key in ("transaction", "task"):
        one = alone(key, NOWHERE)
        assert one.middleware == ["mysqlpool.middleware.ReleaseConnectionsMiddleware"]
        assert one.databases()["default"]["OPTIONS"]["pool"]["lease"] == key
    assert alone("peer", NOWHERE).middleware == []


def test_all_are_closed_on_stage_when_a_contest_ends() -> None:
    """A pool that is left would answer for the next server under its alias."""
    closed: list[str] = []

    @dataclass(frozen=True)
    class Closing(BareDriver):
        def close(self) -> None:
            closed.append(self.name)

    who = [Closing(name, name, NOWHERE) for name in ("one", "two")]
    assert STAGE.contest("", who, lambda one: one.key, 1) == {"one": ["one"], "two": ["two"]}
    assert closed == ["one", "two"]
    with pytest.raises(ZeroDivisionError):
        STAGE.contest("", who, lambda one: 1 / 0, 1)
    assert closed == ["one", "two"] * 2


def test_a_figure_is_taken_out_of_each_turn() -> None:
    found = {"a": [{"µs": 1.0, "ms": 2.0}, {"µs": 3.0, "ms": 4.0}]}
    assert column(found, "µs") == {"a": [1, 3]}


def test_no_thread_begins_before_all_are_warm_and_each_does_a_task_at_least() -> None:
    order: list[str] = []
    work = work_together(4, lambda: order.append("task"), 0.0, warm_up=lambda: order.append("warm"))
    assert order[:4] == ["warm"] * 4
    assert order.count("warm") == 4
    assert min(work.turns) >= 1
    assert len(work.times) == sum(work.turns) == order.count("task")
    assert work.times == sorted(work.times)
    assert work.percentile(50) <= work.percentile(99) <= work.times[-1]


def test_each_thread_leaves_and_the_first_error_is_raised() -> None:
    left: list[int] = []

    def fail() -> None:
        raise LookupError("the task's own")

    with pytest.raises(LookupError, match="the task's own"):
        work_together(3, fail, 0.01, leave=lambda: left.append(1))
    assert len(left) == 3
