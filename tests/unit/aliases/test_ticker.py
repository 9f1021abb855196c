"""Something is done at intervals while there is a session, and nobody else pays for it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import mysqlpool.pool.caretaker
from mysqlpool.aliases import forks, ticker
from mysqlpool.aliases.ticker import Ticker
from mysqlpool.pool.caretaker import Caretaker
from tests.fake_driver import until
from tests.helpers import HANG, ROOT

SOON = 0.02  # seconds


class Session:
    """Stands in for an open session."""


@pytest.fixture(autouse=True)
def caretaker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Caretaker]:
    """One that knows the tickers of this test alone."""
    caretaker = Caretaker()
    monkeypatch.setattr(mysqlpool.pool.caretaker, "watch", caretaker.watch)
    monkeypatch.setattr(ticker, "_started", {})
    yield caretaker
    caretaker.rest()


@pytest.fixture(autouse=True)
def no_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forks, "_sessions", type(forks._sessions)())


def connect() -> Session:
    session = Session()
    forks.note_open(session)
    ticker.connected()
    return session


@pytest.fixture
def ticks() -> Iterator[Callable[..., list[str]]]:
    """Start a ticker; the names of the threads in which it ticked."""
    started: list[Ticker] = []

    def start(interval: float = SOON) -> list[str]:
        names: list[str] = []
        started.append(Ticker(interval, lambda: names.append(threading.current_thread().name)))
        started[-1].start()
        return names

    yield start
    for one in started:
        one.stop()


def test_it_ticks_in_the_caretakers_thread_while_there_is_a_session(
    ticks: Callable[[], list[str]],
) -> None:
    names, session = ticks(), connect()
    until(lambda: len(names) >= 3)
    assert set(names) == {"mysqlpool-caretaker"}
    forks.note_closed(session)


def test_one_that_is_started_when_there_is_a_session_already_ticks(
    ticks: Callable[[], list[str]],
) -> None:
    session = connect()
    names = ticks()
    until(lambda: len(names) >= 2)
    forks.note_closed(session)


def test_without_a_session_there_is_neither_a_tick_nor_a_thread(
    ticks: Callable[[], list[str]], caretaker: Caretaker
) -> None:
    names = ticks()
    assert caretaker._thread is None
    forks.note_closed(connect())
    until(lambda: caretaker._thread is None)
    before = len(names)
    session = connect()  # The next connect starts it again.
    until(lambda: len(names) > before + 1)
    forks.note_closed(session)
    until(lambda: caretaker._thread is None)


def test_one_that_was_stopped_ticks_no_more_and_can_be_started_again(
    caretaker: Caretaker,
) -> None:
    counted: list[int] = []
    one = Ticker(SOON, lambda: counted.append(1))
    one.start()
    one.start()
    session = connect()
    until(lambda: counted)
    one.stop()
    one.stop()
    until(lambda: caretaker._thread is None)
    before = len(counted)
    connect()
    assert caretaker._thread is None
    one.start()
    until(lambda: len(counted) > before)
    one.stop()
    forks.note_closed(session)


def test_an_error_in_a_tick_is_logged_and_neither_ends_it_nor_others(
    ticks: Callable[[], list[str]], caplog: pytest.LogCaptureFixture
) -> None:
    raised: list[int] = []

    def fails() -> None:
        raised.append(1)
        raise RuntimeError("a tick")

    broken = Ticker(SOON, fails)
    broken.start()
    names, session = ticks(), connect()
    until(lambda: len(raised) >= 2 and len(names) >= 2)
    broken.stop()
    forks.note_closed(session)
    assert "upkeep failed" in caplog.text
    assert "RuntimeError: a tick" in caplog.text


@pytest.mark.parametrize("interval", [0, -1, float("inf"), float("nan")])
def test_an_interval_that_is_none_is_refused(interval: float) -> None:
    with pytest.raises(ValueError, match="positive number of seconds"):
        Ticker(interval, lambda: None)


def test_a_long_interval_is_not_over_before_its_time(
    ticks: Callable[..., list[str]], caretaker: Caretaker
) -> None:
    quick, slow = ticks(), ticks(HANG * 100)
    session = connect()
    until(lambda: len(quick) >= 3)
    assert slow == []
    forks.note_closed(session)


def test_the_first_tick_may_come_sooner_and_also_after_a_late_connect(
    caretaker: Caretaker,
) -> None:
    counted: list[int] = []
    one = Ticker(HANG * 100, lambda: counted.append(1), first=SOON)
    one.start()
    until(lambda: time.monotonic() > one._due)
    assert counted == []
    session = connect()
    until(lambda: counted)
    assert one.next_look() > time.monotonic() + HANG
    one.stop()
    forks.note_closed(session)


PROGRAM = """
import os, threading, time
from django.conf import settings
settings.configure()
from mysqlpool.aliases import forks, ticker
from tests.fake_driver import until
class Session:
    def fileno(self): raise OSError
def connect():
    session = Session()
    forks.note_open(session)
    ticker.connected()
    return session
ticks = []
ticker.Ticker(0.02, lambda: ticks.append(os.getpid())).start()
session = connect()
until(lambda: ticks)
"""


def run(program: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", PROGRAM + program],
        capture_output=True,
        text=True,
        timeout=HANG,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_child_ticks_for_its_own_sessions_and_the_parent_goes_on() -> None:
    run("""
pid = os.fork()
if not pid:
    try:
        ticks.clear()
        assert not forks.any_open()
        assert "mysqlpool-caretaker" not in {t.name for t in threading.enumerate()}
        own = connect()
        until(lambda: len(ticks) > 1)
        assert set(ticks) == {os.getpid()}
        os._exit(0)
    finally:
        os._exit(1)
assert os.waitpid(pid, 0)[1] == 0
before = len(ticks)
until(lambda: len(ticks) > before + 1)
assert set(ticks) == {os.getpid()}
""")


def test_the_exit_waits_for_no_tick() -> None:
    run("""
began = threading.Event()
ticker.Ticker(0.01, lambda: (began.set(), time.sleep(1000))).start()
assert began.wait(20)
""")
