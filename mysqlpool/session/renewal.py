"""Renewal: which dirty sessions COM_CHANGE_USER makes as new, on which servers.

A session that is renewed when it is about to be leased again keeps until then what its last holder
left. So only what nobody else waits for may be left: no lock, no transaction, no temporary table
that fills a disk. And only what is known to be cleared completely: not a role, a resource group or
a profile, and nothing that a procedure or a prepared statement did, which may be any of these. What
is in doubt has the session discarded.

What a server does for a new connection alone is asked of it each time: see `at_a_connect`.

Sources: "mysql_change_user()" of the manual of MySQL's C API and "COM_CHANGE_USER" of MariaDB's
protocol. That each kind is cleared on both servers was asked of them, and
tests/server/session/test_renewal.py asks again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from time import monotonic

from .assignments import assigned
from .lexical import END, GAP, OPTIONAL, compiled, without_comments
from .statements import USER_VARIABLE, Classifier

__all__ = ["Renewals", "at_a_connect", "clears", "is_djangos", "is_known"]

# Seconds for which a server, or a proxy before it, is not asked again after it refused.
PAUSE = 60.0

# MySQL's versions, and Percona's, which are numbers and what a package or a build adds. MariaDB's
# say so. TiDB, Vitess and others speak the protocol, but what they clear nobody has looked at.
_MYSQL = re.compile(
    r"(?:5\.7|[89]|\d\d)\.\d+(?:\.\d+)?(?:-(?:\d[\w.~+]*|log|debug|commercial|cluster|google|azure))*"
)

# From there on MySQL itself keeps foreign keys, unless it was started with this variable on. After
# COM_CHANGE_USER InnoDB keeps them, as in older ones: the binary log then lacks the rows that a
# cascade deletes, and LOCK TABLES does not lock what refers to a table. Seen on 9.7.4.
_OWN_FOREIGN_KEYS = 9, 6

# With other values of these a server reads a text in another way. From these assignments one that
# knows the character set tells how.
_CHARACTER_SETS = frozenset({"character_set_client", "character_set_connection"})
_NAMES = compiled(rf"""{OPTIONAL} SET {GAP} NAMES {GAP} ['"]?+ (?: UTF8\w*+ | LATIN1 ) ['"]?+
  (?: {GAP} COLLATE {GAP} ['"]?+ (?: UTF8\w*+ | LATIN1_\w++ ) ['"]?+ )?+
  {OPTIONAL} ;?+ {OPTIONAL}""")

_USER_NAME = r"""(?: [\w.$]++ | `[^`]++` | '[^'\\]++' | "[^"\\]++" )"""
_LITERAL = r"(?: [+-]?+ [0-9]++ (?: \.[0-9]++ )?+ | ON | OFF | DEFAULT )"
# Each begins a statement that leaves a trace of its own, which is cleared. What follows it is read
# like a part of a query.
_HEAD = compiled(rf"""{OPTIONAL} (?:
    (?P<assigns> SET {OPTIONAL} @ {_USER_NAME} {OPTIONAL} :?+= )
  | SET {GAP} (?: (?: SESSION | LOCAL ) {GAP} )?+
      (?: AUTOCOMMIT | TIMESTAMP | (?:LAST_)?+ INSERT_ID )
      {OPTIONAL} = {OPTIONAL} {_LITERAL} {OPTIONAL} \Z
  | SET {GAP} TRANSACTION {GAP} [A-Z\s,]++ \Z
  | PREPARE {GAP} [\w$]++ {GAP} FROM {END}
  | (?: DEALLOCATE | DROP ) {GAP} PREPARE {END}
  | USE {END}
  | GET {GAP} (?: CURRENT {GAP} )?+ DIAGNOSTICS {END}
)""")
# django.db.backends.mysql.base, init_connection_state(); the other one is the isolation level.
_NO_AUTO_IS_NULL = "SET SQL_AUTO_IS_NULL = 0"

_ENDS = b"; \t\r\n\f\v"
_QUOTED = re.compile(rb"""'[^']*+'|"[^"]*+"|`[^`]*+`""")


def clears(sql: bytes, classifier: Classifier) -> bool:
    """Whether COM_CHANGE_USER undoes all that a text leaves in its session, which is nothing that
    anybody waits for.

    ``classifier`` reads texts as the session's server does at this moment.
    """
    names = assigned(sql)
    if names is not None:
        return not names & _CHARACTER_SETS or _NAMES.fullmatch(sql) is not None
    text = without_comments(sql).rstrip(_ENDS)
    if b";" in text:  # Of several statements only the first that leaves a trace is told.
        return False
    head = _HEAD.match(text)
    if head is not None:
        rest = text[head.end() :]
        if head["assigns"] and not _is_one_value(rest):
            return False
        text = b"DO " + rest
    return classifier.effect(text).dirty in (None, USER_VARIABLE)


def _is_one_value(text: bytes) -> bool:
    """Whether a list of assignments ends with this value; False where that is in doubt."""
    if any(doubtful in text for doubtful in (b"\\", b"#", b"--", b"/*")):
        return False
    depth = 0
    for mark in re.findall(rb"[(),]", _QUOTED.sub(b"", text)):
        depth += (mark == b"(") - (mark == b")")
        if mark == b"," and depth == 0:
            return False
    return True


def is_known(server_info: str) -> bool:
    """Whether this is a server of which we know what COM_CHANGE_USER clears."""
    return "MariaDB" in server_info or _MYSQL.fullmatch(server_info) is not None


def at_a_connect(server_info: str) -> bytes:
    """What to ask the server: for the name of what makes its new connections others than one after
    COM_CHANGE_USER, which is empty where nothing does.
    """
    others = b"''"
    version = re.match(r"(\d+)\.(\d+)\b(?!.*MariaDB)", server_info)
    if version is not None and tuple(map(int, version.groups())) >= _OWN_FOREIGN_KEYS:
        others = b"IF(@@GLOBAL.innodb_native_foreign_keys, '', 'innodb_native_foreign_keys')"
    return b"SELECT IF(@@GLOBAL.init_connect <> '', 'init_connect', %b)" % others


def is_djangos(baseline: Iterable[bytes], isolation_level: str | None) -> bool:
    """Whether this is what Django says to a new session that is to have this isolation level."""
    said = b"; ".join(baseline).decode("utf8", "replace").removeprefix(_NO_AUTO_IS_NULL)
    level = f"SET SESSION TRANSACTION ISOLATION LEVEL {(isolation_level or '').upper()}"
    return said.removeprefix("; ") in ("", level)


class Renewals:
    """On which servers the sessions of one pool are renewed at present."""

    def __init__(self) -> None:
        self._refused: dict[object, float] = {}  # servers, and when each failed last

    def allowed(self, server: object) -> bool:
        """Whether a session on this server may wait to be renewed."""
        refused = self._refused.get(server)
        return refused is None or monotonic() - refused >= PAUSE

    def failed(self, server: object) -> None:
        """Note that a session on this server could not be renewed, for whatever reason."""
        self._refused[server] = monotonic()
