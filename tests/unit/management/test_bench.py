"""The command ``bench`` where the server gives nothing, and where it was interrupted."""

from __future__ import annotations

import io
import threading

import pytest
from django.core.management.base import BaseCommand
from django.db import OperationalError

from mysqlpool.management import bench, load
from mysqlpool.management.advice import Level
from mysqlpool.management.bench import Bench, page_of
from mysqlpool.management.census import Census
from mysqlpool.management.interrupts import Interrupt
from mysqlpool.management.load import Load, Worker
from mysqlpool.management.screen import Line, Screen
from mysqlpool.stats import PoolStats
from tests.helpers import HANG

CENSUS = Census("9.7.4", "app@web", 1, 1, 100, 0, True, ())
REFUSED = OperationalError(1226, "has exceeded the resource")


class Refused(Load):
    """A server that lets nobody in."""

    error = REFUSED

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *exc_info: object) -> None:
        pass

    def seen(self) -> PoolStats:
        return PoolStats()

    def run(self, work: str, threads: int, seconds: float) -> Level:
        self.error = REFUSED
        return Level(work, threads, seconds, done=0, failed=3)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(bench, "Load", Refused)
    made = Bench("default", Interrupt())
    made.census = CENSUS
    out = io.StringIO()
    with Screen(BaseCommand(stdout=out), {"stdout": out}) as screen:
        made._measure_load(screen, 1.0, 8)
    return made


def lines(bench: Bench) -> list[str]:
    return [part.text for part in page_of(bench) if isinstance(part, Line)]


def test_where_nothing_succeeds_it_ends_at_once_and_tells_why(measured: Bench) -> None:
    assert len(measured.levels) == 1
    assert measured.error is not None
    assert "1226" in measured.error
    assert measured.connecting is None
    assert f"The first error: {measured.error}" in lines(measured)
    assert not any("Interrupted" in line for line in lines(measured))


def test_what_was_measured_until_ctrl_c_is_shown_as_such(
    measured: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Interrupt, "came", True)
    assert any(line.startswith("Interrupted: this is what") for line in lines(measured))


def test_where_a_thread_cannot_be_started_the_others_end_and_the_error_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[Worker] = []
    start = threading.Thread.start

    def start_two(worker: Worker) -> None:
        if len(started) == 2:
            raise RuntimeError("can't start new thread")
        start(worker)
        started.append(worker)

    monkeypatch.setattr(Worker, "start", start_two)
    monkeypatch.setitem(load.WORKS, "nothing", lambda alias: None)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Load("default").run("nothing", 3, HANG)
    assert not any(worker.is_alive() for worker in started)
