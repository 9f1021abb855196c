"""What a path that takes its time costs each kind of block, in round trips.

One thread runs a block, and then its contender's end of a task, over a path on which a round trip
takes so many milliseconds longer. All work on one server, in turns. The time is divided by that of
a round trip over the same path, which is measured with the driver alone. How many round trips there
are is also counted, on a path that counts. Without TLS, which would add to what opening a session
costs.
"""

from __future__ import annotations

import argparse
import importlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import django
import MySQLdb
from django.conf import settings
from django.db import connections
from rich.console import Console
from rich.table import Table

from mysqlpool import close_pool, release_connections
from tests.server import Server, add_server_option, server_from_environment_or_private

from .slow_path import slow_path

STOCK = "django.db.backends.mysql"
PEER = "dj_db_conn_pool.backends.mysql"
OURS = "mysqlpool.backends.mysqlpool"

PLAIN = {"ssl_mode": "DISABLED"}
# How our transactions begin: None where there is no choice.
BEGINS: Sequence[str | None] = ("fused", "separate", "autocommit")
LEASES = ("transaction", "task")

BLOCKS = ("get", "empty", "one read", "one write", "a read, a nested write", "update_or_create")


@dataclass(frozen=True)
class Contender:
    """A way to have connections: Django's settings of an alias, and what a task's end does."""

    name: str
    settings: Mapping[str, Any]
    end: Callable[[str], object]


def contenders() -> list[Contender]:
    """All of them, in the order in which they take turns."""
    ours = [
        Contender(
            "ours, " + ", ".join(filter(None, (lease, begin))),
            {"ENGINE": OURS, "OPTIONS": {**PLAIN, "pool": pool(lease, begin)}},
            release_connections,  # of this alias alone: the others are held meanwhile
        )
        for lease in LEASES
        for begin in BEGINS
    ]
    return [
        Contender("Django, CONN_MAX_AGE=0", stock(0), end_request),
        Contender("Django, CONN_MAX_AGE=None", stock(None), end_request),
        Contender(
            "django-db-connection-pool",
            {"ENGINE": PEER, "OPTIONS": PLAIN},
            lambda alias: connections[alias].close(),
        ),
        *ours,
    ]


def stock(max_age: int | None) -> dict[str, Any]:
    return {"ENGINE": STOCK, "CONN_MAX_AGE": max_age, "OPTIONS": PLAIN}


def pool(lease: str, begin: str | None) -> dict[str, Any]:
    return {"lease": lease} if begin is None else {"lease": lease, "begin": begin}


def end_request(alias: str) -> None:
    """What Django does at the end of each request."""
    connections[alias].close_if_unusable_or_obsolete()


def alias_of(contender: Contender, port: int) -> str:
    return f"{contender.name} {port}"


def configure(server: Server, ports: Sequence[int]) -> None:
    common = {
        "HOST": "127.0.0.1",
        "USER": server.user,
        "PASSWORD": server.password,
        "NAME": server.name,
    }
    databases: dict[str, dict[str, Any]] = {"default": {}}
    for contender in contenders():
        for port in ports:
            databases[alias_of(contender, port)] = {**common, **contender.settings, "PORT": port}
    settings.configure(USE_TZ=True, DATABASES=databases, INSTALLED_APPS=["tests.rows"])
    django.setup()


@contextmanager
def bare(server: Server, port: int) -> Iterator[Any]:
    """A connection of the driver alone."""
    connection = MySQLdb.connect(
        host="127.0.0.1",
        port=port,
        user=server.user,
        password=server.password,
        database=server.name,
        autocommit=True,
        **PLAIN,
    )
    try:
        yield connection
    finally:
        connection.close()


def round_trip(connection: Any) -> float:
    """Seconds that a query takes."""
    started = time.perf_counter()
    connection.query("SELECT 1")
    connection.store_result()
    return time.perf_counter() - started


def task(contender: Contender, alias: str, run: Callable[[str], object]) -> float:
    """Seconds that a block takes, with the end of its task."""
    started = time.perf_counter()
    run(alias)
    contender.end(alias)
    return time.perf_counter() - started


def close(contender: Contender, alias: str) -> None:
    connections[alias].close()
    if contender.settings["ENGINE"] == OURS:
        close_pool(alias)


class Measuring:
    """All contenders with all blocks over one path."""

    def __init__(self, server: Server, port: int, kinds: Mapping[str, Any]) -> None:
        self.server, self.port, self.kinds = server, port, kinds
        self.times: dict[tuple[str, str], list[float]] = {}
        self.round_trip = 0.0

    def run(self, rounds: int) -> None:
        with bare(self.server, self.port) as connection:
            trips = [round_trip(connection) for _ in range(100)]
            for number in range(rounds + 1):
                for contender in contenders():
                    self._turn(contender, counts=number > 0)
                trips += [round_trip(connection) for _ in range(10)]
            self.round_trip = statistics.median(trips)
        for contender in contenders():
            close(contender, alias_of(contender, self.port))

    def _turn(self, contender: Contender, *, counts: bool) -> None:
        """The first one, which opens sessions, does not count."""
        for name in BLOCKS:
            seconds = task(contender, alias_of(contender, self.port), self.kinds[name].run)
            if counts:
                self.times.setdefault((contender.name, name), []).append(seconds)

    def median(self, contender: str, block: str) -> float:
        return statistics.median(self.times[contender, block])


def counted(wire: Any, kinds: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """How many round trips each contender has with each block."""
    found = {}
    for contender in contenders():
        alias = alias_of(contender, wire.port)
        for name in BLOCKS:
            task(contender, alias, kinds[name].run)
            with wire.counting() as traffic:
                task(contender, alias, kinds[name].run)
            found[contender.name, name] = traffic.round_trips
        close(contender, alias)
    return found


def table(title: str, cell: Callable[[str, str], str]) -> Table:
    drawn = Table(title=title)
    drawn.add_column("")
    for name in BLOCKS:
        drawn.add_column(name, justify="right")
    for contender in contenders():
        drawn.add_row(contender.name, *(cell(contender.name, name) for name in BLOCKS))
    return drawn


def report(
    console: Console, delays: Sequence[float], trips: Mapping[tuple[str, str], int], paths: Any
) -> None:
    console.print(table("round trips, counted", lambda *key: str(trips[key])))
    for delay, measuring in zip(delays, paths, strict=True):

        def cell(contender: str, block: str, path: Measuring = measuring) -> str:
            seconds = path.median(contender, block)
            return f"{seconds / path.round_trip:.1f} ({1 / seconds:,.0f})"

        took = f"{measuring.round_trip * 1000:.2f}"
        console.print(
            table(f"{delay:g} ms added, a round trip is {took} ms: in these (tasks/s)", cell)
        )


def main(argv: Sequence[str]) -> int:
    """Print the tables; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks latency", description=__doc__)
    parser.add_argument("--delays", type=numbers, default=[0, 0.5, 1, 5], help="ms: 0,0.5,1,5")
    parser.add_argument("--rounds", type=int, default=20, help="turns of each contender (20)")
    add_server_option(parser)
    options = parser.parse_args(argv)
    with ExitStack() as stack:
        server = stack.enter_context(server_from_environment_or_private(options.server))
        # These need Django's settings, which need the ports.
        wire = stack.enter_context(importlib.import_module("tests.server.begin.wire").Wire(server))
        ports = [stack.enter_context(slow_path(server, delay)) for delay in options.delays]
        configure(server, [wire.port, *ports])
        kinds = prepare(server)
        trips = counted(wire, kinds)
        paths = [Measuring(server, port, kinds) for port in ports]
        for path in paths:
            path.run(options.rounds)
    report(Console(width=130), options.delays, trips, paths)
    return 0


def prepare(server: Server) -> Mapping[str, Any]:
    """Make the table, with the row that is always there; the blocks, by name."""
    rows = importlib.import_module("tests.server.begin.world").ROWS
    with bare(server, server.port) as connection:
        connection.query(rows)
        connection.query("INSERT INTO rows_row (text, number) VALUES ('there', 1)")
    kinds: Mapping[str, Any] = importlib.import_module("tests.server.begin.blocks").BLOCKS
    return kinds


def numbers(text: str) -> list[float]:
    return [float(number) for number in text.split(",")]
