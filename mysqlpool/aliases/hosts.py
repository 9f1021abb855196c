"""Hosts: in which order the servers of one alias are tried, and which of them failed just now.

A server that could not be reached, or that turned out to take no writes, is tried last for a while.
After that one connect tries it in its turn, and the others go on elsewhere until that one has
succeeded.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import MySQLdb

from mysqlpool.conf.servers import DEFAULT_PORT, Server, servers_in
from mysqlpool.pool import cannot_connect, clock
from mysqlpool.pool.locks import under
from mysqlpool.session.failures import Failure
from mysqlpool.session.session import Session

from .opening import close_session

__all__ = ["Hosts", "at", "connect_to_one", "servers_of"]

# A server that knows no such variable is part of no cluster. MySQL tells the letters of a table's
# name apart, and MariaDB does not those of this one.
_IS_READY = (
    "SELECT COALESCE(MAX(VARIABLE_VALUE), 'ON') FROM {}.global_status"
    " WHERE VARIABLE_NAME = 'wsrep_ready'"
)

# What a server is asked that let us in, and once told us this; and what it says if that is over. A
# Galera node out of its cluster lets in, and refuses what has to do with tables but these.
_QUESTIONS = {
    Failure.READ_ONLY: ("SELECT @@GLOBAL.read_only", ("0", "OFF")),
    Failure.NOT_READY: (_IS_READY, ("ON",)),
}


def servers_of(params: Mapping[str, Any]) -> tuple[Server, ...]:
    """The servers of parameters for mysqlclient that name several; else none."""
    host = params.get("host")
    if not isinstance(host, str) or "," not in host:
        return ()
    return servers_in(host, params.get("port") or DEFAULT_PORT)


def at(params: Mapping[str, Any], server: Server) -> dict[str, Any]:
    """The parameters for one server, where they name several."""
    made = {name: value for name, value in params.items() if name not in ("host", "port")}
    if isinstance(server, str):
        return {**made, "unix_socket": server}
    return {**made, "host": server[0], "port": server[1]}


class Hosts:
    """The order of servers, and a memory of those that failed; times are monotonic seconds.

    ``_lock`` guards both attributes. Nothing blocks while it is held.
    """

    def __init__(self, order: str, retry: float) -> None:
        self._random = order == "random"
        self._retry = retry
        self._lock = threading.RLock()
        self._failed: dict[Server, float] = {}  # when it may be tried in its turn again
        self._told: dict[Server, Failure] = {}  # what those of these said that could be reached

    def ordered(self, servers: Sequence[Server]) -> list[Server]:
        """The servers in the order in which to try them now: those that failed are the last.

        The one whose failure is the longest ago is the first of these.
        """
        return under(self._lock, self._ordered, servers)

    def _ordered(self, servers: Sequence[Server]) -> list[Server]:
        now, failed = clock.monotonic(), self._failed
        good = [server for server in servers if failed.get(server, now) <= now]
        if self._random:
            random.shuffle(good)
        if good and good[0] in failed:  # Others wait for what the caller finds out.
            failed[good[0]] = now + self._retry
        bad = [server for server in servers if server not in good]
        return good + sorted(bad, key=lambda server: failed[server])

    def failed(self, server: Server) -> None:
        """A connect found nobody there who accepts it."""
        under(self._lock, self._note, server, None)

    def turned_read_only(self, server: Server) -> None:
        """A session found out that it cannot write there."""
        under(self._lock, self._note, server, Failure.READ_ONLY)

    def turned_not_ready(self, server: Server) -> None:
        """A session found out that this node is not part of its cluster."""
        under(self._lock, self._note, server, Failure.NOT_READY)

    def _note(self, server: Server, told: Failure | None) -> None:
        self._failed[server] = clock.monotonic() + self._retry
        if told is not None:
            self._told[server] = told

    def told(self, server: Server) -> Failure | None:
        """Why the server took no writes, where that is why it is tried last."""
        return self._told.get(server)

    def answered(self, server: Server) -> None:
        """A connect succeeded there, and nothing speaks against the server any more."""
        under(self._lock, self._forget, server)

    def _forget(self, server: Server) -> None:
        self._failed.pop(server, None)
        self._told.pop(server, None)


def connect_to_one(
    alias: str,
    hosts: Hosts,
    servers: Sequence[Server],
    connect: Callable[[Server, int], Session],
    is_over: Callable[[], bool] = lambda: False,
) -> Session:
    """Connect to the first of several servers that accepts it.

    ``connect(server, left)`` is called with the number of servers that are left to try, this one
    among them, and ``is_over()`` tells whether the time for all of them is over. A server that took
    no writes is asked whether that is so still: then it is the last choice, better than none.

    Raises the last server's ``MySQLdb.Error``, and at once any error that tells of more than a
    server which cannot be reached: others would say the same of a wrong password.
    """
    spare: Session | None = None
    ordered = hosts.ordered(servers)
    try:
        for left, server in zip(range(len(ordered), 0, -1), ordered, strict=True):
            try:
                session, is_fit = _tried(alias, hosts, server, partial(connect, server, left))
            except MySQLdb.Error as error:
                if not cannot_connect(error):
                    raise
                hosts.failed(server)
                if spare is None and (left == 1 or is_over()):
                    raise
                continue  # A spare one is better than this error.
            if is_fit:
                hosts.answered(server)
                return session
            hosts.failed(server)
            if spare is None:
                spare = session
            else:
                close_session(alias, session)
        assert spare is not None
        chosen, spare = spare, None
        return chosen
    finally:
        if spare is not None:
            close_session(alias, spare)


def _tried(
    alias: str, hosts: Hosts, server: Server, connect: Callable[[], Session]
) -> tuple[Session, bool]:
    """A session on this server, and whether that takes writes, as far as is known."""
    session = connect()
    session.server = server
    try:
        return session, _takes_writes(session, hosts.told(server))
    except BaseException:
        close_session(alias, session)
        raise


def _takes_writes(session: Session, told: Failure | None) -> bool:
    if told is None:
        return True
    question, good = _QUESTIONS[told]
    schema = "information" if "MariaDB" in session.get_server_info() else "performance"
    return session.ask(question.format(f"{schema}_schema").encode("ascii")) in good
