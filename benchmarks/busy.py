"""A task that never waits: three queries in a row, then what the thread holds is given back.

One thread, on the one processor that it shares with the server, so that all that is done counts.
The contenders take turns, block by block. Look at the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from tests.server import add_server_option, server_from_environment_or_private

from .processor import stay_on_one_processor
from .slow_calls import TASK, TRANSACTION, Contender, configure, contenders, query

TARGET = 1.25  # times a task lease's


def main(argv: Sequence[str]) -> int:
    """Print the table and the verdict; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks busy", description=__doc__)
    parser.add_argument("--blocks", type=int, default=150, help="turns of each contender")
    parser.add_argument("--tasks", type=int, default=20, help="tasks a turn")
    add_server_option(parser)
    options = parser.parse_args(argv)
    stay_on_one_processor()
    with server_from_environment_or_private(options.server) as server:
        configure(server)
        every = contenders()
        times: dict[str, list[float]] = {name: [] for name in every}
        for _ in range(options.blocks):
            for name, contender in every.items():
                times[name].append(block(contender, options.tasks))
        for contender in every.values():
            contender.close()
    report(times)
    return 0


def block(contender: Contender, tasks: int) -> float:
    """Microseconds a task, after one that opens the session if it has to."""
    task(contender)
    started = time.perf_counter()
    for _ in range(tasks):
        task(contender)
    return (time.perf_counter() - started) / tasks * 1e6


def task(contender: Contender) -> None:
    for _ in range(3):
        query(contender.alias)
    contender.release()


def report(times: dict[str, list[float]]) -> None:
    console = Console(width=110)
    table = Table(title="microseconds a task of three queries: median of the blocks")
    table.add_column("")
    table.add_column("", justify="right")
    table.add_column("times ours, task", justify="right")
    for name, mine in times.items():
        ratio = f"{over(mine, times[TASK]):.2f}"
        table.add_row(name, f"{statistics.median(mine):.0f}", ratio)
    console.print(table)
    ratio = over(times[TRANSACTION], times[TASK])
    met = "met" if ratio <= TARGET else "NOT MET"
    console.print(f"transaction lease: {ratio:.2f} times a task lease (wanted <= {TARGET}): {met}")


def over(upper: list[float], lower: list[float]) -> float:
    """The median of the ratios of blocks that ran side by side."""
    return statistics.median(a / b for a, b in zip(upper, lower, strict=True))
