"""What lease and release cost, next to the peers: ``python -m benchmarks cycle``.

All contenders work on one server in one run and take turns, block by block, so
that whatever else the machine does falls on all of them; on one processor,
which they share with the server, so that all that is done counts.  Look at the
ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import MySQLdb
from django.conf import settings
from django.db.utils import ConnectionHandler
from rich.console import Console
from rich.table import Table

from tests.server import Server, add_server_option, server_from_environment_or_private

from .processor import stay_on_one_processor

STOCK = "django.db.backends.mysql"
PEER = "dj_db_conn_pool.backends.mysql"
OURS = "mysqlpool.backends.mysqlpool"


@dataclass
class Contender:
    """One way to get a connection, to ask something over it, and to give it back."""

    name: str
    lease: Callable[[], object]
    query: Callable[[], object]
    release: Callable[[], object]
    leases: list[float] = field(default_factory=list)  # microseconds a cycle, one number a block
    queries: list[float] = field(default_factory=list)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks cycle", description=__doc__)
    parser.add_argument("--blocks", type=int, default=40, help="turns of each contender")
    parser.add_argument("--cycles", type=int, default=50, help="cycles a turn")
    add_server_option(parser)
    options = parser.parse_args(argv)
    settings.configure(USE_TZ=True)
    stay_on_one_processor()
    with server_from_environment_or_private(options.server) as server:
        contenders = [*django_contenders(server), bare_driver(server)]
        for _ in range(options.blocks):
            for contender in contenders:
                run_block(contender, options.cycles)
    report(contenders)
    return 0


def django_contenders(server: Server) -> list[Contender]:
    database = {
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "PASSWORD": server.password,
        "NAME": server.name,
    }
    databases = {
        "default": {**database, "ENGINE": OURS, "OPTIONS": {"pool": True}},
        "ours": {**database, "ENGINE": OURS, "OPTIONS": {"pool": True}},
        "peer": {**database, "ENGINE": PEER},
        "closed": {**database, "ENGINE": STOCK, "CONN_MAX_AGE": 0},
        "held": {**database, "ENGINE": STOCK, "CONN_MAX_AGE": None},
    }
    connections = ConnectionHandler(databases)
    names = {
        "ours": "mysqlpool",
        "peer": "django-db-connection-pool",
        "closed": f"{STOCK}, CONN_MAX_AGE=0",
        "held": f"{STOCK}, CONN_MAX_AGE=None",
    }
    return [
        django_contender(name, connections[alias], held=alias == "held")
        for alias, name in names.items()
    ]


def django_contender(name: str, wrapper: Any, *, held: bool) -> Contender:
    def query() -> None:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()

    release = wrapper.close_if_unusable_or_obsolete if held else wrapper.close
    return Contender(name, wrapper.ensure_connection, query, release)


def bare_driver(server: Server) -> Contender:
    connection = MySQLdb.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        autocommit=True,
    )

    def query() -> None:
        cursor = connection.cursor()
        cursor.execute("SELECT 1")
        cursor.fetchone()
        cursor.close()

    return Contender("mysqlclient, held", lambda: None, query, lambda: None)


def run_block(contender: Contender, cycles: int) -> None:
    lease, query, release = contender.lease, contender.query, contender.release
    lease(), query(), release()
    started = time.perf_counter()
    for _ in range(cycles):
        lease()
        release()
    middle = time.perf_counter()
    for _ in range(cycles):
        lease()
        query()
        release()
    ended = time.perf_counter()
    contender.leases.append((middle - started) / cycles * 1e6)
    contender.queries.append((ended - middle) / cycles * 1e6)


def report(contenders: list[Contender]) -> None:
    table = Table(title="microseconds a cycle: median of the blocks (best block)")
    for column in ("", "lease + release", "lease + SELECT 1 + release"):
        table.add_column(column, justify="left" if not column else "right")
    for contender in contenders:
        table.add_row(contender.name, shown(contender.leases), shown(contender.queries))
    console = Console()
    console.print(table)
    ours, peer, _, held, _ = contenders
    console.print(
        f"lease + release: {ratio(peer.leases, ours.leases):.1f} times cheaper than "
        f"{peer.name} (wanted: 10)\n"
        f"query cycle: {ratio(ours.queries, held.queries):.2f} times a held connection's "
        "(wanted: at most 1.35)"
    )


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f})"


def ratio(upper: list[float], lower: list[float]) -> float:
    """The median of the ratios of blocks that ran side by side."""
    return statistics.median(a / b for a, b in zip(upper, lower, strict=True))
