"""Facts: what a server tells of itself to any account, asked in one session.

An account needs no rights for it. What the server does not tell, or not this account, is None.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import MySQLdb
from django.db import Error as DatabaseError
from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["ServerFacts", "gather"]


@dataclass(frozen=True)
class ServerFacts:
    """What is known of a server, of this account there, and of the session that asked.

    ``kind`` is MariaDB, MySQL, or the name of another one, and ``version`` its first three numbers.
    ``identity`` is the same for one server by whatever name. ``connected`` counts the sessions of
    all clients, and ``own`` those of this account, the one that asked among both. ``account_limit``
    is how many the server lets it have at once, 0 for no limit; ``by_the_hour`` are the account's
    limits of that kind. Times are seconds. ``cipher`` is empty for a session in plain text.
    """

    kind: str = "MariaDB"
    version: tuple[int, ...] = ()
    version_text: str = ""
    identity: tuple[Any, ...] = ()
    account: str = ""
    max_connections: int | None = None
    connected: int | None = None
    own: int | None = None
    account_limit: int | None = None
    by_the_hour: Mapping[str, int] | None = None
    wait_timeout: float | None = None
    idle_transaction_timeout: float | None = None
    read_only: bool | None = None
    cipher: str | None = None
    tls_version: str | None = None
    completion_type: str | None = None
    init_connect: str | None = field(default=None, repr=False)
    native_foreign_keys: bool | None = None  # from MySQL 9.6 on


_NUMBERS: Mapping[str, str] = {
    "max_connections": "max_connections",
    "account_limit": "max_user_connections",  # A session's is what counts for its account.
    "wait_timeout": "wait_timeout",
    "idle_transaction_timeout": "idle_transaction_timeout",  # MariaDB's
}
_IDENTITY = ("server_uuid", "hostname", "port", "server_id")
_READ_ONLY = ("read_only", "super_read_only", "innodb_read_only")


def gather(connection: BaseDatabaseWrapper) -> ServerFacts:
    """Ask the server of this connection, in one lease.

    Raises ``django.db.Error`` where the connection cannot be had or is lost.
    """
    with connection.cursor() as cursor:
        ask = _Question(cursor)
        version = str(ask.value("SELECT VERSION()"))
        comment = ask.variable("version_comment")
        numbers = {name: _number(ask.variable(v)) for name, v in _NUMBERS.items()}
        account = str(ask.value("SELECT CURRENT_USER()") or "")
        native = ask.variable("innodb_native_foreign_keys")
        switches = [value for name in _READ_ONLY if (value := ask.variable(name)) is not None]
        return ServerFacts(
            kind=_kind(f"{version} {comment}"),
            version=_version(version),
            version_text=version,
            identity=tuple(ask.variable(name) for name in _IDENTITY),
            account=account,
            connected=_number(ask.status("GLOBAL", "Threads_connected")),
            own=_own_sessions(ask, account),
            by_the_hour=_by_the_hour(ask),
            read_only=any(map(_is_on, switches)) if switches else None,
            cipher=ask.status("SESSION", "Ssl_cipher"),
            tls_version=ask.status("SESSION", "Ssl_version"),
            completion_type=ask.variable("completion_type"),
            init_connect=ask.variable("init_connect"),
            native_foreign_keys=None if native is None else _is_on(native),
            **numbers,
        )


class _Question:
    """Asks one thing after the other. None for what the server refuses to tell."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Raises ``django.db.Error`` only where the connection is lost, or nearly so."""
        try:
            self._cursor.execute(sql)
            return list(self._cursor.fetchall())
        except DatabaseError as error:
            if not _is_refusal(error):
                raise
            return []

    def value(self, sql: str) -> Any:
        """The last column of the first row."""
        rows = self.rows(sql)
        return rows[0][-1] if rows else None

    def variable(self, name: str) -> Any:
        return self.value(f"SELECT @@{name}")

    def status(self, scope: str, name: str) -> Any:
        return self.value(f"SHOW {scope} STATUS LIKE '{name}'")


def _is_refusal(error: DatabaseError) -> bool:
    """Whether the server answered. Numbers from 2000 to 2999 are the client library's own."""
    number = error.args[0] if error.args else None
    is_lost = isinstance(error.__cause__, MySQLdb.InterfaceError)
    return isinstance(number, int) and not 2000 <= number < 3000 and not is_lost


def _own_sessions(ask: _Question, account: str) -> int | None:
    """How many sessions this account has. Without PROCESS a server shows no others at all."""
    rows = ask.rows("SHOW PROCESSLIST")
    user = account.rpartition("@")[0]
    return sum(1 for row in rows if row[1] == user) or None


_BY_THE_HOUR = re.compile(r"\b(MAX_\w+_PER_HOUR) (\d+)")


def _by_the_hour(ask: _Question) -> Mapping[str, int] | None:
    """The account's limits by the hour, if it has any: a server names no others.

    The text that tells has a hash of its password, too.
    """
    text = ask.value("SHOW CREATE USER CURRENT_USER()")
    if text is None:
        return None
    return {name: int(count) for name, count in _BY_THE_HOUR.findall(str(text))}


# What speaks MySQL's protocol, and calls itself by a version of MySQL's.
_OTHERS = ("TiDB", "Vitess", "OceanBase", "SingleStore", "Dolt", "StarRocks", "Doris")


def _kind(text: str) -> str:
    other = next((name for name in _OTHERS if name.lower() in text.lower()), "MySQL")
    return "MariaDB" if "mariadb" in text.lower() else other


def _version(text: str) -> tuple[int, ...]:
    """Of ``5.5.5-10.11.19-MariaDB``, as a MariaDB may call itself, the second."""
    found = re.match(r"(?:5\.5\.5-)?(\d+)\.(\d+)\.(\d+)", text)
    return tuple(map(int, found.groups())) if found else ()


def _number(value: Any) -> Any:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _is_on(value: Any) -> bool:
    """MariaDB 12 has words for how much is read-only."""
    return str(value).upper() not in ("0", "OFF", "")
