"""Findings: what follows from the facts of a server for the settings of a pool. Pure functions.

Each returns a finding, or None where nothing can be said. Those with an ID are what the system
check of ``manage.py check --database`` tells as well, if they are no OK.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from mysqlpool.conf.settings import PoolSettings
from mysqlpool.pool import FairQueuePool

from .entries import limit_of
from .facts import ServerFacts
from .workers import Workers

__all__ = ["Demand", "Finding", "Level", "Subject", "judge"]

# What the policies say is supported. Beyond it nothing is known. Django itself refuses what
# is too old.
TESTED: Mapping[str, tuple[tuple[int, int], tuple[int, int]]] = {
    "MariaDB": ((10, 6), (11, 8)),
    "MySQL": ((8, 0), (9, 7)),
}
SHORT_IDLE = 10  # seconds; with such a max_idle processes can share an account's limit
ROOM = 0.1  # of max_connections, which is to be left for people, cron jobs and deployments


class Level(IntEnum):
    OK = 0
    WARN = 1
    FAIL = 2


@dataclass(frozen=True)
class Finding:
    """What was compared, in one line, and what to do about it where it is no OK."""

    level: Level
    topic: str
    text: str
    remedy: str = ""
    id: str | None = None


@dataclass(frozen=True)
class Demand:
    """Who uses the server: so many processes, if somebody says so, else those that were found."""

    processes: int | None = None
    workers: Sequence[Workers] = ()

    def sessions(self, limit: int) -> int:
        """How many sessions of one alias all processes may have. A thread has one at most."""
        if self.processes is not None or not self.workers:
            return (self.processes or 1) * limit
        return sum((w.processes or 1) * min(limit, w.threads or limit) for w in self.workers)

    def told(self, limit: int) -> str:
        """The same in words, with where each number is from."""
        if self.processes is not None:
            return f"{_processes(self.processes)} x {limit}"
        if not self.workers:
            return f"1 process x {limit} (--processes tells of more)"
        return " + ".join(_share(worker, limit) for worker in self.workers)


def _processes(count: int) -> str:
    return f"{count} process{'es' * (count != 1)}"


def _share(worker: Workers, limit: int) -> str:
    share = min(limit, worker.threads or limit)
    source = worker.processes_source or "nobody tells how many"
    return f"{_processes(worker.processes or 1)} of {worker.name} ({source}) x {share}"


@dataclass(frozen=True)
class Subject:
    """What is compared with a server: an alias, its pool, and who else leases from there.

    ``others`` are the limits of the further aliases on this server, and ``of_account`` those of
    them that log in as this account. ``is_remote`` is False behind a Unix socket and on this
    machine.
    """

    pool: PoolSettings
    demand: Demand = Demand()
    others: Mapping[str, int] = field(default_factory=dict)
    of_account: Mapping[str, int] = field(default_factory=dict)
    is_remote: bool = True
    client: str = ""


def judge(subject: Subject, facts: ServerFacts) -> Iterator[Finding]:
    """Yield what there is to say of an alias and its server, in the order in which to read it."""
    for function in (
        versions,
        tls,
        read_only,
        sessions_and_server,
        sessions_and_account,
        connects_by_the_hour,
        wait_timeout,
        transactions_left_idle,
        beginnings,
        renewals,
    ):
        finding = function(subject, facts)
        if finding is not None:
            yield finding
    yield from threads(subject)


def versions(subject: Subject, facts: ServerFacts) -> Finding:
    about = f"{facts.kind} {_dotted(facts.version) or facts.version_text}, {subject.client}"
    tested = TESTED.get(facts.kind)
    if tested and facts.version and tested[0] <= facts.version[:2] <= tested[1]:
        return Finding(Level.OK, "versions", about)
    known = [f"{kind} {_dotted(a)} to {_dotted(b)}" for kind, (a, b) in TESTED.items()]
    return Finding(
        Level.WARN,
        "versions",
        f"{about}: mysqlpool is tested on {' and '.join(known)}",
        "Run your own tests on it, or take one of these.",
        id="mysqlpool.W019",
    )


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def tls(subject: Subject, facts: ServerFacts) -> Finding | None:
    if facts.cipher is None:
        return Finding(Level.OK, "TLS", "the server does not tell whether it is in use")
    if facts.cipher:
        return Finding(Level.OK, "TLS", f"in use: {facts.tls_version or 'TLS'}, {facts.cipher}")
    if not subject.is_remote:
        return Finding(Level.OK, "TLS", "not in use; the server is on this machine")
    return Finding(
        Level.WARN,
        "TLS",
        "not in use: whoever is on the way to the server reads all, and may pass for it",
        "Set 'ssl_mode': 'VERIFY_IDENTITY' and 'ssl': {'ca': FILE} in OPTIONS, unless the way is "
        "safe.",
        id="mysqlpool.I003",
    )


def read_only(subject: Subject, facts: ServerFacts) -> Finding | None:
    if facts.read_only is None:
        return None
    if not facts.read_only:
        return Finding(Level.OK, "read-only", "no: the server takes writes")
    return Finding(
        Level.WARN,
        "read-only",
        "the server takes no writes (read_only)",
        "Right for an alias that only reads. Else let HOST lead to the primary, or list the "
        "servers in it.",
        id="mysqlpool.W017",
    )


def sessions_and_server(subject: Subject, facts: ServerFacts) -> Finding | None:
    """Processes times limit against ``max_connections``, less what others have at the moment."""
    most = facts.max_connections
    if most is None:
        return Finding(Level.OK, "max_connections", "the server does not tell it")
    limit = limit_of(subject.pool)
    if limit is None:
        return _no_limit(subject, most)
    wanted, told = _wanted(subject, subject.others, limit)
    others = _others(facts)
    room = most - (others or 0)
    text = f"{told} = {wanted} sessions at most, of {most}; {_told_of_others(others)}"
    if wanted > room:
        level, remedy = Level.FAIL, _too_many(subject, limit, room)
    elif wanted > room - most * ROOM:
        level = Level.WARN
        remedy = (
            "Leave some room: for the old processes of a deployment, for cron jobs and for people. "
            "Make pool_size or the number of processes smaller, or max_connections larger."
        )
    else:
        return Finding(Level.OK, "max_connections", text)
    return Finding(level, "max_connections", text, remedy, id="mysqlpool.W013")


def _no_limit(subject: Subject, most: int) -> Finding:
    return Finding(
        Level.WARN,
        "max_connections",
        f"{subject.pool.pool_class.__name__} names no limit: as many threads as use it may have a "
        f"session each, and the server accepts {most}",
        "Leave 'class' out, or have no more threads than the server has sessions for.",
    )


def _wanted(subject: Subject, others: Mapping[str, int], limit: int) -> tuple[int, str]:
    """How many sessions this alias and those may have together, and that in words."""
    demand = subject.demand
    wanted = demand.sessions(limit) + sum(map(demand.sessions, others.values()))
    shares = "".join(f" + {demand.sessions(n)} ('{alias}')" for alias, n in others.items())
    return wanted, demand.told(limit) + shares


def _others(facts: ServerFacts) -> int | None:
    if facts.connected is None or facts.own is None:
        return None
    return max(0, facts.connected - facts.own)


def _told_of_others(others: int | None) -> str:
    if others is None:
        return "how many others have is not told"
    return f"{others} in use by other accounts now"


def _too_many(subject: Subject, limit: int, room: int) -> str:
    sizes = range(limit - 1, 0, -1)
    fitting = next((n for n in sizes if _wanted(subject, subject.others, n)[0] <= room), 0)
    smaller = f"pool_size + max_overflow of {fitting} would fit" if fitting else "fewer processes"
    sharing = " With 'lease': 'transaction' fewer are enough." * (subject.pool.lease == "task")
    return (
        f"Requests will be refused (1040), your own and those of others. Use less: {smaller}; or "
        f"raise max_connections.{sharing}"
    )


def sessions_and_account(subject: Subject, facts: ServerFacts) -> Finding | None:
    """The same against the account's MAX_USER_CONNECTIONS, or the server's for all accounts."""
    most, limit = facts.account_limit, limit_of(subject.pool)
    if most is None or limit is None:
        return None
    if most <= 0:
        return Finding(Level.OK, "account", f"{facts.account} has no limit of its own")
    wanted, told = _wanted(subject, subject.of_account, limit)
    text = f"{told} = {wanted} sessions at most; {facts.account} may have {most}"
    if wanted <= most:
        return Finding(Level.OK, "account", text)
    if limit <= most and _shares(subject.pool):
        text += "; processes that want more wait for each other, as 'max_idle' is short"
        return Finding(Level.OK, "account", text)
    return Finding(
        Level.FAIL,
        "account",
        text,
        f"Make pool_size smaller, or ALTER USER ... WITH MAX_USER_CONNECTIONS {wanted}. Where "
        "processes are to share that limit, no pool may be above it, and each needs a 'max_idle' "
        f"of {SHORT_IDLE} seconds or less.",
        id="mysqlpool.W014",
    )


def _shares(pool: PoolSettings) -> bool:
    """Whether an idle session is given up soon, and a request waits where the account is full."""
    idle = pool.arguments.get("max_idle", 600)
    is_fair = issubclass(pool.pool_class, FairQueuePool)
    return is_fair and idle is not None and idle <= SHORT_IDLE


def connects_by_the_hour(subject: Subject, facts: ServerFacts) -> Finding | None:
    if facts.by_the_hour is None or not facts.by_the_hour:
        return None
    limits = ", ".join(f"{name} {count}" for name, count in facts.by_the_hour.items())
    return Finding(
        Level.WARN,
        "account by the hour",
        f"{facts.account} has {limits}: what is beyond fails at once (1226), for up to an hour",
        "Take such limits off the account of an application: ALTER USER ... WITH "
        + " ".join(f"{name} 0" for name in facts.by_the_hour)
        + ".",
        id="mysqlpool.W015",
    )


def wait_timeout(subject: Subject, facts: ServerFacts) -> Finding | None:
    """The server closes a session that is idle for so long. Who is idle in the pool costs a
    reconnect then; who is idle with a lease, an error.
    """
    timeout = facts.wait_timeout
    if timeout is None or not subject.pool.pooled:
        return None
    name, idle = _longest_idle(subject.pool)
    shown = f"'{name}' {idle:g} s" if idle < math.inf else "no end in sight ('recycle' None)"
    text = f"the server closes what is idle for {timeout:g} s; a pooled session: {shown}"
    if idle < timeout:
        return Finding(Level.OK, "wait_timeout", text)
    return Finding(
        Level.WARN,
        "wait_timeout",
        text,
        f"Set '{_idle_key(subject.pool)}' below {timeout:g}, or raise wait_timeout. What the "
        "server closed is found out before it is leased, at the price of a connect; a task that "
        "pauses longer in the midst of its lease gets an error (2006, 4031).",
        id="mysqlpool.W016",
    )


def _longest_idle(pool: PoolSettings) -> tuple[str, float]:
    """Which setting ends an idle session first, and after how many seconds."""
    recycle = pool.arguments.get("recycle", -1)
    ends = {"recycle": recycle if recycle > 0 else math.inf}
    if issubclass(pool.pool_class, FairQueuePool) and not pool.arguments.get("min_idle", 0):
        idle = pool.arguments.get("max_idle", 600)
        ends["max_idle"] = math.inf if idle is None else idle
    return min(ends.items(), key=lambda end: end[1])


def _idle_key(pool: PoolSettings) -> str:
    return "max_idle" if issubclass(pool.pool_class, FairQueuePool) else "recycle"


def transactions_left_idle(subject: Subject, facts: ServerFacts) -> Finding | None:
    timeout = facts.idle_transaction_timeout
    if not timeout:
        return None
    return Finding(
        Level.OK,
        "transactions",
        f"the server ends one that is idle for {timeout:g} s (idle_transaction_timeout)",
    )


def beginnings(subject: Subject, facts: ServerFacts) -> Finding | None:
    """Where COMMIT begins the next transaction by itself, ``begin`` cannot be as it was wanted."""
    kind = facts.completion_type
    if kind is None or kind == "NO_CHAIN" or subject.pool.begin == "autocommit":
        return None
    return Finding(
        Level.WARN,
        "completion_type",
        f"is {kind}, so transactions begin as with 'begin': 'autocommit', and not as with "
        f"'{subject.pool.begin}': two to four round trips more for each atomic block",
        "SET GLOBAL completion_type = NO_CHAIN, which is the default.",
        id="mysqlpool.W018",
    )


def renewals(subject: Subject, facts: ServerFacts) -> Finding | None:
    if facts.init_connect:
        topic, state = "init_connect", "set"
    elif facts.native_foreign_keys is False:
        topic, state = "innodb_native_foreign_keys", "off"
    else:
        return None
    return Finding(
        Level.OK,
        topic,
        f"is {state}, so a session that was left dirty is closed and opened anew, and not renewed",
    )


def threads(subject: Subject) -> Iterator[Finding]:
    """Yield what is to be said of each program that is known to run this project."""
    limit = limit_of(subject.pool)
    for worker in subject.demand.workers:
        topic = f"threads of {worker.name}"
        if worker.green is not None:
            yield _green(topic, worker)
        elif limit is not None and worker.threads is not None:
            yield _threads(topic, worker, subject.pool.lease, limit)
        elif worker.threads_source:
            yield Finding(Level.OK, topic, f"not known: {worker.threads_source}")


def _green(topic: str, worker: Workers) -> Finding:
    return Finding(
        Level.WARN,
        topic,
        f"{worker.green} makes them green, and mysqlclient is not: while one waits for the server, "
        "none of the others runs",
        "Serve by threads: gunicorn's gthread, Celery's --pool threads, Huey's 'thread'.",
    )


def _threads(topic: str, worker: Workers, lease: str, limit: int) -> Finding:
    text = f"{worker.threads} a process ({worker.threads_source}), {limit} sessions"
    assert worker.threads is not None
    if worker.threads <= limit:
        return Finding(Level.OK, topic, text)
    if lease == "transaction":
        return Finding(Level.OK, topic, f"{text}, shared by 'lease': 'transaction'")
    return Finding(
        Level.WARN,
        topic,
        f"{text}, each for a whole task ('lease': 'task')",
        "Leave 'lease' out, so that threads share sessions; or make 'pool_size' as large as the "
        "number of threads.",
    )
