"""Programs: what an application does with one connection, as plain data.

What `repr` shows of a program can be pasted into a test. A step that fails and is not ``caught``
ends the block that it is in, as in Python; outside of all blocks the program goes on.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from hypothesis import strategies as st

__all__ = [
    "LOCK",
    "ORM",
    "SELECT",
    "UPDATE",
    "Block",
    "Call",
    "Deadlock",
    "Fail",
    "Keep",
    "Many",
    "OnCommit",
    "Orm",
    "Program",
    "Sql",
    "Step",
    "Stream",
    "Use",
    "insert",
    "programs",
]


@dataclass(frozen=True, repr=False)
class Step:
    """Its repr leaves out what is as usual."""

    def __repr__(self) -> str:
        shown = [
            repr(value) if number == 0 else f"{field.name}={value!r}"
            for number, field in enumerate(fields(self))
            if (value := getattr(self, field.name)) != field.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"


@dataclass(frozen=True, repr=False)
class Sql(Step):
    """Texts, one after the other, with one cursor. ``held``: while somebody else has a row."""

    texts: tuple[str, ...] | str
    args: tuple[Any, ...] | None = None
    held: bool = False
    caught: bool = False


@dataclass(frozen=True, repr=False)
class Many(Step):
    """``executemany()``."""

    text: str
    args: tuple[tuple[Any, ...], ...]
    caught: bool = False


@dataclass(frozen=True, repr=False)
class Stream(Step):
    """A text with a cursor of the driver's own that fetches row by row."""

    text: str
    caught: bool = False


@dataclass(frozen=True, repr=False)
class Keep(Step):
    """A text with a cursor that stays open."""

    text: str
    caught: bool = False


@dataclass(frozen=True, repr=False)
class Use(Step):
    """A text with the cursor that stayed open, if there is one; it is closed with ``closes``."""

    text: str
    closes: bool = False
    caught: bool = False


@dataclass(frozen=True, repr=False)
class Orm(Step):
    """What Django's ORM does, by a name in `ORM`."""

    name: str
    number: int = 0
    caught: bool = False


@dataclass(frozen=True, repr=False)
class Call(Step):
    """A function of ``django.db.transaction`` or a method of the connection, by name."""

    name: str
    argument: bool | None = None
    caught: bool = False


@dataclass(frozen=True, repr=False)
class OnCommit(Step):
    """A commit hook that runs a text, or fails."""

    text: str | None
    robust: bool = False
    caught: bool = False


@dataclass(frozen=True, repr=False)
class Deadlock(Step):
    """The application wants two rows, and somebody else wants them in the other order.

    Where it is in a transaction, that is the one that is rolled back.
    """

    caught: bool = False


@dataclass(frozen=True, repr=False)
class Fail(Step):
    """An exception of the application's own."""

    caught: bool = False


@dataclass(frozen=True, repr=False)
class Block(Step):
    """``with transaction.atomic():``."""

    body: tuple[Step, ...]
    savepoint: bool = True
    durable: bool = False
    caught: bool = False


Program = tuple[Step, ...]

# What a program is made of


# Texts about the table that all programs have. Keys are few, so that they meet.
SELECT = "SELECT id, text, number FROM rows_row ORDER BY id"
LOCK = "SELECT id, text FROM rows_row ORDER BY id FOR UPDATE"
UPDATE = "UPDATE rows_row SET text = CONCAT(text, 'u') WHERE number < 3"


def insert(n: int) -> str:
    return f"INSERT INTO rows_row (text, number) VALUES ('a', {n})"


_numbers = st.integers(0, 5)

_READS = (
    SELECT,
    LOCK,
    "SELECT COUNT(*) FROM rows_row",
    "/* a comment */ SELECT 1;",
    "SELECT 1; SELECT 2",
    "SELECT 1; SELECT number FROM no_such_table",
    "SHOW TABLES LIKE 'duel'",
    "SELECT n FROM side",
)
_WRITES = (
    UPDATE,
    "DELETE FROM rows_row WHERE number = 1",
    "REPLACE INTO rows_row (text, number) VALUES ('r', 2)",
    "INSERT INTO rows_row (text, number) VALUES ('d', 3) ON DUPLICATE KEY UPDATE text = 'dd'",
    "INSERT INTO rows_row (text, number) SELECT 's', MAX(number) + 1 FROM rows_row HAVING 1",
    "INSERT INTO rows_row (text, number) VALUES ('t', 20); SELECT 7",
    "INSERT INTO side (n) VALUES (1)",
)
_ERRORS = (
    "INSERT INTO rows_row (text, number) VALUES (NULL, 50)",
    "SELEC 1",
    "",
    "-- nothing",
    "SELECT * FROM no_such_table",
    "KILL QUERY CONNECTION_ID()",
    "INSERT INTO rows_row (text, number) VALUES ('x', 30), ('x', 30)",
    "INSERT INTO rows_row (text, number) VALUES ('y', 31); SELEC 2",
    "INSERT INTO rows_row (text, number) VALUES ('z', 32); INSERT INTO no_such_table VALUES (1)",
    "ROLLBACK TO SAVEPOINT no_such_savepoint",
)
# Statements after which a transaction is over, whatever their text looks like, and others that are
# neither reading nor writing of rows.
_OTHERS = (
    "CREATE TABLE IF NOT EXISTS side (n INT)",
    "DROP TABLE IF EXISTS side",
    "TRUNCATE TABLE side",
    "CREATE TABLE side (n INT); INSERT INTO side VALUES (9)",
    "ANALYZE TABLE rows_row",
    "CREATE OR REPLACE VIEW one AS SELECT 1",
    "FLUSH TABLES duel",
    "SET @x = 1",
    "SET autocommit = 0",
    "SET autocommit = 1",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET TRANSACTION READ ONLY",
    "LOCK TABLES rows_row READ",
    "UNLOCK TABLES",
    "CREATE TEMPORARY TABLE IF NOT EXISTS passing (n INT)",
    "CALL put(40)",
    "CALL put_and_fail(41)",
    "CALL end_it()",
    "DO 1",
)
_TRANSACTIONS = (
    "BEGIN",
    "START TRANSACTION",
    "START TRANSACTION READ ONLY",
    "COMMIT",
    "COMMIT AND CHAIN",
    "ROLLBACK",
    "SAVEPOINT mine",
    "ROLLBACK TO SAVEPOINT mine",
    "RELEASE SAVEPOINT mine",
    "BEGIN; INSERT INTO rows_row (text, number) VALUES ('b', 60); COMMIT",
    "COMMIT; INSERT INTO rows_row (text, number) VALUES ('c', 61)",
)
# What asks about the statement before is asked with the same cursor.
_TOGETHER = (
    (insert(5), "SELECT LAST_INSERT_ID()"),
    (UPDATE, "SELECT ROW_COUNT()"),
    ("INSERT IGNORE INTO rows_row (text, number) VALUES ('i', 2), ('i', 2)", "SHOW WARNINGS"),
    ("SET @y = 3", "SELECT @y"),
    ("PREPARE p FROM 'INSERT INTO rows_row (number, text) VALUES (70, 1)'", "EXECUTE p"),
    ("PREPARE p FROM 'COMMIT'", "EXECUTE p", insert(4)),
)

_caught = st.booleans()
_texts = st.one_of(
    _numbers.map(insert),
    st.sampled_from(_READS),
    st.sampled_from(_WRITES),
    st.sampled_from(_ERRORS),
    st.sampled_from(_OTHERS),
    st.sampled_from(_TRANSACTIONS),
)
_plain = st.one_of(_numbers.map(insert), st.sampled_from(_READS), st.sampled_from(_WRITES))

ORM = (
    "bulk_create",
    "count",
    "create",
    "delete",
    "get_or_create",
    "iterator",
    "save",
    "select_for_update",
    "update_or_create",
)
_CALLS = (
    Call("savepoint"),
    Call("savepoint_commit"),
    Call("savepoint_rollback"),
    Call("clean_savepoints"),
    Call("set_rollback", True),
    Call("set_rollback", False),
    Call("set_autocommit", False),
    Call("set_autocommit", True),
    Call("commit"),
    Call("rollback"),
    Call("close"),
    Call("release"),
    Call("get_autocommit"),
    Call("is_usable"),
    Call("ensure_connection"),
)


@st.composite
def _calls(draw: st.DrawFn) -> Step:
    call = draw(st.sampled_from(_CALLS))
    return Call(call.name, call.argument, caught=draw(_caught))


@st.composite
def _by_hand(draw: st.DrawFn) -> tuple[Step, ...]:
    """Several transactions in a row, with autocommit off."""
    body: list[Step] = []
    for _ in range(draw(st.integers(1, 3))):
        body += draw(st.lists(_leaves, max_size=3))
        body.append(Call(draw(st.sampled_from(["commit", "rollback"])), caught=True))
    return (
        Call("set_autocommit", False, caught=True),
        *body,
        Call("set_autocommit", True, caught=True),
    )


_leaves: st.SearchStrategy[Step] = st.one_of(
    st.builds(Sql, _plain, caught=_caught),
    st.builds(Sql, _texts, caught=_caught),
    st.builds(Sql, _texts, caught=_caught),
    st.builds(Sql, st.sampled_from(_TOGETHER), caught=_caught),
    st.builds(
        Sql,
        st.just("INSERT INTO rows_row (text, number) VALUES (%s, %s)"),
        st.tuples(st.sampled_from(["it's", "\\", ";"]), _numbers),
        caught=_caught,
    ),
    st.builds(
        Sql,
        st.just("SELECT n FROM duel WHERE id = 1 FOR UPDATE NOWAIT"),
        held=st.just(True),
        caught=_caught,
    ),
    st.builds(
        Many,
        st.sampled_from(
            [
                "INSERT INTO rows_row (text, number) VALUES (%s, %s)",
                "UPDATE rows_row SET text = %s WHERE number = %s",
            ]
        ),
        st.lists(st.tuples(st.just("m"), _numbers), max_size=3).map(tuple),
        caught=_caught,
    ),
    st.builds(Stream, _plain, caught=_caught),
    st.builds(Keep, _plain, caught=_caught),
    st.builds(Use, _plain, closes=st.booleans(), caught=_caught),
    st.builds(Orm, st.sampled_from(ORM), _numbers, caught=_caught),
    _calls(),
    _calls(),
    st.builds(
        OnCommit,
        st.sampled_from([SELECT, insert(4), None]),
        robust=st.booleans(),
        caught=_caught,
    ),
    st.builds(Fail),
)


@st.composite
def _waits(draw: st.DrawFn) -> Program:
    """A transaction that somebody else is in the way of, seldom: a lock wait takes a second."""
    chance = draw(st.integers(0, 199))
    if chance == 99:
        wait: Step = Sql("UPDATE duel SET n = n + 1 WHERE id = 1", held=True, caught=draw(_caught))
    elif 100 <= chance < 120:
        wait = Deadlock(caught=draw(_caught))
    else:
        return ()
    return (Block((Sql(insert(0), caught=True), wait, *draw(st.lists(_leaves, max_size=3)))),)


def _steps(depth: int) -> st.SearchStrategy[Step]:
    return st.one_of(_leaves, _leaves, _blocks(depth, st.just(False))) if depth else _leaves


def _blocks(depth: int, durable: st.SearchStrategy[bool]) -> st.SearchStrategy[Step]:
    """Blocks in which there are others, so that it is this deep; only outside may be durable."""
    return st.builds(
        Block,
        st.lists(_steps(depth - 1), max_size=5).map(tuple),
        savepoint=st.sampled_from([True, True, False]),
        durable=durable,
        caught=_caught,
    )


@st.composite
def programs(draw: st.DrawFn) -> Program:
    """A few steps; most of them blocks with more steps in them, to the third depth."""
    outermost = _blocks(3, st.sampled_from([False, False, True]))
    parts = st.one_of(
        outermost.map(lambda block: (block,)),
        outermost.map(lambda block: (block,)),
        _leaves.map(lambda step: (step,)),
        _by_hand(),
    )
    program = [step for part in draw(st.lists(parts, min_size=1, max_size=4)) for step in part]
    at = draw(st.integers(0, len(program)))
    return (*program[:at], *draw(_waits()), *program[at:])
