"""The history: samples of the last minutes, taken only where the page is."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mysqlpool import PoolStats
from mysqlpool.contrib.status import history as module
from mysqlpool.contrib.status.history import INTERVAL, SPAN, History, Level
from tests.fake_driver import FakeClock
from tests.helpers import HANG, ROOT

NOW = Level(9, 9, 9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr("mysqlpool.pool.clock.monotonic", clock)
    return clock


def tell(monkeypatch: pytest.MonkeyPatch, **pools: PoolStats) -> None:
    monkeypatch.setattr(module, "stats", lambda: pools)


def test_it_tells_what_was_when(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    history = History()
    tell(monkeypatch, a=PoolStats(in_use=1, idle=2, waiting=3), b=PoolStats(in_use=5))
    history.note()
    clock.advance(2)
    tell(monkeypatch, a=PoolStats(in_use=4))
    history.note()
    clock.advance(1)
    found = [
        (one.seconds_ago, one.in_use, one.idle, one.waiting)
        for one in history.points("a", clock(), NOW)
    ]
    assert found == [(3, 1, 2, 3), (1, 4, 0, 0), (0, 9, 9, 9)]
    assert [one.in_use for one in history.points("b", clock(), NOW)] == [5, 9]
    assert [one.in_use for one in history.points("unknown", clock(), NOW)] == [9]


def test_it_forgets_what_is_older_than_five_minutes(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History()
    for number in range(1000):
        tell(monkeypatch, a=PoolStats(in_use=number))
        history.note()
        clock.advance(INTERVAL)
    found = history.points("a", clock(), NOW)
    assert found[0].seconds_ago <= SPAN
    assert found[-2].in_use == 999
    assert len(found) == SPAN / INTERVAL + 1
    assert len(history._samples) <= SPAN / INTERVAL + 1, "no more is kept than is shown"


def test_samples_far_apart_are_forgotten_by_their_age(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History()
    tell(monkeypatch, a=PoolStats(in_use=1))
    history.note()
    clock.advance(SPAN + 1)
    assert [one.in_use for one in history.points("a", clock(), NOW)] == [9]


def test_what_a_reader_has_does_not_change(
    clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    history = History()
    tell(monkeypatch, a=PoolStats(in_use=1))
    history.note()
    seen = history._samples
    history.note()
    assert len(seen) == 1
    with pytest.raises(TypeError):
        seen[0].levels["a"] = NOW  # type: ignore[index]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_a_forked_child_begins_with_an_empty_history(monkeypatch: pytest.MonkeyPatch) -> None:
    tell(monkeypatch, a=PoolStats(in_use=1))
    module.history.note()
    try:
        child = os.fork()
        if child == 0:
            os._exit(len(module.history._samples))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert module.history._samples
    finally:
        module.history.forget()


def started_tickers(*imports: str) -> str:
    """How many tickers a process has started that imports this."""
    code = [
        "from django.conf import settings",
        "settings.configure(DATABASES={'default': {'ENGINE': 'mysqlpool.backends.mysqlpool'}})",
        "import django",
        "django.setup()",
        *(f"import {name}" for name in imports),
        "from mysqlpool.aliases import ticker",
        "print(len(ticker._started))",
    ]
    return subprocess.run(
        [sys.executable, "-c", "\n".join(code)],
        cwd=ROOT, capture_output=True, text=True, timeout=HANG, check=True,
    ).stdout.strip()  # fmt: skip


def test_only_a_project_that_has_the_page_notes_anything() -> None:
    assert started_tickers("mysqlpool", "mysqlpool.backends.mysqlpool.base") == "0"
    assert started_tickers("mysqlpool.urls", "mysqlpool.urls") == "1"
