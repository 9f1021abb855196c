"""Sizing: whether the sessions of a fleet fit on one server, and what to change where they do not.

``scripts/size`` is its command. It computes, and connects to nothing. Every number is for one
server and one alias; whoever has several aliases on one server counts the others as reserve.

The most sessions that there can be are processes times their limit, with the old processes of a
deployment that are still there. How many are needed follows from Little's law: as many sessions are
held at a time as requests arrive in a second, times the seconds for which each holds one. With
``lease="transaction"`` that is its time in the database, with ``"task"`` the whole of it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap

__all__ = ["Answer", "Fleet", "Load", "Server", "answer", "main", "needed_for", "waiting"]

WAIT = 0.1
"""A pool is large enough where a lease waits for this share of its own length, on average."""

MANY = 100_000
"""From so many sessions on the formula is not summed up any more."""


@dataclass(frozen=True)
class Fleet:
    """The processes that have a pool each. ``overlap`` is the percentage of them that is there
    twice while a deployment replaces them.
    """

    hosts: int
    processes: int  # of a host
    threads: int  # of a process
    pool_size: int = 10
    max_overflow: int = 0
    overlap: int = 100
    lease: str = "transaction"

    @property
    def limit(self) -> int:
        return self.pool_size + self.max_overflow

    @property
    def serving(self) -> int:
        """The processes that share the load."""
        return self.hosts * self.processes

    @property
    def at_once(self) -> int:
        """The processes that may have sessions at the same time."""
        return self.serving + -(-self.serving * self.overlap // 100)


@dataclass(frozen=True)
class Server:
    """What the server allows. ``reserve`` is for all others, ``user_limit`` the account's
    MAX_USER_CONNECTIONS, 0 for none, as the server has it.
    """

    max_connections: int = 151
    reserve: int = 10
    user_limit: int = 0

    @property
    def room(self) -> int:
        return self.max_connections - self.reserve


@dataclass(frozen=True)
class Load:
    """What one host is asked in its busiest minute: requests a second, and milliseconds of each."""

    requests: float
    database_ms: float
    request_ms: float

    def held(self, lease: str) -> float:
        """How many sessions a host holds at a time, on average."""
        milliseconds = self.database_ms if lease == "transaction" else self.request_ms
        return self.requests * milliseconds / 1000


@dataclass(frozen=True)
class Answer:
    """What came out. The last four are None where no load is known."""

    hosts: int
    processes: int  # at once
    sessions: int  # at most
    room: int
    fitting: int  # the limit of a process with which all would fit; 0 where none would
    transaction: int | None  # sessions that a process needs with this lease
    task: int | None
    shared: int | None  # sessions that all need if they share them, as behind a proxy
    verdict: str  # "OK", "too many" sessions for the server, or "too few" for the load
    remedies: tuple[str, ...]


# Arithmetic


def waiting(sessions: int, held: float) -> float:
    """How long a lease waits on average, in lengths of a lease: Erlang's C formula for M/M/c.

    ``held`` is how many would be held at a time if there were enough. Infinite where there are not.
    """
    if held >= sessions:
        return math.inf
    blocked = 1.0  # Erlang's B, which is built up from no session at all.
    for count in range(1, sessions + 1):
        blocked = held * blocked / (count + held * blocked)
    waits = blocked / (1 - held / sessions * (1 - blocked))
    return waits / (sessions - held)


def needed_for(held: float, threads: int) -> int:
    """The least sessions with which the average wait is at most `WAIT`. Never more than threads.

    The formula's wait is at most 1 / (sessions - held), so ten more than are held always do. For
    very many they are the answer, because the sum would take long and change little.
    """
    least = max(1, math.ceil(held))
    most = math.ceil(held + 1 / WAIT)
    if least < MANY:
        most = next(n for n in range(least, most + 1) if n == most or waiting(n, held) <= WAIT)
    return min(most, threads)


def answer(fleet: Fleet, server: Server, load: Load | None = None) -> Answer:
    """Whether the fleet fits. Raises ValueError for what contradicts itself."""
    _check(fleet, server, load)
    sessions = fleet.at_once * fleet.limit
    if server.user_limit:
        sessions = min(sessions, server.user_limit)
    needed: dict[str, int | None] = {"transaction": None, "task": None}
    shared = None
    if load is not None:
        for lease in needed:
            needed[lease] = needed_for(load.held(lease) / fleet.processes, fleet.threads)
        shared = needed_for(fleet.hosts * load.held("transaction"), fleet.serving * fleet.threads)
    found = Answer(
        hosts=fleet.hosts,
        processes=fleet.at_once,
        sessions=sessions,
        room=server.room,
        fitting=server.room // fleet.at_once,
        transaction=needed["transaction"],
        task=needed["task"],
        shared=shared,
        verdict=_verdict(sessions, fleet, server, needed[fleet.lease], shared),
        remedies=(),
    )
    return dataclasses.replace(found, remedies=tuple(_remedies(found, fleet, server)))


def _verdict(
    sessions: int, fleet: Fleet, server: Server, needed: int | None, shared: int | None
) -> str:
    if sessions > server.room:
        return "too many"
    below_need = needed is not None and needed > fleet.limit
    below_share = shared is not None and 0 < server.user_limit < shared
    return "too few" if below_need or below_share else "OK"


def _check(fleet: Fleet, server: Server, load: Load | None) -> None:
    if server.room < 1:
        raise ValueError(
            f"of {server.max_connections} max_connections a reserve of {server.reserve} leaves none"
        )
    if load is None:
        return
    if load.database_ms > load.request_ms:
        raise ValueError(
            f"a request of {load.request_ms:g} ms cannot be in the database for"
            f" {load.database_ms:g} ms"
        )
    busy = load.held("task") / fleet.processes
    if busy > fleet.threads:
        raise ValueError(
            f"{load.requests:g} requests a second of {load.request_ms:g} ms keep {busy:.1f} threads"
            f" of a process busy, which has {fleet.threads}"
        )


# Words


def _remedies(found: Answer, fleet: Fleet, server: Server) -> Iterator[str]:
    """What helps, the cheapest first."""
    if found.verdict == "too few":
        yield from _for_more(found, fleet, server)
    if found.verdict != "too many":
        return
    if found.shared is not None and found.shared > server.room:
        yield (
            f"The load needs {found.shared} sessions even if all processes share them. That takes"
            " fewer or quicker statements, a larger max_connections, or more servers."
        )
        return
    if fleet.threads < fleet.limit and fleet.at_once * fleet.threads <= server.room:
        yield f"No more than {fleet.threads} threads can hold a session: pool_size {fleet.threads}."
    yield from _for_smaller_pools(found, fleet)
    overlap = (server.room // fleet.limit - fleet.serving) * 100 // fleet.serving
    if 0 <= overlap < fleet.overlap:
        yield f"Deploy {overlap} % of the processes at a time (--overlap {overlap})."
    yield from _for_sharing(found, fleet, server)


def _for_more(found: Answer, fleet: Fleet, server: Server) -> Iterator[str]:
    if found.shared is not None and 0 < server.user_limit < found.shared:
        yield f"The load needs {found.shared} sessions: a MAX_USER_CONNECTIONS of that."
    needed = {"transaction": found.transaction, "task": found.task}[fleet.lease] or 0
    if needed <= fleet.limit:
        return
    if fleet.lease == "task" and (found.transaction or 0) <= fleet.limit:
        yield f'lease="transaction" needs {found.transaction} a process, "task" {needed}.'
    if needed <= found.fitting:
        yield f"A limit of {needed} a process would do, and fits: pool_size {needed}."
    else:
        yield f"The load needs {needed} a process, and no more than {found.fitting} fit."


def _for_smaller_pools(found: Answer, fleet: Fleet) -> Iterator[str]:
    limit, transaction, task = found.fitting, found.transaction, found.task
    if not limit:
        yield "Not even one session for each process fits."
    elif transaction is None or task is None:
        yield (
            f"A limit of {limit} a process would fit: pool_size {limit}. Whether it is enough"
            " is told with --requests, --database-ms and --request-ms."
        )
    elif task <= limit:
        yield f"A limit of {limit} a process would fit and be enough, with either lease."
    elif transaction <= limit:
        yield (
            f'A limit of {limit} a process would fit and be enough with lease="transaction", which'
            f' needs {transaction}. "task" needs {task}.'
        )
    else:
        yield (
            f'A limit of {limit} a process would fit, and lease="transaction" needs {transaction}.'
        )


def _for_sharing(found: Answer, fleet: Fleet, server: Server) -> Iterator[str]:
    if not server.user_limit or server.user_limit > server.room:
        yield (
            f"An account with MAX_USER_CONNECTIONS {server.room} never has more, and pools with a"
            " max_idle of a second give up what others wait for, where most processes are quiet."
        )
    if found.shared is not None and (found.transaction or 0) > found.fitting:
        yield f"A proxy that multiplexes pays: shared by all, {found.shared} sessions are enough."
    elif found.shared is None and not found.fitting:
        yield "A proxy that multiplexes pays where all processes are busy."


COLUMNS = ("hosts", "processes", "sessions", "room", "fitting", "transaction", "task", "shared")


def report(answers: Sequence[Answer]) -> str:
    """A table with a line for each answer, and the remedies below it."""
    rows = [[*COLUMNS, "verdict"]]
    for found in answers:
        cells = [getattr(found, column) for column in COLUMNS]
        rows.append([*("-" if cell is None else str(cell) for cell in cells), found.verdict])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(map(str.rjust, row, widths)) for row in rows]
    for found in answers:
        if found.remedies:
            lines += ["", f"hosts {found.hosts}, {found.verdict}:"]
            for remedy in found.remedies:
                lines += wrap(remedy, 79, initial_indent="- ", subsequent_indent="  ")
    return "\n".join(lines)


# The command


def _whole(least: int) -> Callable[[str], int]:
    """A type for argparse, which shows its name: an integer of at least this."""

    def integer(text: str) -> int:
        number = int(text)
        if not least <= number <= 1_000_000:
            raise argparse.ArgumentTypeError(f"must be from {least} to 1000000, not {text}")
        return number

    return integer


def _number(text: str) -> float:
    number = float(text)
    if not 0 < number <= 1_000_000:
        raise argparse.ArgumentTypeError(f"must be more than 0, and at most 1000000, not {text}")
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/size",
        description="Whether the sessions of all processes fit on a server, and what helps if not.",
        epilog="Exits with 1 where something does not fit. docs/clusters.rst explains the columns.",
    )
    add = parser.add_argument
    count, some = _whole(1), _whole(0)
    add("--hosts", type=count, nargs="+", required=True, help="one number, or several to compare")
    add("--processes", type=count, required=True, help="of a host")
    add("--threads", type=count, required=True, help="of a process")
    add("--pool-size", type=count, default=10, help="default: %(default)s")
    add("--max-overflow", type=some, default=0, help="default: %(default)s")
    add("--lease", choices=("transaction", "task"), default="transaction")
    twice = "of the processes are there twice while deploying; default: %(default)s"
    add("--overlap", type=some, default=100, metavar="PERCENT", help=twice)
    add("--max-connections", type=count, default=151, help="the server's; default: %(default)s")
    others = "for people, jobs, monitoring, other aliases; default: %(default)s"
    add("--reserve", type=some, default=10, metavar="SESSIONS", help=others)
    account = "MAX_USER_CONNECTIONS of the account; default: 0, which is none"
    add("--user-limit", type=some, default=0, metavar="SESSIONS", help=account)
    add("--requests", type=_number, help="a second and host, in the busiest minute")
    add("--database-ms", type=_number, help="milliseconds of a request in the database")
    add("--request-ms", type=_number, help="milliseconds of a request in all")
    add("--json", action="store_true", help="print a list of objects instead of a table")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 where all fits, 1 where something does not, 2 for bad input."""
    parser = _parser()
    given = parser.parse_args(arguments)
    figures = (given.requests, given.database_ms, given.request_ms)
    if None in figures and any(figures):
        parser.error("--requests, --database-ms and --request-ms go together")
    load = Load(*figures) if given.requests else None
    server = Server(given.max_connections, given.reserve, given.user_limit)
    rest = (given.threads, given.pool_size, given.max_overflow, given.overlap, given.lease)
    try:
        answers = [answer(Fleet(n, given.processes, *rest), server, load) for n in given.hosts]
    except ValueError as error:
        parser.error(str(error))
    if given.json:
        text = json.dumps([dataclasses.asdict(found) for found in answers], indent=2)
    else:
        text = report(answers)
    sys.stdout.write(text + "\n")
    return 0 if all(found.verdict == "OK" for found in answers) else 1


if __name__ == "__main__":
    sys.exit(main())
