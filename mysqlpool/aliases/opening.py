"""How a session of an alias is opened and closed. Forks and the log are told of both."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mysqlpool.conf.servers import DEFAULT_PORT, Server
from mysqlpool.events.log import log_event
from mysqlpool.session.session import Session

from . import forks, ticker

__all__ = ["CONNECT_TIMEOUT", "close_session", "note_closed", "open_session", "server_of"]

logger = logging.getLogger("mysqlpool.session")

# Seconds; where the user sets none, mysqlclient waits as long as the network lets it.
CONNECT_TIMEOUT = 10


def open_session(alias: str, params: Mapping[str, Any]) -> Session:
    """Connect a session, and see to it that a forked child leaves it alone.

    Raises ``MySQLdb.Error`` as mysqlclient does.
    """
    session = Session(**params)
    session.server = server_of(params)
    forks.note_open(session)
    ticker.connected()
    log_event(logger, logging.DEBUG, "session_opened", alias, session=session.thread_id())
    return session


def server_of(params: Mapping[str, Any]) -> Server:
    """The server that parameters for mysqlclient name."""
    socket: str | None = params.get("unix_socket")
    return socket or (params.get("host") or "localhost", params.get("port") or DEFAULT_PORT)


def close_session(alias: str, session: Session) -> None:
    """Close a session that is in no pool."""
    try:
        session.close()
    finally:
        note_closed(alias, session)


def note_closed(alias: str, session: Session) -> None:
    """Note that a session was closed."""
    forks.note_closed(session)
    log_event(logger, logging.DEBUG, "session_closed", alias)
