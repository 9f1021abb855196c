"""Connects: what the log is told of how connecting goes, and of servers that are away or demoted.

A failed connect is told of once a second at most. That a server is away is told as it begins and as
it ends, and what fails meanwhile is counted.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import MySQLdb

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

    ``params`` are those with which it was to connect. None for an error of anybody else: it may say
    anything.
    """
    if not isinstance(error, MySQLdb.Error) or len(error.args) < 2:
        return None
    text = _UNQUOTED.sub(HIDDEN, _NAMES.sub(HIDDEN, str(error.args[1])))
    for name in [str(params.get("user") or ""), *_HOSTS.findall(str(params.get("host") or ""))]:
        if name:
            text = re.sub(rf"(?<![\w.]){re.escape(name)}(?![\w.])", "...", text)
    return text


@dataclass(slots=True)
class Outage:
    """A server that accepts no connections: since when, and how many connects found that."""

    since: float
    failed: int = 0


class Connects:
    """How the connects of one alias go; times are monotonic seconds.

    ``waits`` tells whether a request waits where the server has all the sessions it may have.
    ``_lock`` guards ``_outages`` and ``_demoted``. Nothing is logged while it is held.
    """

    def __init__(self, alias: str, *, waits: bool) -> None:
        self._alias = alias
        self._waits = waits
        self._lock = threading.RLock()
        self._outages: dict[Server, Outage] = {}
        self._demoted: dict[Server, Seldom] = {}
        self._failures, self._refusals = Seldom(), Seldom()
        # What the last connect found: nobody there, or no room. A race costs one line.
        self._absent = self._full = False

    def to(self, server: Server, connect: Callable[[], Session]) -> Session:
        """Connect to one server, and note whether it accepts connections. Raises as ``connect``."""
        begun = clock.monotonic()
        try:
            session = connect()
        except MySQLdb.Error as error:
            if cannot_connect(error) and under(self._lock, self._failed_there, server, begun):
                self._tell(
                    logging.WARNING, "outage_began", server=written([server]), errno=error.args[0]
                )
            raise
        if self._outages:
            self._answered(server)
        return session

    def _failed_there(self, server: Server, begun: float) -> bool:
        """Count a failed connect; whether it is the first one of an outage. Locked."""
        is_first = server not in self._outages
        self._outages.setdefault(server, Outage(begun)).failed += 1
        return is_first

    def _answered(self, server: Server) -> None:
        outage = under(self._lock, self._outages.pop, server, None)
        if outage is not None:
            seconds = round(clock.monotonic() - outage.since, 3)
            self._tell(
                logging.INFO,
                "outage_ended",
                server=written([server]),
                seconds=seconds,
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
            self._tell_failure(error, params, clock.monotonic() - begun)
            raise
        self._absent = self._full = False
        return session

    def _tell_failure(self, error: Exception, params: Mapping[str, Any], seconds: float) -> None:
        was_absent, was_full = self._absent, self._full
        self._absent = cannot_connect(error)
        self._full = classify_connect_error(error) == "full"
        errno = error.args[0] if isinstance(error, MySQLdb.Error) and error.args else None
        fields = {"errno": errno, "message": safe_text(error, params)}
        if self._full:
            left_out = self._refusals.left_out(wanted=not was_full)
            if left_out is not None:
                self._tell(logging.WARNING, "server_full", **fields, left_out=left_out)
            if self._waits:
                return
        left_out = self._failures.left_out()
        if left_out is not None:
            # What goes on failing in an outage is that outage.
            level = logging.DEBUG if self._absent and was_absent else logging.WARNING
            kind, seconds = type(error).__name__, round(seconds, 3)
            self._tell(
                level, "connect_failed", error=kind, **fields, seconds=seconds, left_out=left_out
            )

    def demoted(self, server: Server, failure: Failure) -> None:
        """Tell that a server takes no writes any more, once a minute at most."""
        left_out = under(
            self._lock, self._demoted.setdefault, server, Seldom(BETWEEN_DEMOTIONS)
        ).left_out()
        if left_out is not None:
            reason = failure.name.lower()
            self._tell(
                logging.WARNING,
                "demoted",
                server=written([server]),
                reason=reason,
                left_out=left_out,
            )

    def _tell(self, level: int, event: str, **fields: Any) -> None:
        log_event(logger, level, event, self._alias, **fields)
