"""Threads that wait for something else between two queries, on a few sessions.

Each task is a query, a wait, a query; then the thread gives back what it holds. All contenders
work on one server, in turns; each starts with no session, and its threads do one task without a
wait before the clock runs. They begin one after the other, spread over the time of one wait: with
``--in-step`` all begin at once, and as all wait equally long, each time all ask at once. "Ideal" is
a thread that waits for nothing but its two round trips.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import django
from django.conf import settings
from django.db import connections
from rich.console import Console
from rich.table import Table

from mysqlpool import close_pool, release_connections
from tests.observer import Observer
from tests.server import Server, add_server_option, server_from_environment_or_private

STOCK = "django.db.backends.mysql"
PEER = "dj_db_conn_pool.backends.mysql"
OURS = "mysqlpool.backends.mysqlpool"

SESSIONS = 10
PATIENCE = 600  # seconds; a pool's timeout that no thread reaches, however unfair its turns are

TRANSACTION, TASK, PEER_NAME = "ours, transaction", "ours, task", "django-db-connection-pool"
CLOSED, HELD = "Django, CONN_MAX_AGE=0", "Django, CONN_MAX_AGE=None"

# Where the targets are looked at: threads, milliseconds of the wait
TARGET = (64, 50)
PEER_FACTOR, P99_FACTOR = 4.0, 2.0

Load = tuple[int, int]


@dataclass(frozen=True)
class Contender:
    """A way to have connections: what a thread does at a task's end, and how all are closed."""

    name: str
    alias: str
    release: Callable[[], object]
    close: Callable[[], object]


@dataclass(frozen=True)
class Result:
    """Tasks a second, milliseconds a task, and the most sessions the server had at once."""

    throughput: float
    p50: float
    p99: float
    sessions: float


def start_counting(observer: Observer) -> None:
    """Begin with no session but the observer's, as soon as the server has closed the others."""
    observer.until(lambda: observer.status("Threads_connected") == [1])
    observer.reset_peak()


def peak(observer: Observer) -> int:
    """The most sessions at once since ``start_counting()``."""
    return observer.status("Max_used_connections")[0] - 1


def round_trip_of(observer: Observer, count: int = 500) -> float:
    """Seconds that a query takes: the median."""
    times = []
    for _ in range(count):
        started = time.perf_counter()
        observer.query("SELECT 1")
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def configure(server: Server) -> None:
    database = {
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "PASSWORD": server.password,
        "NAME": server.name,
    }
    sizes = {"pool_size": SESSIONS, "max_overflow": 0, "timeout": PATIENCE}
    ours = {**database, "ENGINE": OURS}
    databases = {
        "default": {},
        "transaction": {**ours, "OPTIONS": {"pool": {**sizes, "lease": "transaction"}}},
        "task": {**ours, "OPTIONS": {"pool": {**sizes, "lease": "task"}}},
        "peer": {
            **database,
            "ENGINE": PEER,
            "POOL_OPTIONS": {name.upper(): value for name, value in sizes.items()},
        },
        "closed": {**database, "ENGINE": STOCK, "CONN_MAX_AGE": 0},
        "held": {**database, "ENGINE": STOCK, "CONN_MAX_AGE": None},
    }
    settings.configure(USE_TZ=True, DATABASES=databases)
    django.setup()


def contenders() -> dict[str, Contender]:
    """All of them, by name, in the order in which they take turns."""
    ours = [
        Contender(name, alias, release_connections, partial(close_pool, alias))
        for name, alias in [(TRANSACTION, "transaction"), (TASK, "task")]
    ]
    others = [
        Contender(PEER_NAME, "peer", lambda: connections["peer"].close(), dispose_peers_pool),
        Contender(CLOSED, "closed", partial(end_request, "closed"), lambda: None),
        Contender(HELD, "held", partial(end_request, "held"), lambda: None),
    ]
    return {contender.name: contender for contender in [*ours, *others]}


def end_request(alias: str) -> None:
    """What Django does at the end of each request."""
    connections[alias].close_if_unusable_or_obsolete()


def dispose_peers_pool() -> None:
    core: Any = importlib.import_module("dj_db_conn_pool.core")
    core.pool_container.dispose()


def query(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT 1")
        cursor.fetchone()


class Run:
    """One contender under one load: the threads, and when each task began and ended."""

    def __init__(self, contender: Contender, load: Load, *, in_step: bool) -> None:
        threads, wait = load
        self.contender = contender
        self.in_step = in_step
        self.wait = wait / 1000
        self.barrier = threading.Barrier(threads + 1)
        self.over = threading.Event()
        self.tasks: list[list[tuple[float, float]]] = [[] for _ in range(threads)]
        self.errors: list[BaseException] = []
        self.workers = [
            threading.Thread(target=self.work, args=(number,)) for number in range(threads)
        ]

    def measure(self, seconds: float) -> tuple[float, list[float]]:
        """Return the tasks a second in the middle of the run, and all tasks' seconds, sorted.

        Those that the end of the run finds waiting count, too: they waited longest.
        """
        for worker in self.workers:
            worker.start()
        with suppress(threading.BrokenBarrierError):  # errors[0] tells why
            self.barrier.wait()
        time.sleep(self.wait)
        begun = time.perf_counter()
        time.sleep(seconds)
        ended = time.perf_counter()
        self.over.set()
        for worker in self.workers:
            worker.join()
        if self.errors:
            raise self.errors[0]
        tasks = [task for mine in self.tasks for task in mine]
        count = sum(begun <= end < ended for _, end in tasks)
        return count / (ended - begun), sorted(end - start for start, end in tasks)

    def work(self, number: int) -> None:
        mine = self.tasks[number]
        try:
            self.task(0)
            self.barrier.wait()
            if not self.in_step:
                time.sleep(self.wait * number / len(self.tasks))
            while not self.over.is_set():
                begun = time.perf_counter()
                self.task(self.wait)
                mine.append((begun, time.perf_counter()))
        except BaseException as error:
            self.errors.append(error)
            self.barrier.abort()
        finally:
            connections.close_all()

    def task(self, wait: float) -> None:
        query(self.contender.alias)
        time.sleep(wait)
        query(self.contender.alias)
        self.contender.release()


def measured(
    contender: Contender, load: Load, options: argparse.Namespace, observer: Observer
) -> Result:
    start_counting(observer)
    throughput, times = Run(contender, load, in_step=options.in_step).measure(options.seconds)
    sessions = peak(observer)
    contender.close()
    p50, p99 = (times[len(times) * percent // 100] * 1000 for percent in (50, 99))
    return Result(throughput, p50, p99, sessions)


def ideal(load: Load, round_trip: float) -> Result:
    """No thread waits for a session or the processor: Little's law."""
    threads, wait = load
    milliseconds = wait + 2 * round_trip * 1000
    return Result(threads / milliseconds * 1000, milliseconds, milliseconds, threads)


def middle(results: list[Result]) -> Result:
    """The median of each figure over the rounds."""
    columns = zip(*(vars(result).values() for result in results), strict=True)
    return Result(*(statistics.median(column) for column in columns))


def compare(load: Load, options: argparse.Namespace, observer: Observer) -> dict[str, Result]:
    """All contenders under one load, in turns."""
    found: dict[str, list[Result]] = {name: [] for name in contenders()}
    for _ in range(options.rounds):
        for name, contender in contenders().items():
            found[name].append(measured(contender, load, options, observer))
    return {name: middle(results) for name, results in found.items()}


def report(console: Console, found: dict[Load, dict[str, Result]], round_trip: float) -> None:
    table = Table(title=f"query, wait, query; pools of {SESSIONS} sessions")
    for heading in ("threads", "wait ms", "", "tasks/s", "p50 ms", "p99 ms", "sessions"):
        table.add_column(heading, justify="right" if heading else "left")
    for load, results in found.items():
        rows = {**results, "ideal": ideal(load, round_trip)}
        for number, (name, result) in enumerate(rows.items()):
            table.add_row(
                *(str(value) if number == 0 else "" for value in load),
                name,
                f"{result.throughput:,.0f}",
                f"{result.p50:,.1f}",
                f"{result.p99:,.1f}",
                f"{result.sessions:.0f}",
                end_section=name == "ideal",
            )
    console.print(table)


def verdicts(results: dict[str, Result], round_trip: float) -> Iterator[str]:
    """The targets at 64 threads and 50 ms, as ratios, and whether each is met."""
    ours = results[TRANSACTION]
    ratio = ours.throughput / results[PEER_NAME].throughput
    yield verdict(
        "throughput, times the peer's", ratio, ratio >= PEER_FACTOR, f">= {PEER_FACTOR:g}"
    )
    for name in (CLOSED, HELD):
        ratio = ours.throughput / results[name].throughput
        yield verdict(f"throughput, times that of {name}", ratio, ratio >= 1, ">= 1")
    ratio = ours.p99 / ideal(TARGET, round_trip).p99
    yield verdict("p99, times the ideal", ratio, ratio <= P99_FACTOR, f"<= {P99_FACTOR:g}")


def verdict(what: str, ratio: float, met: bool, wanted: str) -> str:
    return f"{what}: {ratio:.2f} (wanted {wanted}): {'met' if met else 'NOT MET'}"


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def main(argv: Sequence[str]) -> int:
    """Print the table and the verdicts; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks slow_calls", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run (default 2)")
    parser.add_argument("--rounds", type=int, default=3, help="of all contenders (default 3)")
    parser.add_argument("--threads", type=numbers, default=[64, 256], help="default 64,256")
    parser.add_argument("--waits", type=numbers, default=[10, 50, 200], help="ms: 10,50,200")
    parser.add_argument("--in-step", action="store_true", help="let all threads begin at once")
    add_server_option(parser)
    options = parser.parse_args(argv)
    loads = [(threads, wait) for threads in options.threads for wait in options.waits]
    console = Console(width=110)
    with server_from_environment_or_private(options.server) as server, Observer(server) as observer:
        configure(server)
        round_trip = round_trip_of(observer)
        found = {load: compare(load, options, observer) for load in loads}
    report(console, found, round_trip)
    if TARGET in found:
        console.print(f"Transaction leases at {TARGET[0]} threads and {TARGET[1]} ms:")
        for line in verdicts(found[TARGET], round_trip):
            console.print(f"  {line}")
    return 0
