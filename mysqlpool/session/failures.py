"""What an error tells about the session on which it came, and about its server.

Numbers and names are those of the servers' lists of errors, and of the client library's:
https://dev.mysql.com/doc/mysql-errors/9.4/en/server-error-reference.html
https://dev.mysql.com/doc/mysql-errors/9.4/en/client-error-reference.html
https://mariadb.com/kb/en/mariadb-error-code-reference/
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import MySQLdb
from sqlalchemy.dialects.mysql.mysqldb import MySQLDialect_mysqldb

__all__ = ["FAILURES", "Failure", "failure_of"]


class Failure(enum.Enum):
    """A class of errors. Its value is for people."""

    DEAD = "the connection is gone"
    OUT_OF_STEP = "what the server sends next may be an answer to something else"
    TOO_BIG = "the packet is too big, and the server closes the connection"
    COMMIT_UNKNOWN = "the connection was lost before the answer to a COMMIT"
    CANNOT_CONNECT = "nobody accepts connections there now"
    FULL = "the server, or the account, has all the sessions that it may have"
    REFUSED = "the server does not let this account in"
    EXPIRED = "the password has expired, and the session may do nothing but renew it"
    NOT_READY = "the node is not part of its cluster"
    READ_ONLY = "the server takes no writes"
    CONFLICT = "another transaction was in the way; the session is fit"
    KILLED = "the statement was killed, or took too long; the session is fit"

    @property
    def is_unfit(self) -> bool:
        """Whether the session must not be used any more."""
        return self in _UNFIT or self.is_of_the_server

    @property
    def is_of_the_server(self) -> bool:
        """Whether its older sessions on the same server would fail in the same way."""
        return self in _OF_THE_SERVER


_UNFIT = frozenset({Failure.DEAD, Failure.OUT_OF_STEP, Failure.TOO_BIG, Failure.COMMIT_UNKNOWN})
_OF_THE_SERVER = frozenset({Failure.EXPIRED, Failure.NOT_READY, Failure.READ_ONLY})


class Known(NamedTuple):
    """An error by its number: what it tells, and where it tells that."""

    failure: Failure
    name: str
    only: str = ""
    """The server on which it means this; "" for both."""
    text: str = ""
    """What its text has to hold, in whatever language: an option's or a resource's name."""


_MARIADB, _MYSQL = "MariaDB", "MySQL"

FAILURES: Mapping[int, tuple[Known, ...]] = MappingProxyType(
    {
        # The client library's own. The others from 2000 to 2999 are OUT_OF_STEP: see failure_of().
        2002: (Known(Failure.CANNOT_CONNECT, "CR_CONNECTION_ERROR"),),
        2003: (Known(Failure.CANNOT_CONNECT, "CR_CONN_HOST_ERROR"),),
        2005: (Known(Failure.CANNOT_CONNECT, "CR_UNKNOWN_HOST"),),
        2006: (Known(Failure.DEAD, "CR_SERVER_GONE_ERROR"),),
        2012: (Known(Failure.CANNOT_CONNECT, "CR_SERVER_HANDSHAKE_ERR"),),
        2013: (Known(Failure.DEAD, "CR_SERVER_LOST"),),
        2020: (Known(Failure.TOO_BIG, "CR_NET_PACKET_TOO_LARGE"),),
        # What MariaDB's client library makes of a greeting that is an error with a number of the
        # client's own, such as the 2003 of a MySQL Router that has no server.
        2027: (Known(Failure.CANNOT_CONNECT, "CR_MALFORMED_PACKET"),),
        2055: (Known(Failure.DEAD, "CR_SERVER_LOST_EXTENDED"),),
        # The server's, after which it closes the connection.
        1053: (Known(Failure.DEAD, "ER_SERVER_SHUTDOWN"),),
        1080: (Known(Failure.DEAD, "ER_FORCING_CLOSE"),),
        1152: (Known(Failure.DEAD, "ER_ABORTING_CONNECTION"),),
        1153: (Known(Failure.TOO_BIG, "ER_NET_PACKET_TOO_LARGE"),),
        1156: (Known(Failure.DEAD, "ER_NET_PACKETS_OUT_OF_ORDER"),),
        1157: (Known(Failure.DEAD, "ER_NET_UNCOMPRESS_ERROR"),),
        1158: (Known(Failure.DEAD, "ER_NET_READ_ERROR"),),
        1159: (Known(Failure.DEAD, "ER_NET_READ_INTERRUPTED"),),
        1160: (Known(Failure.DEAD, "ER_NET_ERROR_ON_WRITE"),),
        1161: (Known(Failure.DEAD, "ER_NET_WRITE_INTERRUPTED"),),
        1184: (Known(Failure.DEAD, "ER_NEW_ABORTING_CONNECTION"),),
        1835: (Known(Failure.OUT_OF_STEP, "ER_MALFORMED_PACKET"),),
        1927: (Known(Failure.DEAD, "ER_CONNECTION_KILLED"),),
        3032: (Known(Failure.DEAD, "ER_SERVER_OFFLINE_MODE", _MYSQL),),
        3169: (Known(Failure.DEAD, "ER_SESSION_WAS_KILLED", _MYSQL),),
        4031: (Known(Failure.DEAD, "ER_CLIENT_INTERACTION_TIMEOUT", _MYSQL),),
        # To be had while connecting, or by another user with COM_CHANGE_USER.
        1040: (Known(Failure.FULL, "ER_CON_COUNT_ERROR"),),
        1203: (Known(Failure.FULL, "ER_TOO_MANY_USER_CONNECTIONS"),),
        1226: (Known(Failure.FULL, "ER_USER_LIMIT_REACHED", text="max_user_connections"),),
        1044: (Known(Failure.REFUSED, "ER_DBACCESS_DENIED_ERROR"),),
        1045: (Known(Failure.REFUSED, "ER_ACCESS_DENIED_ERROR"),),
        1129: (Known(Failure.REFUSED, "ER_HOST_IS_BLOCKED"),),
        1130: (Known(Failure.REFUSED, "ER_HOST_NOT_PRIVILEGED"),),
        1698: (Known(Failure.REFUSED, "ER_ACCESS_DENIED_NO_PASSWORD_ERROR"),),
        3118: (Known(Failure.REFUSED, "ER_ACCOUNT_HAS_BEEN_LOCKED", _MYSQL),),
        4151: (Known(Failure.REFUSED, "ER_ACCOUNT_HAS_BEEN_LOCKED", _MARIADB),),
        # What is so on the whole server.
        1047: (Known(Failure.NOT_READY, "ER_UNKNOWN_COM_ERROR", text="WSREP"),),
        # Galera's COMMIT, after which the node refuses all with 1047.
        1180: (
            Known(Failure.NOT_READY, "ER_ERROR_DURING_COMMIT", text="Primary Component"),
            # Group Replication's, with InnoDB's HA_ERR_LOCK_DEADLOCK: what another node did was
            # applied first. The session is fit.
            Known(Failure.CONFLICT, "ER_ERROR_DURING_COMMIT", text=" 149 "),
        ),
        1290: (
            Known(Failure.READ_ONLY, "ER_OPTION_PREVENTS_STATEMENT", text="read-only"),
            Known(Failure.READ_ONLY, "ER_OPTION_PREVENTS_STATEMENT", text="read_only"),
        ),
        1792: (Known(Failure.READ_ONLY, "ER_CANT_EXECUTE_IN_READ_ONLY_TRANSACTION"),),
        1820: (Known(Failure.EXPIRED, "ER_MUST_CHANGE_PASSWORD"),),
        1836: (Known(Failure.READ_ONLY, "ER_READ_ONLY_MODE"),),
        1862: (Known(Failure.EXPIRED, "ER_MUST_CHANGE_PASSWORD_LOGIN"),),
        # A node lost its group in a COMMIT, which the others may do all the same, and is read-only.
        3100: (Known(Failure.READ_ONLY, "ER_RUN_HOOK_ERROR", _MYSQL),),
        # After which the session is as good as before.
        1020: (Known(Failure.CONFLICT, "ER_CHECKREAD"),),
        1205: (Known(Failure.CONFLICT, "ER_LOCK_WAIT_TIMEOUT"),),
        1206: (Known(Failure.CONFLICT, "ER_LOCK_TABLE_FULL"),),
        1213: (Known(Failure.CONFLICT, "ER_LOCK_DEADLOCK"),),
        1613: (Known(Failure.CONFLICT, "ER_XA_RBTIMEOUT"),),
        1614: (Known(Failure.CONFLICT, "ER_XA_RBDEADLOCK"),),
        3101: (Known(Failure.CONFLICT, "ER_TRANSACTION_ROLLBACK_DURING_COMMIT", _MYSQL),),
        3572: (Known(Failure.CONFLICT, "ER_LOCK_NOWAIT", _MYSQL),),
        1317: (Known(Failure.KILLED, "ER_QUERY_INTERRUPTED"),),
        1969: (Known(Failure.KILLED, "ER_STATEMENT_TIMEOUT", _MARIADB),),
        3024: (Known(Failure.KILLED, "ER_QUERY_TIMEOUT", _MYSQL),),
    }
)

# Of the client library's own errors, those after which the protocol is in step. It told the server
# that there is no file (CR_LOAD_DATA_LOCAL_INFILE_REJECTED), and read the answer.
_IN_STEP = frozenset({2068})

_dialect = MySQLDialect_mysqldb(dbapi=MySQLdb)


def failure_of(error: BaseException, *, mariadb: bool, connecting: bool = False) -> Failure | None:
    """What an error tells, where it came from such a server; None where that is nothing of this.

    It is None for what is the statement's own matter, such as a syntax error. ``connecting`` tells
    that there was no session yet.
    """
    args = error.args
    number = args[0] if args and isinstance(args[0], int) else 0
    failure = _listed(number, str(args[1]) if len(args) > 1 else "", mariadb)
    if failure is None and number not in FAILURES:
        failure = _unlisted(error, number)
    if connecting and failure is Failure.DEAD:
        return Failure.CANNOT_CONNECT
    if not connecting and failure is Failure.CANNOT_CONNECT:  # Said by a proxy, for example.
        return Failure.OUT_OF_STEP
    return failure


def _listed(number: int, text: str, mariadb: bool) -> Failure | None:
    server = _MARIADB if mariadb else _MYSQL
    for known in FAILURES.get(number, ()):
        if known.only in ("", server) and known.text in text:
            return known.failure
    return None


def _unlisted(error: BaseException, number: int) -> Failure | None:
    if 2000 <= number <= 2999:
        return None if number in _IN_STEP else Failure.OUT_OF_STEP
    is_disconnect: Any = _dialect.is_disconnect
    return Failure.DEAD if is_disconnect(error, None, None) else None
