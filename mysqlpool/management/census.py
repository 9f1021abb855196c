"""What a server tells of its sessions, asked over one that belongs to no pool."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from django.db import DatabaseError, connections
from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.utils import logger as django_logger
from MySQLdb.constants import ER

__all__ = ["Census", "Group", "Inquirer", "address", "grouped", "told", "unlogged"]

# Seconds, where the settings of the alias say nothing: whoever asks is a person who waits.
PATIENCE = 10
# Who speaks of a session as it is opened and asked.
LOGGERS = (
    django_logger,
    logging.getLogger("mysqlpool.pool"),
    logging.getLogger("mysqlpool.session"),
    logging.getLogger("mysqlpool.release"),
)
# They have a line in the list of processes, and no connection.
_SERVERS_OWN = frozenset({"system user", "event_scheduler"})
_LISTS = ("performance_schema.processlist", "information_schema.processlist")


@dataclass(frozen=True, slots=True)
class Group:
    """The sessions of one account that come from one host.

    ``busy`` of them are in a statement, of which the longest is there for ``longest`` seconds.
    """

    user: str
    host: str
    sessions: int
    busy: int
    longest: int


@dataclass(frozen=True, slots=True)
class Census:
    """What a server told at one moment. Nothing in it counts the session that asked, but ``peak``.

    ``connected`` is how many sessions there are, ``peak`` the most there have been since the server
    began to count, ``limit`` is ``max_connections``, and ``user_limit`` the account's own, 0 for
    none. ``account`` is who asked. ``sees_all`` tells whether ``groups`` are of all accounts, or of
    that one alone; None where that could not be found out.
    """

    version: str
    account: str
    connected: int
    peak: int
    limit: int
    user_limit: int
    sees_all: bool | None
    groups: tuple[Group, ...]

    @property
    def product(self) -> str:
        """The name and the number of the server's version."""
        name = "MariaDB" if "mariadb" in self.version.lower() else "MySQL"
        return f"{name} {self.version.partition('-')[0]}"

    @property
    def share(self) -> float:
        """Which share of the server's limit is taken."""
        return self.connected / self.limit if self.limit else 0.0

    @property
    def room(self) -> int:
        """How many sessions more the server would let this account have."""
        room = self.limit - self.connected
        if self.user_limit:
            user = self.account.partition("@")[0]
            own = sum(group.sessions for group in self.groups if group.user == user)
            room = min(room, self.user_limit - own)
        return max(0, room)


class Inquirer:
    """Asks the server of an alias, over a session that is closed as the ``with`` block ends.

    It is opened as Django opens one without a database: past the pool, with all that the settings
    say, and none of the pool's own sessions is needed or counted.
    """

    def __init__(self, alias: str) -> None:
        pooled: Any = connections[alias]
        self.settings: Mapping[str, Any] = pooled.settings_dict
        options = {
            "connect_timeout": PATIENCE,
            "read_timeout": PATIENCE,
            **(self.settings.get("OPTIONS") or {}),
        }
        self.wrapper: Any = type(pooled)({**self.settings, "OPTIONS": options}, alias=NO_DB_ALIAS)
        self._sees_all: bool | None = None
        self._knows_sight = False

    def __enter__(self) -> Inquirer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the session; the next question opens another one."""
        with unlogged():
            self.wrapper.close()

    def ask(self) -> Census:
        """Ask all that a `Census` tells.

        Raises what Django raises where the server cannot be reached, with the session closed.
        """
        try:
            with unlogged(), self.wrapper.cursor() as cursor:
                return self._census(cursor)
        except BaseException:
            self.close()
            raise

    def round_trips(self, seconds: float, goes_on: Callable[[], bool]) -> list[float]:
        """How long the shortest statement took, in seconds, again and again for so long.

        The driver sends it, so that this is the path and the server, and nothing of Django.
        """
        times: list[float] = []
        self.wrapper.ensure_connection()
        with contextlib.closing(self.wrapper.connection.cursor()) as cursor:
            until = time.perf_counter() + seconds
            while not times or (time.perf_counter() < until and goes_on()):
                begun = time.perf_counter()
                cursor.execute("SELECT 1")
                cursor.fetchall()
                times.append(time.perf_counter() - begun)
        return times

    def _census(self, cursor: Any) -> Census:
        cursor.execute(
            "SELECT CONNECTION_ID(), VERSION(), USER(), @@GLOBAL.max_connections,"
            " @@max_user_connections"
        )
        own, version, account, limit, user_limit = cursor.fetchone()
        status = _status(cursor)
        return Census(
            version=version,
            account=account,
            connected=max(0, status["Threads_connected"] - 1),
            peak=status["Max_used_connections"],
            limit=int(limit),
            user_limit=int(user_limit),
            sees_all=self._sight(cursor),
            groups=grouped(row[1:] for row in _listed(cursor, own, version) if row[0] != own),
        )

    def _sight(self, cursor: Any) -> bool | None:
        if not self._knows_sight:
            self._sees_all, self._knows_sight = _has_process_right(cursor), True
        return self._sees_all


def _status(cursor: Any) -> dict[str, int]:
    names = ("Threads_connected", "Max_used_connections")
    cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN (%s, %s)", names)
    return {name: int(value) for name, value in cursor.fetchall()}


def _listed(cursor: Any, own: int, version: str) -> list[tuple[Any, ...]]:
    """Id, user, host, command and seconds of each session that the account may see.

    MySQL deprecates information_schema's list for one that locks nothing, in performance_schema
    (https://dev.mysql.com/doc/refman/8.4/en/performance-schema-processlist-table.html). That one is
    empty where the performance schema is off: then not even who asks is in it.
    """
    lists = _LISTS[1:] if "mariadb" in version.lower() else _LISTS
    for name in lists:
        try:
            cursor.execute(f"SELECT id, user, host, command, time FROM {name}")
        except DatabaseError:
            if name == lists[-1]:
                raise
            continue
        rows: list[tuple[Any, ...]] = list(cursor.fetchall())
        if any(row[0] == own for row in rows):
            return rows
    return rows


def _has_process_right(cursor: Any) -> bool | None:
    """Whether the account may see the sessions of others; None where the server does not tell.

    Both servers refuse this question without PROCESS, which a role may give as well. A list of
    grants would have to be read as each of them writes it.
    """
    try:
        cursor.execute("SELECT COUNT(*) FROM information_schema.innodb_trx")
        cursor.fetchall()
    except DatabaseError as error:
        return False if error.args[:1] == (ER.SPECIFIC_ACCESS_DENIED_ERROR,) else None
    return True


def grouped(rows: Iterable[tuple[Any, ...]]) -> tuple[Group, ...]:
    """Count rows of user, host, command and seconds by user and host, the most sessions first."""
    found: dict[tuple[str, str], list[tuple[str, int]]] = defaultdict(list)
    for user, host, command, seconds in rows:
        if user not in _SERVERS_OWN and command != "Daemon":
            found[str(user), _without_port(str(host or ""))].append((command, int(seconds or 0)))
    groups = [_group(user, host, sessions) for (user, host), sessions in found.items()]
    return tuple(sorted(groups, key=lambda group: (-group.sessions, group.user, group.host)))


def _group(user: str, host: str, sessions: list[tuple[str, int]]) -> Group:
    busy = [seconds for command, seconds in sessions if command != "Sleep"]
    return Group(user, host, len(sessions), len(busy), max(busy, default=0))


def _without_port(host: str) -> str:
    """``db`` of ``db:52642`` and ``::1`` of ``::1:52642``; a socket's ``localhost`` has none."""
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdecimal() else host


def address(settings: Mapping[str, Any]) -> str:
    """Where an alias's server is, in the words of its settings."""
    options = settings.get("OPTIONS") or {}
    host = options.get("unix_socket") or options.get("host") or settings.get("HOST")
    if not host:
        return options.get("read_default_file") or "localhost"
    port = options.get("port") or settings.get("PORT")
    names = host if isinstance(host, str) else ", ".join(map(str, host))
    return names if names.startswith("/") or not port else f"{names}:{port}"


def told(error: BaseException, settings: Mapping[str, Any]) -> str:
    """The first line of an error, in which no password of these settings is left."""
    text = ": ".join(str(part) for part in error.args) or "no reason is told"
    text = text.strip().partition("\n")[0]
    options = settings.get("OPTIONS") or {}
    for secret in (settings.get("PASSWORD"), options.get("password"), options.get("passwd")):
        if isinstance(secret, str) and secret:
            text = text.replace(secret, "**********")
    return f"{type(error).__name__}: {' '.join(text.split())}"


@contextmanager
def unlogged(also: Callable[[threading.Thread], bool] | None = None) -> Iterator[None]:
    """In this block no logger tells of the statements and sessions of this thread, nor of those of
    which ``also`` is true.

    A project may write its log to the standard output, where a document of JSON is expected. Other
    threads are heard as before.
    """
    own = threading.current_thread()

    def passes(record: logging.LogRecord) -> bool:
        thread = threading.current_thread()
        return not (thread is own or (also is not None and also(thread)))

    for logger in LOGGERS:
        logger.addFilter(passes)
    try:
        yield
    finally:
        for logger in LOGGERS:
            logger.removeFilter(passes)
