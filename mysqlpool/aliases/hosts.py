"""Hosts: in which order the servers of one alias are tried, and which of them failed just now.

A server that could not be reached, or that turned out to be read-only, is tried last for a while.
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
from mysqlpool.session.session import Session

from .opening import close_session

__all__ = ["Hosts", "at", "connect_to_one", "servers_of"]

# What ``SELECT @@GLOBAL.read_only`` says of a server that may be written to.
_WRITABLE = ("0", "OFF")


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
        self._read_only: set[Server] = set()  # of these, those that could be reached

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
        under(self._lock, self._note, server, False)

    def turned_read_only(self, server: Server) -> None:
        """A session found out that it cannot write there."""
        under(self._lock, self._note, server, True)

    def _note(self, server: Server, read_only: bool) -> None:
        self._failed[server] = clock.monotonic() + self._retry
        if read_only:
            self._read_only.add(server)

    def was_read_only(self, server: Server) -> bool:
        return server in self._read_only

    def answered(self, server: Server) -> None:
        """A connect succeeded there, and nothing speaks against the server any more."""
        under(self._lock, self._forget, server)

    def _forget(self, server: Server) -> None:
        self._failed.pop(server, None)
        self._read_only.discard(server)


def connect_to_one(
    alias: str,
    hosts: Hosts,
    servers: Sequence[Server],
    connect: Callable[[Server, int], Session],
    is_over: Callable[[], bool] = lambda: False,
) -> Session:
    """Connect to the first of several servers that accepts it.

    ``connect(server, left)`` is called with the number of servers that are left to try, this one
    among them, and ``is_over()`` tells whether the time for all of them is over. A server that was
    read-only when somebody wrote is asked whether it still is: then it is the last choice, better
    than none.

    Raises the last server's ``MySQLdb.Error``, and at once any error that tells of more than a
    server which cannot be reached: others would say the same of a wrong password.
    """
    spare: Session | None = None
    ordered = hosts.ordered(servers)
    try:
        for left, server in zip(range(len(ordered), 0, -1), ordered, strict=True):
            try:
                session, read_only = _tried(alias, hosts, server, partial(connect, server, left))
            except MySQLdb.Error as error:
                if not cannot_connect(error):
                    raise
                hosts.failed(server)
                if spare is None and (left == 1 or is_over()):
                    raise
                continue  # A spare one is better than this error.
            if not read_only:
                hosts.answered(server)
                return session
            hosts.turned_read_only(server)
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
    """A session on this server, and whether that takes no writes, as far as is known."""
    session = connect()
    session.server = server
    try:
        read_only = hosts.was_read_only(server)
        return session, read_only and session.ask(b"SELECT @@GLOBAL.read_only") not in _WRITABLE
    except BaseException:
        close_session(alias, session)
        raise
