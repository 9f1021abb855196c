"""What an SQL text does to the session that executes it, told from the text alone.

A session may be put back into the pool when no statement left a trace in it. This module reads
the text of a statement (or of several, separated by ``;``) and answers conservatively: what it
does not recognise is taken to leave a trace. One regular expression decides for nearly every
statement of an application; only the rest is looked at piece by piece.

What it cannot see: a stored function, a trigger, a view (one with ``GET_LOCK()`` in it, too) or a
loadable function may do anything. ``CALL`` counts as a trace; for the others there is
``reset="always"``.

What it does not look for: ``LASTVAL()`` and ``PREVIOUS VALUE FOR`` of MariaDB's sequences. To find
them would cost every statement some time.

Sources: the chapters "Lexical Structure" (or "Language Structure"), "SQL Statements" and
"Functions" of the manuals of MySQL 8.4 and MariaDB 10.11; ProxySQL's list of the statements that
disable multiplexing.
"""

import re
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from .administration import administration
from .lexical import BLANK, COMMENT, END, GAP, OPTIONAL, QUOTED, compiled


class Effect(NamedTuple):
    """What a text does to its session.

    ``dirty`` names the verb or construct that leaves a trace, never a value; None when there is
    none. ``transaction`` is True when a transaction may be open afterwards, False when none is,
    and None when the text says nothing about it. ``reads`` names what the text asks about an
    earlier statement, such as ``LAST_INSERT_ID``. That alone is no reason to discard a session.
    Where it is `USER_VARIABLE`, `variables_read` tells which ones.

    ``rows`` is True for what reads or writes rows, and neither begins nor ends a transaction; None
    for what only asks how the last statement went, and has to follow that at once.
    """

    dirty: str | None = None
    transaction: bool | None = None
    reads: str | None = None
    rows: bool | None = False


PLAIN = Effect()
ROWS = Effect(rows=True)


# After these, only what is in _TRACE changes the session. EXPLAIN and ANALYZE may be followed by
# another statement, but only by one that is in this list as well. A KILL may be of this session.
# MariaDB's CREATE OR REPLACE DATABASE leaves none selected where it is of the current one.
_VERB = rf"""(?:
    SELECT | INSERT | UPDATE | DELETE | REPLACE | WITH | VALUES | TABLE | LOAD | DO | HELP
  | KILL {GAP} (?: (?: HARD | SOFT ) {GAP} )? QUERY
  | SHOW (?! {GAP} (?: WARNINGS | ERRORS | COUNT ) )
  | EXPLAIN | DESCRIBE | DESC | ANALYZE | OPTIMIZE | CHECK | CHECKSUM | REPAIR | TRUNCATE
  | SAVEPOINT | RELEASE {GAP} SAVEPOINT | ROLLBACK {GAP} (?: WORK {GAP} )? TO
  | CREATE {GAP} (?: OR {GAP} REPLACE {GAP} )? (?: (?: UNIQUE | FULLTEXT | SPATIAL ) {GAP} )?
        (?: INDEX | VIEW | SEQUENCE )
  | CREATE {GAP} (?: DATABASE | SCHEMA )
  | ALTER {GAP} (?: (?: ONLINE | IGNORE ) {GAP} )*+ (?: TABLE | VIEW | SEQUENCE )
  | DROP {GAP} (?: TABLES? | INDEX | VIEW | SEQUENCE | PROCEDURE | FUNCTION | TRIGGER | EVENT )
  | RENAME {GAP} TABLES?
) {END}"""

# Of these, those that read or write rows. The others may end a transaction.
_ROWS = rf"""(?:
    SELECT | INSERT | UPDATE | DELETE | REPLACE | WITH | VALUES | TABLE | DO
  | SHOW (?! {GAP} (?: WARNINGS | ERRORS | COUNT ) ) | EXPLAIN | DESCRIBE | DESC
) {END}"""

# MySQL's CREATE TABLE may end with START TRANSACTION, which is looked for in each of them.
_MAKES_TABLE = rf"CREATE {GAP} (?: OR {GAP} REPLACE {GAP} )? TABLE {END}"

# MariaDB's settings for one statement, which the server takes back itself: those that say how long
# it may take and how it is executed. Others, such as sql_mode, may change how it is read, and what
# the optimizer traced stays in the session.
_NAME = r"""(?: max_statement_time | (?:innodb_)? lock_wait_timeout | optimizer_(?!trace)\w++
  | (?:sort|join|read|read_rnd)_buffer_size | (?:tmp|max_heap)_table_size )"""
_VALUE = r"(?: [\w.+-]++ | '[^'\\]*+' )"
_SETTING = rf"{_NAME} {OPTIONAL} = {OPTIONAL} {_VALUE} {OPTIONAL}"
_SETTINGS = rf"{_SETTING} (?: , {OPTIONAL} {_SETTING} )*+"
_FOR_ONE = rf"(?: SET {GAP} STATEMENT {GAP} {_SETTINGS} FOR {GAP} )?+"
_START = rf"[\x00-\x20(]*+ (?: {GAP} [\x00-\x20(]*+ )?+ {_FOR_ONE}"
_QUICK_HEAD = rf"{_START} {_VERB}"
_ROWS_HEAD = rf"{_START} {_ROWS}"
_HEAD = rf"{_START} (?: {_VERB} | {_MAKES_TABLE} )"

# What leaves something in the session from within an otherwise harmless statement: locks that
# outlive a transaction, the place in a log, the transaction that a new table waits in. The name of
# a function may be quoted like any other. What SQL_CALC_FOUND_ROWS leaves only FOUND_ROWS() tells.
_TRACE = rf"""(?: GET_LOCK | AUDIT_LOG_READ | START {GAP} TRANSACTION
  | SERVICE_GET_(?:READ|WRITE)_LOCKS | VERSION_TOKENS_LOCK_(?:SHARED|EXCLUSIVE) ) (?![\w$])"""

# What tells of an earlier statement. LAST_INSERT_ID with an argument does not.
_READS = rf"""(?: LAST_INSERT_ID (?= [`"]?+ {OPTIONAL} \( {OPTIONAL} \) )
  | (?: FOUND_ROWS | ROW_COUNT ) (?= [`"]?+ {OPTIONAL} \( )
  | @@ (?: (?:SESSION|LOCAL) {OPTIONAL} \. {OPTIONAL} )?+ [`"]?+
    (?: (?:LAST_)?INSERT_ID | IDENTITY | WARNING_COUNT | ERROR_COUNT | LAST_GTID ) ) (?![\w$])"""

# An UPDATE in this one may switch the instruments of this session's thread off.
_SCHEMA = r"(?: PERFORMANCE_SCHEMA (?![\w$]) )"


def _pieces(words: str, suspicious: str, string: str) -> str:
    """What may be passed over in a statement: words, names in quotes, literals, comments.

    What none of these matches is in doubt: ``@x``, a colon, a backslash outside of a literal, a
    version comment, an unfinished literal. So are a square bracket, and a quote behind a backslash
    between double quotes, which mean one thing or another by the SQL modes MSSQL and ANSI_QUOTES,
    and "--" before a byte that is a blank in some character sets.
    """
    return rf"""(?: {words} | {string} | `(?!{suspicious})[^`]*+` | "(?!{suspicious}){QUOTED}"
      | {COMMENT} | -(?!-[\x00-\x20\x7f-\xff]) | /(?!\*) | \\N(?![\w$\x80-\xff]) )*+"""


# Nearly all that is suspicious has an underscore, and few words outside of quotes have one.
_SOON = "(?: LOCK | GET_ | TOKENS_LOCK | LOG_READ | INSERT_ID | ROWS | COUNT | GTID | SCHEMA )"
_SCOPE = "(?: SESSION | LOCAL | GLOBAL )"
_QUICK_WORDS = rf"""[^_@:'"`\#\-/;\\[]++ | _(?!{_SOON})
  | @@ (?: {_SCOPE} \. | (?!{_SCOPE}{END}) ) (?!IDENTITY) (?=[A-Z])"""
_QUICK_NAMES = """(?: GET_L | LAST_INS | SERVICE_GET | AUDIT_LOG | VERSION_TOK | FOUND_R | ROW_C
  | PERFORMANCE_S )"""

_EXACT_WORDS = rf"""[^\w$@:'"`\#\-/;\\[]++ | (?!{_READS}|{_TRACE}|{_SCHEMA}) (?: [\w$]++ | @@ )"""
_EXACT_NAMES = rf"(?: (?:{_READS}|{_TRACE}) [`\"] {OPTIONAL} \( | {_SCHEMA} )"

_STOP = compiled(rf"""(?P<next> ; | \Z )
  | [`"]?+ (?: (?P<trace>{_TRACE}) | (?P<reads>{_READS}) | (?P<schema>{_SCHEMA}) ) [`"]?+
  | (?P<variable> @ ) | (?P<assigns> := ) | (?P<hint> /\*\+ ) | (?P<code> /\* )""")

# Where a binary log is kept, a variable that a statement of another verb reads is there afterwards.
_READER = compiled(rf"(?: SELECT | DO ) {END}")
_ASSIGNS = compiled(r":= | INTO")
_OF_ROWS = compiled(_ROWS_HEAD)
_UPDATES = compiled("UPDATE")

_DIAGNOSTICS = compiled(rf"GET {GAP} (?: CURRENT {GAP} )? DIAGNOSTICS {END}")
_WARNINGS = compiled(rf"SHOW {GAP} (?: WARNINGS | ERRORS | COUNT ) {END}")
_BEGINS = rf"BEGIN (?: {GAP} WORK )? | START {GAP} TRANSACTION (?: [\s,]*+ \w++ )*+"
_CHAIN = rf"{GAP} AND {GAP} (?: NO {GAP} CHAIN | (?P<chains> CHAIN ) )"
_ENDS = rf"(?: COMMIT | ROLLBACK ) (?: {GAP} WORK )? (?: {_CHAIN} )? (?: {GAP} NO {GAP} RELEASE )?"
_TRANSACTION = compiled(rf"(?: (?P<begins>{_BEGINS}) | {_ENDS} ) {OPTIONAL} (?= ; | \Z )")

# The verbs worth naming as a reason. Others are not named, because text that is no SQL may be
# anything.
_DIRTY_VERB = compiled(rf"""(?: ALTER | BACKUP | BEGIN | BINLOG | CACHE | CALL | CHANGE | CLONE
  | COMMIT | CREATE | DEALLOCATE | DROP | EXECUTE | FLUSH | GET | GRANT | HANDLER | IMPORT
  | INSTALL | KILL | LOCK | PREPARE | PURGE | RENAME | RESET | RESIGNAL | RESTART | REVOKE
  | ROLLBACK | SET | SHUTDOWN | SIGNAL | START | STOP | UNINSTALL | UNLOCK | USE
  | XA ) {END}""")
_BLANKS = compiled(GAP)
_LEADING = compiled(rf"(?: [\x00-\x20(;] | {BLANK} )*+")
_UNKNOWN = "a statement that was not recognised"
USER_VARIABLE = "a user variable"

_VARIABLE = r"""@ (?: [\w.$\x80-\xff]++ | `[^`]*+` | '[^']*+' | "[^"]*+" )"""
_COLUMN = rf"(?: {_VARIABLE} | \w++ | `[^`]*+` )"
# How a text is read that is searched for user variables. What assigns comes before what reads, and
# what does not end goes on to the end of the text.
_TOKEN = compiled(rf"""
    '(?: [^'\\]++ | \\.?+ )*+ (?: '|\Z ) | "(?: [^"\\]++ | \\.?+ )*+ (?: "|\Z )
  | `[^`]*+ (?: `|\Z ) | \#[^\n]*+ | --[\x00-\x20][^\n]*+
  | /\*(?!M?!)(?: [^*]++ | \*(?!/) )*+ (?: \*/|\Z ) | @@
  | INTO {GAP} (?P<into> {_VARIABLE} (?: {OPTIONAL} , {OPTIONAL} {_VARIABLE} )*+ )
  | (?P<next> ; )
  | (?P<verb> (?<![\w$@.]) (?: SET | GET | LOAD ) {END} )
  | (?P<columns> \( {OPTIONAL} {_COLUMN} (?: {OPTIONAL} , {OPTIONAL} {_COLUMN} )*+ {OPTIONAL} \) )
  | (?P<variable> {_VARIABLE} ) {OPTIONAL} (?: (?P<assigned> := ) | (?P<equals> = ) )?+
  | [\w$]++
""")
_NAMES = compiled(_VARIABLE)
# A derived table that gives variables their first values, before the rows are looked at. Comments
# are not looked for: each would be read again for each word before it.
_SPACE = r"[\x00-\x20]*+"
_FIRST = rf"""{_VARIABLE} {_SPACE} := {_SPACE}
  (?: '[^'\\]*+' | "[^"\\]*+" | [+-]?+ [0-9.]++ {END} | (?: NULL | TRUE | FALSE ) {END} )
  (?: {_SPACE} (?: AS [\x00-\x20]++ )?+ [A-Z_]\w*+ )?+"""
_FIRSTS = compiled(rf"""(?: (?<![\w$@.]) (?: FROM | JOIN ) | , ) {_SPACE} \( {_SPACE}
  SELECT [\x00-\x20]++ (?P<names> {_FIRST} (?: {_SPACE} , {_SPACE} {_FIRST} )*+ ) {_SPACE} \)""")
_MARK = compiled(r"""'(?: [^'\\]++ | \\. | '' )*+' | "(?: [^"\\]++ | \\. | "" )*+" | [(),;]""")


# Compiled when the first statement needs them, as administration() is: many a process has none, and
# each process would take half a second longer to start.
@cache
def _head() -> re.Pattern[bytes]:
    return compiled(_HEAD)


@cache
def _rest(string: str) -> re.Pattern[bytes]:
    return compiled(_pieces(_EXACT_WORDS, _EXACT_NAMES, string))


class Classifier:
    """Reads statements in a character set whose bytes below 128 are ASCII.

    ``backslash_escapes`` is False for the SQL mode NO_BACKSLASH_ESCAPES.
    """

    def __init__(self, *, backslash_escapes: bool = True) -> None:
        self._string = r"'(?: [^'\\]++ | \\. )*+'" if backslash_escapes else "'[^']*+'"
        quick = _pieces(_QUICK_WORDS, _QUICK_NAMES, self._string)
        quick_end = rf"{quick} (?: ; {OPTIONAL} | \Z )"
        self._plain_rows = compiled(rf"(?: {_ROWS_HEAD} {quick_end} )++ \Z")
        self._plain = compiled(rf"(?: {_QUICK_HEAD} {quick_end} )++ \Z")

    def effect(self, sql: bytes) -> Effect:
        """Tell what ``sql`` does to its session. It need not be valid SQL."""
        if self._plain_rows.match(sql):
            return ROWS
        if self._plain.match(sql):
            return PLAIN
        effect, position = self._one(sql, 0)
        while _end(_LEADING, sql, position) < len(sql) and not effect.dirty:
            following, position = self._one(sql, position)
            effect = _both(effect, following)
        return effect

    def _one(self, sql: bytes, start: int) -> tuple[Effect, int]:
        """The effect of the statement at ``start``, and where the next one starts."""
        start = _end(_LEADING, sql, start)
        if start == len(sql):
            return PLAIN, start
        if match := _TRANSACTION.match(sql, start):
            return Effect(transaction=bool(match["begins"] or match["chains"])), match.end()
        if match := _WARNINGS.match(sql, start):
            effect, position = self._walk(sql, match.end())
            return effect._replace(reads=_name(match[0]), rows=None), position
        if match := _DIAGNOSTICS.match(sql, start):
            return Effect(dirty="GET", reads=_name(match[0]), rows=None), len(sql)
        if match := _head().match(sql, start):
            reader = _READER.match(sql, start) is not None
            effect, position = self._walk(sql, match.end(), reader=reader)
            rows = not effect.dirty and _OF_ROWS.match(sql, start) is not None
            return effect._replace(rows=rows), position
        if match := administration(self._string).match(sql, start):
            return PLAIN, match.end()
        verb = _DIRTY_VERB.match(sql, start)
        return Effect(dirty=_name(verb[0]) if verb else _UNKNOWN), len(sql)

    def _walk(self, sql: bytes, position: int, *, reader: bool = False) -> tuple[Effect, int]:
        """The effect of what follows a harmless verb, and where the next statement starts.

        ``reader`` says that this verb may read user variables and leaves no trace by that.
        """
        dirty = reads = variable = updates = None
        rest = _rest(self._string)
        while True:
            match = _STOP.match(sql, _end(rest, sql, position))
            if match is None:
                return Effect(dirty=_UNKNOWN), len(sql)
            position = match.end()
            if match["next"] is not None:
                return Effect(dirty, reads=reads or variable), position
            if match["reads"]:
                reads = _name(match["reads"])
            elif match["variable"]:
                if not variable and (not reader or _ASSIGNS.search(sql)):
                    dirty = USER_VARIABLE
                variable = USER_VARIABLE
            elif match["schema"]:
                if updates is None:
                    updates = _UPDATES.search(sql) is not None
                if updates:
                    return Effect(dirty="UPDATE"), len(sql)
            elif not (match["assigns"] and variable):
                return Effect(dirty=_trace(match), reads=reads or variable), len(sql)


class AsciiClassifier(Classifier):
    """Reads statements in a character set that puts ASCII bytes to another use as well.

    Backslashes and bytes above 127 are in doubt.
    """

    def effect(self, sql: bytes) -> Effect:
        if b"\\" in sql or not sql.isascii():
            return Effect(dirty=_UNKNOWN)
        return super().effect(sql)


def _both(first: Effect, second: Effect) -> Effect:
    """The effect of two statements of one text. The server stops at an error in the first."""
    verbs = {first.transaction, second.transaction} - {None}
    # Each statement about rows says anew how many there were.
    own = first.rows and second.reads == "ROW_COUNT"
    reads = first.reads or (None if own else second.reads)
    return Effect(second.dirty, True if verbs else None, reads, bool(first.rows and second.rows))


def _trace(match: re.Match[bytes]) -> str:
    if match["trace"]:
        return _name(match["trace"])
    if match["assigns"]:
        return _UNKNOWN
    return "SET_VAR" if match["hint"] else "a version comment"


def variables_read(sql: bytes) -> frozenset[str]:
    """The user variables that a text reads before it has assigned them itself, as ``@name``.

    A text is taken to be evaluated from its left to its right, which is how both servers do it. In
    ``@x := @x + 1`` the variable is read first, unless a derived table gives it a constant before
    that: ``FROM t, (SELECT @x := 0)``. What a procedure is given counts as read. Names are in small
    letters.
    """
    read: set[str] = set()
    assigned: dict[str, int | None] = {}  # where its value begins, if that is an expression
    verb = b""
    for token in _TOKEN.finditer(sql):
        if token["next"]:
            verb = b""
        elif token["verb"]:
            verb = verb or token["verb"].upper()
        elif token["variable"]:
            [name] = _variables(token["variable"])
            if token["assigned"] or (token["equals"] and verb in (b"SET", b"GET")):
                assigned.setdefault(name, token.end())
            elif _is_former(sql, name, assigned, token.start()):
                read.add(name)
        elif names := _variables(token["into"] or token["columns"] or b""):
            if token["into"] or verb == b"LOAD":
                assigned = {**dict.fromkeys(names), **assigned}
            else:
                read |= {n for n in names if _is_former(sql, n, assigned, token.start())}
    for match in _FIRSTS.finditer(sql) if read else ():
        read -= _variables(match["names"])
    return frozenset(read)


def _is_former(sql: bytes, name: str, assigned: Mapping[str, int | None], position: int) -> bool:
    """Whether a variable that is read at this position has not been assigned before it."""
    if name not in assigned:
        return True
    start = assigned[name]
    return start is not None and _is_one_value(sql[start:position])


def _is_one_value(text: bytes) -> bool:
    """Whether a value that begins with ``text`` has not ended there."""
    depth = 0
    for mark in _MARK.findall(text):
        depth += (mark == b"(") - (mark == b")")
        if depth < 0 or mark == b";" or (mark == b"," and depth == 0):
            return False
    return True


def _variables(text: bytes) -> set[str]:
    return {
        "@" + name[1:].strip(b"`'\"").rstrip(b" ").decode("utf8", "replace").lower()
        for name in _NAMES.findall(text)
    }


def _end(pattern: re.Pattern[bytes], sql: bytes, position: int) -> int:
    match = pattern.match(sql, position)
    return match.end() if match else position


def _name(words: bytes) -> str:
    """The words without what stands between them: a comment may hold a value."""
    bare = _BLANKS.sub(b" ", words).decode("ascii", "replace")
    return " ".join(re.findall("[A-Z_@]+", bare.upper()))
