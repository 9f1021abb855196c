"""What a path that takes its time costs each kind of block of the ORM.

One thread runs a block, and then its contestant's end of a task, over a path on which a round trip
takes so many milliseconds longer. How many round trips there are is also counted, on a path that
counts, there with all ways in which a transaction of ours can begin.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import MySQLdb

from tests.server import Server

from ..contestants import PLAIN, REFERENCE, Contestant, ThroughDjango, contestants, ours
from ..results import Result, compare
from ..slow_path import slow_path
from ..turns import Stage, column

__all__ = ["run"]

BLOCKS = ("get", "empty", "one read", "one write", "a read, a nested write", "update_or_create")
DELAYS = (0.0, 1.0, 5.0)  # milliseconds
LEASES = ("transaction", "task")
BEGINS = ("separate", "autocommit")  # besides the usual one, "fused"


def run(stage: Stage) -> list[Result]:
    kinds = prepare(stage.server)
    blocks = stage.amount(BLOCKS, BLOCKS[:2])
    results = counted(stage, kinds, blocks)
    for delay in stage.amount(DELAYS, (1.0,)):
        results += timed(stage, kinds, blocks, delay)
    return results


def counted(stage: Stage, kinds: Mapping[str, Any], blocks: Sequence[str]) -> list[Result]:
    """How many round trips each contestant has with each block."""
    # What it imports needs Django's settings.
    wire_of = importlib.import_module("tests.server.begin.wire").Wire
    with wire_of(stage.server) as wire:
        server = stage.server
        there = Server("127.0.0.1", wire.port, server.user, server.password, server.name)
        found = {}
        for contestant in [*through_django(there), *with_other_begins(there)]:
            with contestant.on_stage():
                found[contestant.name] = round_trips(contestant, kinds, blocks, wire)
                contestant.close()
    return [
        result
        for case in blocks
        for result in compare(
            "latency",
            case,
            "round trips",
            {name: [trips[case]] for name, trips in found.items()},
            REFERENCE,
        )
    ]


def round_trips(
    contestant: ThroughDjango, kinds: Mapping[str, Any], blocks: Sequence[str], wire: Any
) -> dict[str, float]:
    found = {}
    for name in blocks:
        run_block = kinds[name].run
        task(contestant, run_block)
        with wire.counting() as traffic:
            task(contestant, run_block)
        found[name] = traffic.round_trips
    return found


def timed(
    stage: Stage, kinds: Mapping[str, Any], blocks: Sequence[str], delay: float
) -> list[Result]:
    server = stage.server
    with slow_path(server, delay) as port:
        there = Server("127.0.0.1", port, server.user, server.password, server.name)
        found = stage.contest(
            f"latency: {delay:g} ms",
            through_django(there),
            partial(block_times, kinds=kinds, blocks=blocks),
            15,
        )
    return [
        result
        for case in blocks
        for result in compare(
            "latency", f"{case}, {delay:g} ms added", "ms", column(found, case), REFERENCE
        )
    ]


def block_times(
    contestant: Contestant, kinds: Mapping[str, Any], blocks: Sequence[str]
) -> dict[str, float]:
    """Milliseconds of each block. One before them opens what has to be open."""
    assert isinstance(contestant, ThroughDjango)
    task(contestant, kinds["get"].run)
    return {name: task(contestant, kinds[name].run) * 1000 for name in blocks}


def task(contestant: ThroughDjango, run_block: Callable[[str], object]) -> float:
    """Seconds that a block takes, with the end of its task."""
    started = time.perf_counter()
    run_block(contestant.alias)
    contestant.release()
    return time.perf_counter() - started


def through_django(server: Server) -> list[ThroughDjango]:
    return [one for one in contestants(server) if isinstance(one, ThroughDjango)]


def with_other_begins(server: Server) -> list[ThroughDjango]:
    return [
        ours(
            f"{lease}-{begin}",
            f"mysqlpool, {lease}, begin={begin}",
            server,
            {"lease": lease, "begin": begin},
        )
        for lease in LEASES
        for begin in BEGINS
    ]


def prepare(server: Server) -> Mapping[str, Any]:
    """Make the table, with the row that is always there; the blocks, by name."""
    rows = importlib.import_module("tests.server.begin.world").ROWS
    connection = MySQLdb.connect(
        host=server.host,
        port=server.port,
        user=server.user,
        password=server.password,
        database=server.name,
        autocommit=True,
        **PLAIN,
    )
    try:
        connection.query("DROP TABLE IF EXISTS rows_row")
        connection.query(rows)
        connection.query("INSERT INTO rows_row (text, number) VALUES ('there', 1)")
    finally:
        connection.close()
    kinds: Mapping[str, Any] = importlib.import_module("tests.server.begin.blocks").BLOCKS
    return kinds
