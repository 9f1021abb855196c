"""Which variables a text assigns constants to, where it does nothing else at all.

A session that was told such a text need not be told it again, and COM_CHANGE_USER undoes all that
it did. So what is in doubt is no such text. The answer is the same in every SQL mode and for every
character set that a client may have.

Sources: the chapters "SET Syntax for Variable Assignment" and "SET TRANSACTION Statement" of the
manual of MySQL, "SET" and "SET TRANSACTION" of MariaDB's. Which variables do not go back, which
change others along with them, and which are one variable under two names was asked of both servers,
and tests/server/session/test_assignments.py asks again.
"""

import re

from .lexical import END, GAP, OPTIONAL, compiled

# A literal without a backslash ends at the same place in every SQL mode, and in every character set
# that a client may have: no character ends in a byte that is a quote. With ANSI_QUOTES "x" is a
# name. On the right of a system variable that is the same value, and of a user variable an error.
_STRING = r"""(?: '(?: [^'\\\x00] | '' )*+' | "(?: [^"\\\x00] | "" )*+" )"""
_NUMBER = r"[+-]?+ (?: [0-9]++ (?: \.[0-9]*+ )?+ | \.[0-9]++ ) (?: E [+-]?+ [0-9]++ )?+"
# These are functions without parentheses, some of them only in MariaDB's SQL mode ORACLE.
_FUNCTION = r"""(?: CURRENT_\w*+ | LOCALTIME\w*+ | UTC_\w*+ | NOW | SYSDATE | (?:\w*_)?+ USER
  | ROWNUM | SQLCODE | SQLERRM )"""
_WORD = rf"(?! {_FUNCTION} {END} ) [A-Z_] \w*+"
_CONSTANT = rf"(?: {_STRING} | (?: {_NUMBER} | NULL | TRUE | FALSE ) {END} )"
_VALUE = rf"(?: {_CONSTANT} | {_WORD} {END} )"
_EQUALS = rf"{OPTIONAL} :?+= {OPTIONAL}"

_NAME = r"[A-Z_] \w*+"
# Names of user variables that differ in an accent, or in blanks at their end, are the same.
_USER_NAME = r"""(?: [\w.$]++ | `[ -_a-~]++` | '[ -&(-\[\]-~]++' | "[ !#-\[\]-~]++" )"""
_CHARACTER_SET = rf"(?: {_STRING} | {_NAME} {END} )"

_SET = compiled(rf"{OPTIONAL} SET {END} {OPTIONAL}")
_ASSIGNMENT = compiled(rf"""(?:
    @ (?P<user>{_USER_NAME}) {_EQUALS} {_CONSTANT}
  | (?: (?: SESSION | LOCAL ) {GAP}
      | @@ (?: SESSION | LOCAL ) {OPTIONAL} \. {OPTIONAL}
      | (?P<bare> @@ ) )?+
    (?: (?P<name>{_NAME}) | `(?P<quoted>{_NAME})` ) {_EQUALS} (?P<value>{_VALUE})
  | NAMES {END} {OPTIONAL} (?P<names>{_CHARACTER_SET})
      (?: {OPTIONAL} COLLATE {END} {OPTIONAL} {_CHARACTER_SET} )?+
  | (?: CHAR (?: ACTER )?+ {GAP} SET | CHARSET ) {END} {OPTIONAL} (?P<charset>{_CHARACTER_SET})
) {OPTIONAL} (?P<after> , | ; | \Z ) {OPTIONAL}""")

_LEVEL = rf"""ISOLATION {GAP} LEVEL {GAP}
  (?: REPEATABLE {GAP} READ | READ {GAP} (?: UN )?+ COMMITTED | SERIALIZABLE ) {END}"""
_ACCESS = rf"READ {GAP} (?: ONLY | WRITE ) {END}"
_COMMA = rf"{OPTIONAL} , {OPTIONAL}"
_TRANSACTION = compiled(rf"""(?: SESSION | LOCAL ) {GAP} TRANSACTION {GAP}
  (?: (?P<level>{_LEVEL}) (?: {_COMMA} (?P<access_2>{_ACCESS}) )?+
    | (?P<access>{_ACCESS}) (?: {_COMMA} (?P<level_2>{_LEVEL}) )?+ )
  {OPTIONAL} (?P<after> ; | \Z ) {OPTIONAL}""")

# Two names of one variable.
_CANONICAL = {
    "tx_isolation": "transaction_isolation",
    "tx_read_only": "transaction_read_only",
    "storage_engine": "default_storage_engine",
    "log_slow_min_examined_row_limit": "min_examined_row_limit",
    "log_slow_query": "slow_query_log",
    "log_slow_query_time": "long_query_time",
    "max_insert_delayed_threads": "max_delayed_threads",
    "old_alter_table": "alter_algorithm",
    "tmp_memory_table_size": "tmp_table_size",
}
_CONNECTION = frozenset({"character_set_connection", "collation_connection"})
_SERVER = frozenset({"character_set_server", "collation_server"})
_DATABASE = frozenset({"character_set_database", "collation_database"})
_CLIENT = _CONNECTION | {"character_set_client", "character_set_results"}
# Whichever of these is assigned, the others of its row may change with it.
_TOGETHER: dict[str, frozenset[str]] = {
    name: names for names in (_CONNECTION, _SERVER, _DATABASE) for name in names
} | {"max_join_size": frozenset({"max_join_size", "sql_big_selects"})}

# Without SESSION, two at-signs mean the next transaction, on both servers.
_OF_THE_NEXT_TRANSACTION = frozenset({"transaction_isolation", "transaction_read_only"})

# An assignment to this one changes only the flags that it names.
_FLAGS = "optimizer_switch"
_FLAG = compiled(r"(?P<flag> [A-Z_] \w*+ ) = (?: ON | OFF | DEFAULT )")

_DOES_MORE = r"""(?:
  # Not a variable at all.
    PASSWORD | ROLE | NAMES
  # More than a value: what a transaction is, what is kept of earlier statements.
  | AUTOCOMMIT | COMPLETION_TYPE | PROFILING\w*+ | OPTIMIZER_TRACE\w*+ | RBR_EXEC_MODE
  # Of the next statement, of the last one, or of the clock.
  | TIMESTAMP | (?:LAST_)?+ INSERT_ID | IDENTITY | RAND_SEED\w*+ | SYSTEM_VERSIONING_\w++
  # Of the session's place in replication, or of all sessions although it is set in one.
  | PSEUDO_\w++ | GTID_\w++ | SERVER_ID | SQL_LOG_BIN | WSREP_\w++ | NDB\w*+
  | GROUP_REPLICATION_\w++ | SKIP_(?:PARALLEL_)?+ REPLICATION | MAX_RELAY_LOG_SIZE
  | DEFAULT_MASTER_CONNECTION
  | (?: SQL_ )?+ (?: SLAVE | REPLICA ) \w*+ | REPLICATE_\w++ | REQUIRE_ROW_FORMAT
  | ORIGINAL_\w++ | IMMEDIATE_\w++
  # Of whom the session belongs to, or for the server's developers.
  | PROXY_USER | EXTERNAL_USER | DEBUG\w*+
  # The server keeps a copy of these where COM_CHANGE_USER does not look.
  | NET_\w++ | SESSION_TRACK_\w++ | QUERY_(?:PREALLOC|ALLOC_BLOCK)_SIZE
  | TRANSACTION_(?:PREALLOC|ALLOC_BLOCK)_SIZE | RESULTSET_METADATA
  # They change a part of another variable, or a part of themselves.
  | LOG_QUERIES_NOT_USING_INDEXES | LOG_SLOW_\w++ | OLD | CHARACTER_SET_COLLATIONS
  # Of engines that keep connections and loads of their own.
  | SPIDER_\w++ | ROCKSDB_\w++ | COLUMNSTORE_\w++ | FEDERATED\w*+ | MROONGA_\w++
)"""
_DENIED = compiled(_DOES_MORE)

# What assigns constants to global variables only. Each has its GLOBAL, because after a comma the
# servers' manuals are not of one mind. Some variables, such as server_id, reach this session, too.
_GLOBAL = rf"""(?: GLOBAL {GAP} | @@GLOBAL {OPTIONAL} \. {OPTIONAL} )
  (?! {_DOES_MORE} {END} ) {_NAME} {_EQUALS} {_VALUE}"""
GLOBALS = rf"""SET {GAP} (?: GLOBAL {GAP} TRANSACTION {GAP} (?: {_LEVEL} | {_ACCESS} )
  | {_GLOBAL} (?: {OPTIONAL} , {OPTIONAL} {_GLOBAL} )*+ )"""


def assigned(sql: bytes) -> frozenset[str] | None:
    """The variables that a text assigns constants to, or None where it may do anything else.

    Names are in small letters, a user variable's as ``@name``, and of two names of one variable
    always the same one. What changes along with a variable is among them. A flag of
    ``optimizer_switch`` is a variable of its own, ``optimizer_switch.mrr``.
    """
    if b"\\" in sql or b"\x00" in sql:
        return None
    names: set[str] = set()
    position = 0
    while position < len(sql):
        match = _SET.match(sql, position)
        if match is None or (found := _one(sql, match.end())) is None:
            return None
        names |= found[0]
        position = found[1]
    return frozenset(names) or None


def _one(sql: bytes, position: int) -> tuple[set[str], int] | None:
    """What the SET whose list starts at ``position`` assigns to, and where the next one starts."""
    if match := _TRANSACTION.match(sql, position):
        return _characteristics(match), match.end()
    names: set[str] = set()
    while match := _ASSIGNMENT.match(sql, position):
        if not (found := _names(match)):
            return None
        names |= found
        position = match.end()
        if match["after"] != b",":
            return names, position
    return None


def _characteristics(match: re.Match[bytes]) -> set[str]:
    names = set()
    if match["level"] or match["level_2"]:
        names.add("transaction_isolation")
    if match["access"] or match["access_2"]:
        names.add("transaction_read_only")
    return names


def _names(match: re.Match[bytes]) -> frozenset[str] | None:
    """The variables of one assignment, or None where it does more than to assign."""
    if match["user"]:
        return frozenset({f"@{_user_name(match['user'])}"})
    if match["names"] or match["charset"]:
        return _CLIENT
    given = (match["name"] or match["quoted"]).decode().lower()
    name = _CANONICAL.get(given, given)
    if _DENIED.fullmatch(name.encode()):
        return None
    if match["bare"] and name in _OF_THE_NEXT_TRANSACTION:
        return None
    value: bytes = match["value"]
    return _flags(value) if name == _FLAGS else _TOGETHER.get(name, frozenset({name}))


def _user_name(name: bytes) -> str:
    bare = name[1:-1] if name[:1] in (b"`", b"'", b'"') else name
    return bare.rstrip(b" ").decode().lower()


def _flags(value: bytes) -> frozenset[str] | None:
    if value.upper() == b"DEFAULT":
        return frozenset({_FLAGS})
    flags = [_FLAG.fullmatch(flag) for flag in value[1:-1].split(b",")]
    names = [f"{_FLAGS}.{flag['flag'].decode().lower()}" for flag in flags if flag]
    return frozenset(names) if len(names) == len(flags) else None
