"""What follows from what was measured: quantiles, where throughput stops growing, and a pool_size.

Nothing here measures anything, or asks anybody.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from mysqlpool.stats import Histogram

__all__ = ["Advice", "Level", "advise", "knee", "quantile", "reasons", "since", "thread_counts"]

ENOUGH = 0.9
"""A number of sessions is enough if it does this share of what the best one does. Two runs of the
same load differ by as much on a machine that does other things, too."""

UNBOUNDED_THREADS = 16
"""How many threads there are at most where the pool has no limit, unless told."""


@dataclass(frozen=True, slots=True)
class Level:
    """What some threads did together in ``seconds``.

    ``done`` pieces of work succeeded, of ``median`` and ``p95`` seconds each, and ``failed`` did
    not. ``busy`` sessions were leased on average, each for ``held`` seconds at a time. A piece
    of work cost this process ``cpu`` seconds of processor time. ``wait_p95`` is how long leases
    waited in the queue, None where the pool's class does not tell.
    """

    work: str
    threads: int
    seconds: float
    done: int
    failed: int = 0
    median: float = 0.0
    p95: float = 0.0
    wait_p95: float | None = None
    busy: float = 0.0
    held: float = 0.0
    cpu: float = 0.0

    @property
    def rate(self) -> float:
        """How many pieces of work were done in a second."""
        return self.done / self.seconds if self.seconds else 0.0

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {**asdict(self), "rate": self.rate}


@dataclass(frozen=True, slots=True)
class Advice:
    """A ``pool_size`` for a process, and how it was found.

    ``sessions`` are where ``level`` did nearly all that could be done. With ``rising`` that was the
    most that was measured, and it still grew: then ``wanted`` is an estimate. ``room`` is how many
    sessions the server would let this process have; ``capped`` tells that this is less than wanted.
    """

    pool_size: int
    level: Level
    sessions: int
    rising: bool
    wanted: int
    room: int
    capped: bool

    @property
    def processes(self) -> int:
        """How many processes of this ``pool_size`` fit into the room."""
        return self.room // self.pool_size


def quantile(values: Sequence[float], share: float) -> float:
    """The least value that this share of all does not exceed; 0.0 where there is none."""
    if not values:
        return 0.0
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def since(before: Histogram, after: Histogram) -> Histogram:
    """What was measured between two moments. All of it, if the pool was opened anew meanwhile."""
    counts = tuple(b - a for a, b in zip(before.counts, after.counts, strict=True))
    if min(counts) < 0:
        return after
    return Histogram(after.bounds, counts, max(0.0, after.seconds - before.seconds))


def thread_counts(limit: int | None, room: int, most: int | None = None) -> list[int]:
    """With how many threads to measure: 1, 2, 4 and so on, the limit, and twice the limit.

    ``most`` is a number to go to instead. No more than half of the server's ``room`` is taken, as
    others want to connect, too.
    """
    top = most or (2 * limit if limit else UNBOUNDED_THREADS)
    fair = max(1, room // 2)
    if limit is None or limit > fair:
        top = min(top, fair)
    powers = {2**n for n in range(top.bit_length()) if 2**n < top}
    middle = {limit} if limit and limit < top else set()
    return sorted(powers | middle | {top})


def knee(levels: Sequence[Level]) -> Level | None:
    """The level of the fewest threads that does nearly as much as the best; None of none."""
    best = max((level.rate for level in levels), default=0.0)
    enough = [level for level in levels if level.done and level.rate >= ENOUGH * best]
    return min(enough, key=lambda level: level.threads, default=None)


def advise(levels: Sequence[Level], limit: int | None, room: int) -> Advice | None:
    """The ``pool_size`` by one kind of work; None where nothing was done.

    Where throughput stops growing within what was measured, that is how many sessions it takes.
    Where it does not, the estimate is the bound of operational analysis: one thread alone takes
    R seconds a piece, of which the processor needs c, and with R / c sessions the processor has no
    pause any more (Lazowska and others, Quantitative System Performance, 1984, chapter 5).
    """
    level = knee(levels)
    if level is None:
        return None
    sessions = min(level.threads, limit or level.threads)
    rising = _is_rising(levels, level, limit)
    wanted = max(sessions, _estimate(levels) if rising else 0)
    pool_size = max(1, min(wanted, room))
    return Advice(pool_size, level, sessions, rising, wanted, room, room < wanted)


def _is_rising(levels: Sequence[Level], level: Level, limit: int | None) -> bool:
    """Whether this level has the most sessions at work that were measured."""
    most = max(min(one.threads, limit or one.threads) for one in levels if one.done)
    return most > 1 and min(level.threads, limit or level.threads) == most


def _estimate(levels: Sequence[Level]) -> int:
    alone = min((level for level in levels if level.done), key=lambda level: level.threads)
    cheapest = min(level.cpu for level in levels if level.done)
    return math.ceil(alone.median / cheapest) if cheapest > 0 else 0


def reasons(advice: Advice, cores: int) -> Iterator[str]:
    """Why this ``pool_size``: sentences with the numbers that were measured."""
    level, sessions = advice.level, advice.sessions
    work = f"{level.rate:,.0f} {level.work} a second"
    if advice.rising:
        more = "Set that" if advice.wanted > sessions else "Set more"
        yield (
            f"Throughput still grew at {sessions} sessions, the most that were measured ({work}). "
            f"One piece takes {1000 * level.cpu:.2f} ms of processor time here, so {advice.wanted} "
            f"sessions are estimated to keep this process busy. {more} and measure again."
        )
    else:
        do = "session does" if sessions == 1 else "sessions do"
        yield f"{sessions} {do} {work}, and more bring less than a tenth more."
    yield (
        f"Little's law: {work}, each with a lease of {1000 * level.held:.2f} ms, keep "
        f"{level.busy:.1f} sessions busy."
    )
    if advice.capped:
        yield (
            f"The server has room for {advice.room} sessions more, of the {advice.wanted} that "
            "would be wanted."
        )
    else:
        yield (
            f"The server has room for {advice.room:,} sessions more: for {advice.processes:,} "
            "processes of this size, with those that a deployment starts before it ends the old."
        )
    yield (
        f"This was one process on a machine of {cores} cores, with the shortest statements there "
        "are. Yours take longer and come less often. Their leases a second, times the seconds that "
        "each lasts, are the sessions that they keep busy: have a third more for the peaks, and "
        "never more sessions than threads. 'manage.py mysqlpool status' shows what they do."
    )
