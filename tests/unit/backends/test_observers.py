"""Who is told of statements and leases, and who is not."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mysqlpool.backends.mysqlpool import observers
from mysqlpool.backends.mysqlpool.observers import adjust, leasing, look_away, look_on, not_sent


def other(execute: Any, *args: Any) -> Any:
    """Somebody else's wrapper."""


class Onlooker:
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def leasing(self, alias: str, take: Callable[[], Any]) -> Any:
        self.told.append(("leasing", alias))
        return take()

    def not_sent(self, alias: str, statements: int) -> None:
        self.told.append(("not_sent", alias, statements))


@pytest.mark.parametrize("is_in", [True, False])
@pytest.mark.parametrize("is_told", [True, False])
def test_a_wrapper_tells_of_statements_while_somebody_is_told_and_once(
    monkeypatch: pytest.MonkeyPatch, is_in: bool, is_told: bool
) -> None:
    """Whoever is told may change between the look that finds a list wrong and its adjustment."""
    monkeypatch.setattr(observers, "present", object() if is_told else None)
    wrappers = [observers.watched, other] if is_in else [other]
    adjust(wrappers)
    assert wrappers == ([observers.watched, other] if is_told else [other])


def test_who_looks_on_at_one_task_is_told_of_no_others() -> None:
    onlooker = Onlooker()
    wrapper: Any = SimpleNamespace(alias="default")
    pool: Any = SimpleNamespace(lease=lambda *args: args)

    def work() -> None:
        lease: Any = leasing(wrapper, pool)("access", None)
        assert lease == ("access", None)
        not_sent(wrapper, 3)

    own, anothers = contextvars.Context(), contextvars.Context()
    own.run(look_on, onlooker)
    anothers.run(work)
    assert onlooker.told == []
    own.run(work)
    assert onlooker.told == [("leasing", "default"), ("not_sent", "default", 3)]
    own.run(look_away, onlooker)
    own.run(work)
    assert len(onlooker.told) == 2
