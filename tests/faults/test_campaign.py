"""What the tests of faults look with: it sees a difference, a lost slot, and what was left out."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mysqlpool import release_connections, stats
from mysqlpool.errors import PoolTimeout
from tests.faults.campaign import OURS, STOCK, Fault, ask, until
from tests.helpers import HANG, ROOT, in_thread
from tests.server import Server


@pytest.fixture
def sound(database: Server, flavour: str, django_db_blocker: Any) -> Iterator[Fault]:
    """No fault at all, which stands in no table."""
    fault = Fault("none", flavour, "task")
    with django_db_blocker.unblock():
        fault.aim(database, pool={"timeout": 0.3})
        yield fault
        fault.forget()


def test_a_sound_pool_conserves_its_slots(sound: Fault) -> None:
    assert sound.sees(ask) == "nothing"
    sound.recovers()
    assert (sound.lost, stats()[OURS].connects) == (0, 2)


def test_a_slot_that_is_gone_is_seen(sound: Fault) -> None:
    ask(OURS)  # With this lease mode, it is this thread's until it is released.
    with pytest.raises((PoolTimeout, threading.BrokenBarrierError)):
        sound.conserves()
    release_connections(OURS)
    sound.conserves()


def test_a_difference_to_djangos_engine_is_seen(sound: Fault) -> None:
    def differ(alias: str) -> None:
        if alias == OURS:
            raise PoolTimeout(alias, limit=1, in_use=1, waiting=0, seconds=0)

    with pytest.raises(AssertionError):
        sound.sees(differ)


def test_errors_beyond_what_is_allowed_are_seen(sound: Fault) -> None:
    ask(STOCK)
    release = sound.size

    def hold() -> None:
        ask(OURS)
        until(lambda: not release)
        release_connections(OURS)

    with in_thread(hold), in_thread(hold):
        until(lambda: OURS in stats() and stats()[OURS].in_use == 2)
        try:
            with pytest.raises(PoolTimeout):
                sound.recovers(errors=1)
        finally:
            release = 0


def collected(*arguments: str) -> str:
    """What another run would run, on the server of this one, and its last lines."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--collect-only"]
    return subprocess.run(
        [*command, *arguments, str(Path(__file__).with_name("test_client.py"))],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=True,
        text=True,
        timeout=HANG,
    ).stdout


def test_a_run_tells_of_the_faults_that_it_left_out() -> None:
    told = collected()
    assert "faults that take longer were left out; tox run -e faults runs them" in told
    assert "test_a_moved_clock" in told
    assert "test_the_interpreter_exits" not in told


def test_with_faults_none_is_left_out() -> None:
    told = collected("--faults")
    assert "left out" not in told
    assert "test_the_interpreter_exits" in told
