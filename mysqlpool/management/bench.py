"""``manage.py mysqlpool bench``: what the pool does on this path, and which size it should have."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import connections
from sqlalchemy.pool import AssertionPool, SingletonThreadPool, StaticPool

from mysqlpool.checks.entries import limit_of
from mysqlpool.conf.settings import PoolSettings, parse_pool_settings

from .advice import Advice, Level, advise, quantile, reasons, thread_counts
from .census import Census, Inquirer, address, told, unlogged
from .choice import chosen
from .interrupts import Interrupt
from .load import Load
from .screen import Line, Screen, Table
from .words import count, duration, plural, positive_integer, positive_seconds

__all__ = ["HELP", "add_arguments", "handle"]

HELP = (
    "Put the pool under load by short reads: how long leases, queries and atomic blocks take, and "
    "which pool_size this path and this machine can use. Nothing is written."
)

SWEPT = ("queries", "atomic blocks")
PATH_SHARE = 0.05  # of the time, for the round trips of a session that is held


def add_arguments(parser: CommandParser) -> None:
    add = parser.add_argument
    add("--database", action="append", metavar="ALIAS", help="this alias alone; may be repeated")
    add(
        "--seconds",
        type=positive_seconds,
        default=60.0,
        help="how long it takes for all aliases together; default: 60",
    )
    add(
        "--threads",
        type=positive_integer,
        metavar="N",
        help="measure with up to so many threads; default: twice what the pool may have",
    )
    add("--json", action="store_true", help="print one document of JSON")


def handle(command: BaseCommand, **options: Any) -> None:
    """Measure each alias in turn, and show what came out.

    Ctrl-C ends it with what was measured until then. Raises ``CommandError`` for an alias whose
    server cannot be reached, or does not answer any more, after the others are shown.
    """
    choice, as_json = chosen(options.get("database")), bool(options.get("json"))
    seconds = (options.get("seconds") or 60.0) / len(choice.aliases)
    found: list[Bench] = []
    # The pool's log is of no use here, and costs time. Each error is counted.
    quiet = unlogged(also=lambda thread: True)
    with Screen(command, options) as screen, quiet, Interrupt() as interrupt:
        for alias in choice.aliases:
            bench = Bench(alias, interrupt)
            found.append(bench)
            bench.measure(screen, seconds, options.get("threads"))
            if not as_json:
                screen.show(list(page_of(bench)))
            if interrupt.came:
                break
        if as_json:
            screen.document(_document(found, dict(choice.others)))
        elif choice.note:
            screen.show([Line(choice.note)])
    if errors := [f"{one.alias}: {one.error}" for one in found if one.error]:
        raise CommandError("\n".join(errors))


def _cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _document(found: Sequence[Bench], left_out: dict[str, str]) -> dict[str, Any]:
    return {
        "interrupted": any(one.interrupt.came for one in found),
        "databases": [one.as_dict() for one in found],
        "left_out": left_out,
    }


@dataclass(frozen=True, slots=True)
class Path:
    """How long the shortest statement takes on one session that is held, in seconds."""

    trips: int
    median: float
    p95: float


class Bench:
    """What is measured of one alias. ``error`` tells why that ended, if it was not the time."""

    def __init__(self, alias: str, interrupt: Interrupt) -> None:
        self.alias, self.interrupt, self.cores = alias, interrupt, _cores()
        wrapper_settings = connections[alias].settings_dict
        self.address = address(wrapper_settings)
        self.pool: PoolSettings = parse_pool_settings(alias, wrapper_settings)
        self.limit = limit_of(self.pool)
        kinds = (StaticPool, AssertionPool, SingletonThreadPool)
        self.is_for_one = issubclass(self.pool.pool_class, kinds)
        self.census: Census | None = None
        self.path: Path | None = None
        self.connecting: float | None = None
        self.levels: list[Level] = []
        self.errors: str | None = None
        self.error: str | None = None

    def measure(self, screen: Screen, seconds: float, most: int | None) -> None:
        try:
            self._measure_path(seconds * PATH_SHARE)
            self._measure_load(screen, seconds * (1 - PATH_SHARE), most)
        except Exception as error:  # Also of whatever makes a token for the password.
            self.error = told(error, connections[self.alias].settings_dict)

    def _measure_path(self, seconds: float) -> None:
        with Inquirer(self.alias) as inquirer:
            self.census = inquirer.ask()
            times = inquirer.round_trips(seconds, lambda: not self.interrupt.came)
        self.path = Path(len(times), quantile(times, 0.5), quantile(times, 0.95))

    def _measure_load(self, screen: Screen, seconds: float, most: int | None) -> None:
        steps = self._steps(most)
        with Load(self.alias, self.interrupt) as load, screen.progress(len(steps)) as begins:
            for work, threads in steps:
                if self.interrupt.came:
                    break
                begins(f"{self.alias}: {work} in {plural(threads, 'thread')}")
                self.levels.append(load.run(work, threads, seconds / len(steps)))
                if not self._goes_on(load):
                    break
            connect = load.seen().connect
        if connect.count:
            self.connecting = connect.seconds / connect.count

    def _steps(self, most: int | None) -> list[tuple[str, int]]:
        assert self.census is not None
        counts = [1] if self.is_for_one else thread_counts(self.limit, self.census.room, most)
        return [("leases", 1), *((work, threads) for threads in counts for work in SWEPT)]

    def _goes_on(self, load: Load) -> bool:
        """Whether anything came of the last level. Its error is told."""
        if load.error is not None:
            self.errors = told(load.error, connections[self.alias].settings_dict)
        if self.levels[-1].done or self.levels[-1].failed == 0:
            return True
        self.error = self.errors
        return False

    @property
    def has_size(self) -> bool:
        """Whether there is a ``pool_size`` that threads share."""
        return not self.is_for_one and "pool_size" in self.pool.arguments

    @property
    def advice(self) -> Advice | None:
        """By the kind of work that can use the most sessions, if there is anything to say."""
        if self.census is None or not self.has_size:
            return None
        room = self.census.room
        found = [
            advise([one for one in self.levels if one.work == work], self.limit, room)
            for work in SWEPT
        ]
        return max((one for one in found if one), key=lambda one: one.pool_size, default=None)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        advice = self.advice
        return {
            "alias": self.alias,
            "address": self.address,
            "server": None if self.census is None else self.census.product,
            "pool": {
                "class": self.pool.pool_class.__name__,
                "lease": self.pool.lease,
                "limit": self.limit,
            },
            "cores": self.cores,
            "path": None if self.path is None else asdict(self.path),
            "connecting": self.connecting,
            "levels": [level.as_dict() for level in self.levels],
            "advice": None
            if advice is None
            else {**asdict(advice), "reasons": list(reasons(advice, self.cores))},
            "first_error": self.errors,
            "error": self.error,
        }


# What is shown


def page_of(bench: Bench) -> Iterator[Line | Table]:
    census, path = bench.census, bench.path
    pool = (
        f"{bench.pool.pool_class.__name__}, lease {bench.pool.lease!r}, limit {bench.limit or '-'}"
    )
    server = f" on {census.product}" if census else ""
    yield Line(f"{bench.alias}: {pool}{server} at {bench.address}", "bold")
    if path is not None:
        yield Line(
            f"Round trip of SELECT 1 on one session: median {duration(path.median)}, "
            f"p95 {duration(path.p95)} ({count(path.trips)} times). "
            f"A new session takes {duration(bench.connecting)}."
        )
    if settings.DEBUG:
        yield Line("DEBUG is on, so Django notes each statement. That costs time.", "yellow")
    if bench.levels:
        yield _table(bench.levels)
    if bench.errors:
        yield Line(f"The first error: {bench.errors}", "red")
    if bench.interrupt.came:
        yield Line("Interrupted: this is what was measured until then.", "yellow")
    yield from _recommendation(bench)
    yield Line("")


HEADINGS = (
    *("work", "threads", "a second", "median", "p95", "wait p95"),
    *("busy sessions", "failed"),
)


def _table(levels: Sequence[Level]) -> Table:
    return Table("Each piece of work leases, and gives back:", HEADINGS, [*map(_row, levels)])


def _row(level: Level) -> list[str]:
    return [
        level.work,
        count(level.threads),
        count(level.rate),
        duration(level.median if level.done else None),
        duration(level.p95 if level.done else None),
        duration(level.wait_p95),
        f"{level.busy:.1f}",
        count(level.failed) if level.failed else "-",
    ]


def _recommendation(bench: Bench) -> Iterator[Line]:
    advice = bench.advice
    if not bench.has_size:
        name = bench.pool.pool_class.__name__
        one = " and is not made for several threads" if bench.is_for_one else ""
        yield Line(
            f"{name} has no pool_size that threads share{one}, so there is none to recommend."
        )
        return
    if advice is None:
        yield Line("Too little was measured to recommend a pool_size.")
        return
    yield Line(
        f"Recommended: pool_size {advice.pool_size}, for a process like this one and statements as "
        "short as these.",
        "bold",
    )
    for reason in reasons(advice, bench.cores):
        yield Line(f"- {reason}")
