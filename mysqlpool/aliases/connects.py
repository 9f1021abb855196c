"""Connects: what the log is told of how connecting goes, and of servers that are away or demoted.

A failed connect is told of once a second at most. That a server is away is told as it begins and as
it ends, and what fails meanwhile is counted. Of a server that comes and goes an outage is told of
once a minute: one that goes on is told of when that is over, and one that does not is counted.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import MySQLdb
from MySQLdb.constants import ER

from mysqlpool.conf.servers import Server, written
from mysqlpool.events.log import log_event
from mysqlpool.pool import cannot_connect, classify_connect_error, clock
from mysqlpool.pool.locks import under
from mysqlpool.pool.seldom import Seldom
from mysqlpool.session.failures import Failure
from mysqlpool.session.session import Session

__all__ = ["Connects", "safe_text"]

logger = logging.getLogger("mysqlpool.pool")

# Seconds: a server that takes no writes costs each session that finds out one error.
BETWEEN_DEMOTIONS = 60.0

# Seconds: behind a proxy with a dead node every other connect may fail.
BETWEEN_OUTAGES = 60.0

HIDDEN = "'...'"
# Where the servers and the client libraries tell of an account or a host.
_NAMES = re.compile(
    r"'[^']*'@'[^']*'|(?<=\bhost )'[^']*'|(?<=\bon )'[^']*'|(?<=\buser )'[^']*'", re.I
)
_UNQUOTED = re.compile(r"(?<=\bUser )[^'\s]+(?= (?:already )?has\b)")
# Those of several servers, or of one.
_HOSTS = re.compile(r"[^\s,:]+")


def safe_text(error: BaseException, params: Mapping[str, Any]) -> str | None:
    """What an error of the driver says, with neither account nor host nor secret.

    ``params`` are those with which it was to connect. None for an error of anybody else, which may
    say anything, and for a syntax error, which quotes ``init_command``.
    """
    if not isinstance(error, MySQLdb.Error) or len(error.args) < 2:
        return None
    if error.args[0] == ER.PARSE_ERROR:
        return None
    text = _UNQUOTED.sub(HIDDEN, _NAMES.sub(HIDDEN, str(error.args[1])))
    for name in [str(params.get("user") or ""), *_HOSTS.findall(str(params.get("host") or ""))]:
        if name:
            text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", "...", text)
    return text


@dataclass(slots=True)
class Outage:
    """A server that accepts no connections: since when, and how many connects found that.

    ``is_told`` tells whether the log knows of it.
    """

    since: float
    failed: int = 0
    is_told: bool = False


class Connects:
    """How the connects of one alias go; times are monotonic seconds.

    ``waits`` tells whether a request waits where the server has all the sessions it may have.
    ``_lock`` guards ``_outages``, ``_began`` and ``_demoted``. Nothing is logged while it is held.
    """

    def __init__(self, alias: str, *, waits: bool) -> None:
        self._alias = alias
        self._waits = waits
        self._lock = threading.RLock()
        self._outages: dict[Server, Outage] = {}
        self._began: dict[Server, Seldom] = {}
        self._demoted: dict[Server, Seldom] = {}
        # By level: what is told in detail takes no place of a warning.
        self._failures = {logging.WARNING: Seldom(), logging.DEBUG: Seldom()}
        self._refusals = Seldom()
        # What the last connect found: nobody there, or no room. A race costs one line.
        self._absent = self._full = False

    def to(self, server: Server, connect: Callable[[], Session]) -> Session:
        """Connect to one server, and note whether it accepts connections. Raises as ``connect``."""
        begun = clock.monotonic()
        try:
            session = connect()
        except MySQLdb.Error as error:
            if cannot_connect(error):
                self._note_absence(server, begun, error.args[0])
            raise
        if self._outages:
            self._note_answer(server)
        return session

    def _note_absence(self, server: Server, begun: float, errno: int) -> None:
        left_out = under(self._lock, self._count, server, begun)
        if left_out is not None:
            log_event(
                logger,
                logging.WARNING,
                "outage_began",
                self._alias,
                server=written([server]),
                errno=errno,
                left_out=left_out,
            )

    def _count(self, server: Server, begun: float) -> int | None:
        """Count a connect that failed in an outage. How many outages were left out, if this one is
        to be told of now. Locked.
        """
        outage = self._outages.setdefault(server, Outage(begun))
        outage.failed += 1
        if outage.is_told:
            return None
        seldom = self._began.setdefault(server, Seldom(BETWEEN_OUTAGES))
        left_out = seldom.left_out(again=outage.failed > 1)
        outage.is_told = left_out is not None
        return left_out

    def _note_answer(self, server: Server) -> None:
        outage = under(self._lock, self._outages.pop, server, None)
        if outage is not None and outage.is_told:
            log_event(
                logger,
                logging.INFO,
                "outage_ended",
                self._alias,
                server=written([server]),
                seconds=round(clock.monotonic() - outage.since, 3),
                failed=outage.failed,
            )

    def by(self, params: Mapping[str, Any], connect: Callable[[], Session]) -> Session:
        """Connect for the alias, to whichever server, and tell if that fails.

        ``params`` are what is wanted. Raises as ``connect``.
        """
        begun = clock.monotonic()
        try:
            session = connect()
        except Exception as error:
            self._note_failure(error, safe_text(error, params), clock.monotonic() - begun)
            raise
        self._absent = self._full = False
        return session

    def _note_failure(self, error: Exception, text: str | None, seconds: float) -> None:
        was_absent, was_full = self._absent, self._full
        absent, full = cannot_connect(error), classify_connect_error(error) == "full"
        self._absent, self._full = absent, full
        errno = error.args[0] if isinstance(error, MySQLdb.Error) and error.args else None
        if full:
            self._tell_full(errno, text, was_full)
        if not (full and self._waits):
            # What goes on failing in an outage is that outage.
            level = logging.DEBUG if absent and was_absent else logging.WARNING
            self._tell_failure(level, type(error).__name__, errno, text, seconds)

    def _tell_full(self, errno: object, text: str | None, is_known: bool) -> None:
        left_out = self._refusals.left_out(wanted=not is_known)
        if left_out is not None:
            log_event(
                logger,
                logging.WARNING,
                "server_full",
                self._alias,
                errno=errno,
                message=text,
                left_out=left_out,
            )

    def _tell_failure(
        self, level: int, kind: str, errno: object, text: str | None, seconds: float
    ) -> None:
        left_out = self._failures[level].left_out()
        if left_out is not None:
            log_event(
                logger,
                level,
                "connect_failed",
                self._alias,
                error=kind,
                errno=errno,
                message=text,
                seconds=round(seconds, 3),
                left_out=left_out,
            )

    def demoted(self, server: Server, failure: Failure) -> None:
        """Tell that a server takes no writes any more, once a minute at most."""
        seldom = under(self._lock, self._demoted.setdefault, server, Seldom(BETWEEN_DEMOTIONS))
        left_out = seldom.left_out()
        if left_out is not None:
            log_event(
                logger,
                logging.WARNING,
                "demoted",
                self._alias,
                server=written([server]),
                reason=failure.name.lower(),
                left_out=left_out,
            )
