"""Prometheus and OpenTelemetry are told what the server counts, and nobody pays for it."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, connections
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from mysqlpool import auto_close_db, close_pool, release_connections, stats
from mysqlpool.contrib.opentelemetry_metrics import instrument_metrics, uninstrument_metrics
from mysqlpool.contrib.prometheus import register, unregister
from tests.helpers import HANG, ROOT, calls, error_of, lease_all, run_threads
from tests.observer import Observer
from tests.server.pointed import alias_with

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other", "stock"])

THREADS, TURNS = 32, 12


class Told:
    """What both are told of this process, read as their users do."""

    def __init__(self) -> None:
        self.registry, self.reader = CollectorRegistry(), InMemoryMetricReader()
        register(self.registry)
        instrument_metrics(MeterProvider([self.reader], shutdown_on_exit=False))

    def end(self) -> None:
        unregister(self.registry)
        uninstrument_metrics()

    def prometheus(self, name: str, alias: str = "default", **labels: str) -> float:
        found = self.registry.get_sample_value(f"mysqlpool_{name}", {"alias": alias, **labels})
        return -1 if found is None else found

    def opentelemetry(self) -> dict[str, Any]:
        """The points of the alias default, by name and state."""
        data = self.reader.get_metrics_data()
        found: dict[str, Any] = {}
        for one in data.resource_metrics if data else []:
            for metric in (metric for scope in one.scope_metrics for metric in scope.metrics):
                for point in metric.data.data_points:
                    attributes = dict(point.attributes or {})
                    if attributes.pop("db.client.connection.pool.name") == "default":
                        key = [metric.name.removeprefix("db.client.connection.")]
                        found[" ".join([*key, *map(str, attributes.values())])] = point
        return found


@pytest.fixture
def told() -> Iterator[Told]:
    made = Told()
    yield made
    made.end()


def run(sql: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql)


@auto_close_db
def turn(sql: str) -> None:
    run(sql)


@pytest.mark.parametrize("lease", ["task", "transaction"])
@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_under_busy_threads_both_are_told_what_the_server_counts(
    name: str, lease: str, observer: Observer, told: Told
) -> None:
    leaving = "CREATE TEMPORARY TABLE leaked (number INT)"
    statements = ["SELECT 1", leaving, "SELECT 1", "SELECT 1"] * (TURNS // 4)
    discards = THREADS * statements.count(leaving)
    watched: list[dict[str, Any]] = []

    def work() -> None:
        for sql in statements:
            turn(sql)
        watched.append(told.opentelemetry())  # Amid the others.
        assert told.prometheus("sessions", state="in_use") <= 5

    pool = {"class": name, "pool_size": 5, "timeout": HANG, "lease": lease}
    with alias_with(**pool, recycle=None, begin="separate"):
        run_threads(lambda: turn("SELECT 1"))  # Django asks the server for its version.
        before = {n: told.prometheus(n) for n in ("connects_total", "leases_total")}
        with observer.counting("Connections", "Questions") as grown:
            run_threads(*[work] * THREADS)
        connects = told.prometheus("connects_total") - before["connects_total"]
        leases = told.prometheus("leases_total") - before["leases_total"]
        numbers = told.opentelemetry()
        assert told.prometheus("discards_total", reason="CREATE") == discards
        assert told.prometheus("sessions", state="idle") == numbers["count idle"].value
        assert told.prometheus("sessions", state="in_use") == numbers["count used"].value == 0
        assert told.prometheus("limit") == numbers["max"].value == stats()["default"].limit
    assert connects == grown[0]
    assert leases == THREADS * TURNS
    # Each session says SET NAMES and its isolation level, and COM_QUIT when it is discarded.
    assert 0 <= leases + 2 * connects + discards - grown[1] <= 5, "COM_QUIT may be on its way"
    assert numbers["use_time"].count == leases + before["leases_total"]
    assert numbers["create_time"].count == connects + before["connects_total"]
    assert sum(one["use_time"].count for one in watched) > 0


def test_those_who_wait_and_those_who_wait_in_vain_are_told_of(told: Told) -> None:
    with alias_with(pool_size=1, timeout=0.2, lease="task"):
        run("SELECT 1")
        waiting: list[tuple[float, Any]] = []

        def look() -> None:
            while not waiting or waiting[-1][0] < 1:
                numbers = told.opentelemetry()["pending_requests"].value
                waiting.append((told.prometheus("waiting"), numbers))

        assert isinstance(
            run_threads(lambda: error_of(lambda: run("SELECT 1")), look)[0], Exception
        )
        assert told.prometheus("timeouts_total") == told.opentelemetry()["timeouts"].value == 1
        assert told.prometheus("wait_seconds_count") == 2
        assert told.prometheus("wait_seconds_bucket", le="0.1") == 1
        assert told.prometheus("wait_seconds_sum") >= 0.2
        assert told.opentelemetry()["wait_time"].sum >= 0.2
        assert told.prometheus("limit") == told.prometheus("sessions", state="in_use") == 1


def test_each_alias_of_ours_has_its_series_and_others_have_none(told: Told) -> None:
    lease_all("default", "other", "stock")
    aliases = {
        sample.labels["alias"] for family in told.registry.collect() for sample in family.samples
    }
    assert aliases == {"default", "other"}
    assert told.prometheus("limit", "other") == 3


def test_how_many_sessions_there_may_be_is_what_the_settings_say(told: Told) -> None:
    with alias_with(pool_size=4, max_overflow=2, min_idle=3):
        run("SELECT 1")
        numbers = told.opentelemetry()
        found = [numbers[name].value for name in ("max", "idle.max", "idle.min")]
        assert (found, told.prometheus("limit")) == ([6, 4, 3], 6)
    with alias_with(**{"class": "NullPool"}):
        run("SELECT 1")
        assert not {"max", "idle.max"} & told.opentelemetry().keys()
        assert told.prometheus("limit") == -1, "no series"


def test_a_scrape_opens_no_pool_and_no_session(observer: Observer, told: Told) -> None:
    database = str(connections["default"].settings_dict["NAME"])
    observer.until(lambda: not observer.sessions(database))
    with observer.counting("Connections", "Questions") as grown:
        before = set(stats())
        told.opentelemetry()
        told.prometheus("limit")
        assert set(stats()) == before
    lease_all("default")
    release_connections()
    close_pool()
    observer.until(lambda: not observer.sessions(database))  # Their end is a question, too.
    with observer.counting("Connections", "Questions") as again:
        told.opentelemetry()
        told.prometheus("limit")
    assert grown == again == [0, 0]


@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_a_lease_does_not_pay_for_being_told_of(lease: str) -> None:
    def ask() -> None:
        turn("SELECT 1")

    with alias_with(pool_size=2, lease=lease):
        without = calls(ask)
        made = Told()
        try:
            made.opentelemetry()
            assert calls(ask) <= without + 2, "as measured; to record one time takes many more"
        finally:
            made.end()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_in_a_forked_child_both_are_told_of_its_own_pools(told: Told) -> None:
    before = stats()["default"].lease.count if stats() else 0
    for _ in range(3):
        turn("SELECT 1")
    assert told.opentelemetry()["use_time"].count == before + 3
    child = os.fork()
    if not child:
        status = 1
        try:
            turn("SELECT 1")
            assert told.prometheus("leases_total") == 1
            assert told.opentelemetry()["use_time"].count == before + 3 + 1, "as inherited"
            assert told.opentelemetry()["count idle"].value == 1
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert told.prometheus("leases_total") == before + 3
    assert told.opentelemetry()["use_time"].count == before + 3


# Several processes


class Worker:
    """A process that writes its numbers for Prometheus: see ``worker.py``."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.server.contrib.worker", *arguments],
            env={
                **os.environ,
                "PROMETHEUS_MULTIPROC_DIR": str(folder),
                "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
            },
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def has_worked(self) -> tuple[int, int]:
        """Its process id and how many sessions it has opened, once its work is done."""
        assert self.process.stdout is not None
        pid, connects = self.process.stdout.readline().split()
        return int(pid), int(connects)

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def exit(self) -> None:
        self.tell("exit")
        assert self.process.wait(HANG) == 0


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Worker]]:
    started: list[Worker] = []

    def start(*arguments: str) -> Worker:
        started.append(Worker(tmp_path, *arguments))
        return started[-1]

    yield start
    for one in started:
        assert one.process.stdin is not None
        assert one.process.stdout is not None
        with one.process, one.process.stdin, one.process.stdout:
            one.process.kill()


class Files:
    """What a scrape of all processes tells."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def of(self, name: str, **labels: str) -> float:
        """The sum over all processes."""
        wanted = {"alias": "default", **labels}.items()
        return sum(
            sample.value
            for family in self.scraped()
            for sample in family.samples
            if sample.name == f"mysqlpool_{name}" and wanted <= sample.labels.items()
        )

    def scraped(self) -> list[Metric]:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=self.folder)
        while True:
            try:
                return list(registry.collect())
            except struct.error:  # Of a file that a process is making just now, and is empty yet.
                time.sleep(0.01)


@pytest.mark.parametrize("way", [[], ["fork"]], ids=["started", "forked"])
@pytest.mark.long
def test_two_processes_are_told_of_together_and_their_counts_outlive_them(
    way: list[str], start: Callable[..., Worker], tmp_path: Path, observer: Observer
) -> None:
    files = Files(tmp_path)
    with observer.counting("Connections") as grown:
        workers = [start("16", "5", *way) for _ in range(2)]
        told = [worker.has_worked() for worker in workers]
        observer.until(lambda: files.of("leases_total") == 2 * 16 * 5)
    connects = sum(number for _, number in told)
    assert files.of("connects_total") == connects == grown[0]
    assert files.of("lease_seconds_count") == files.of("wait_seconds_count") == 2 * 16 * 5
    assert files.of("sessions", state="idle") == connects
    for pid, number in told:
        assert files.of("sessions", state="idle", pid=str(pid)) == number
    workers[0].tell("work")
    workers[0].has_worked()
    observer.until(lambda: files.of("leases_total") == 3 * 16 * 5)
    os.kill(told[0][0], signal.SIGKILL)
    workers[0].process.wait(HANG)
    assert files.of("leases_total") == 3 * 16 * 5
    mark_process_dead(told[0][0], path=str(tmp_path))
    assert files.of("sessions", state="idle") == files.of("sessions", pid=str(told[1][0]))
    workers[1].tell("work")
    workers[1].has_worked()
    workers[1].exit()
    assert files.of("leases_total") == 4 * 16 * 5, "it had no interval left to tell the last"
    assert files.of("sessions") == 0


@pytest.mark.long
def test_a_third_process_goes_on_where_the_first_ended(
    start: Callable[..., Worker], tmp_path: Path
) -> None:
    files = Files(tmp_path)
    for number in (1, 2, 3):
        worker = start("2", "3")
        worker.has_worked()
        worker.exit()
        assert files.of("leases_total") == number * 2 * 3
        assert files.of("sessions") == files.of("limit") == 0
