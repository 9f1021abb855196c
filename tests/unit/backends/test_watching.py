"""A watched lease behaves to its grantor as one that nobody watches."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from mysqlpool.backends.mysqlpool.watching import watch
from mysqlpool.pool import Lease
from mysqlpool.pool.record import LEASED


class Calls:
    """A grantor, or a watcher: it notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: self.told.append((name, *args))


@pytest.fixture
def grantor() -> Calls:
    return Calls()


@pytest.fixture
def watcher() -> Calls:
    return Calls()


@pytest.fixture
def lease(grantor: Calls, watcher: Calls) -> Lease:
    lease = Lease(grantor)
    lease.session = SimpleNamespace(witness=None)
    watch(lease, watcher)
    return lease


TELLS: dict[str, tuple[Any, ...]] = {
    "pin": ("SET",),
    "share": (),
    "unshare": (True,),
    "note_rollback": (),
    "discard": ("SET",),
    "give_back": (),
}


@pytest.mark.parametrize("what", TELLS)
def test_a_grantor_is_told_what_it_would_be_told_without_a_watcher(
    grantor: Calls, lease: Lease, what: str
) -> None:
    getattr(lease, what)(*TELLS[what])
    assert grantor.told == [(what, lease, *TELLS[what])]


def test_a_watched_lease_that_is_dropped_alarms_its_grantor(grantor: Calls, watcher: Calls) -> None:
    lease = Lease(grantor)
    lease.session = SimpleNamespace(witness=None)
    lease.record = SimpleNamespace(state=LEASED, serial=lease.serial)  # type: ignore[assignment]
    watch(lease, watcher)
    del lease
    assert grantor.told == [("alarm",)]


def test_the_watcher_knows_how_it_ends_before_the_session_is_somebody_elses(
    grantor: Calls, watcher: Calls, lease: Lease
) -> None:
    told: list[str] = []
    watcher.ended = lambda *args: told.append("watcher")  # type: ignore[attr-defined]
    grantor.give_back = lambda *args: told.append("grantor")  # type: ignore[attr-defined]
    lease.give_back()
    assert told == ["watcher", "grantor"]
