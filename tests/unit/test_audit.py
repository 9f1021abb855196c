"""The audit of the general log finds what it is there for."""

from __future__ import annotations

import pytest

from tests.audit import (
    Entry,
    is_about_savepoint,
    mixed_up,
    numbers_by_thread,
    sent_in_order,
    split_tasks,
)


def parsed(text: str) -> list[Entry]:
    """A log written by hand: ``SESSION THREAD.TASK SQL``, with - for a statement without a tag."""
    entries = []
    for number, line in enumerate(text.strip().splitlines()):
        session, who, sql = line.split(maxsplit=2)
        if who != "-":
            thread, task = who.split(".")
            sql = f"{sql} /* t={thread} k={task} n={number} */"
        command = sql if sql in ("Quit", "Change user") else "Query"
        entries.append(Entry(int(session), command, sql if command == "Query" else ""))
    return entries


SOUND = {
    "single statements of many threads": "7 1.1 SELECT 1\n7 2.1 SELECT 2\n8 1.1 SELECT 3",
    "one transaction after another": """
        7 - SET autocommit=0
        7 1.1 INSERT
        8 2.1 SELECT 1
        7 1.1 SAVEPOINT s
        7 - COMMIT
        7 - SET autocommit=1
        7 2.1 SELECT 2
        7 - SET autocommit=0
        7 2.1 INSERT
        7 - ROLLBACK
        7 - SET autocommit=1
        8 1.1 SELECT 1""",
    "transactions that begin with their first statement": """
        7 - START TRANSACTION
        7 1.1 INSERT
        7 - COMMIT
        7 - START TRANSACTION;SAVEPOINT `a` /* t=2 k=1 n=0 */;INSERT /* t=2 k=1 n=1 */
        8 1.1 SELECT 1
        7 - ROLLBACK
        7 3.1 SELECT 1""",
    "a transaction that goes on with autocommit off": """
        7 - START TRANSACTION
        7 1.1 INSERT
        7 - SET autocommit=0
        7 1.1 CALL
        7 - COMMIT
        7 - SET autocommit=1
        7 2.1 SELECT 1""",
    "a task that is pinned until its session ends": """
        7 1.1 SELECT 1
        7 2.1 SET @mine = 5
        7 - SET autocommit=0
        7 2.1 INSERT
        7 - COMMIT
        7 - SET autocommit=1
        7 2.1 SELECT @mine
        7 - Quit
        8 2.2 SELECT 1
        9 1.1 SELECT 1""",
    "a session whose locks are released": """
        7 1.1 SELECT GET_LOCK('a', 0)
        7 1.1 SELECT GET_LOCK('b', 0)
        7 1.1 SELECT RELEASE_LOCK('b')
        7 1.1 SELECT RELEASE_LOCK('a')
        8 1.1 SELECT 1
        7 2.1 SELECT 1""",
    "a session with a variable, after its renewal": """
        7 1.1 SET @mine = 5
        7 - Change user
        7 - SET NAMES utf8mb4; SELECT @@GLOBAL.init_connect
        7 2.1 SELECT 1
        7 2.1 SET @mine = 5
        8 1.2 SELECT 1""",
    "the spelling of MySQL's library": """
        7 - set autocommit=0
        7 1.1 INSERT
        7 - commit
        7 - set autocommit=1
        7 2.1 SELECT 1""",
}

MIXED_UP = {
    "another thread inside a transaction": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 2.1 SELECT 1\n7 - COMMIT\n7 - SET autocommit=1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "another task of the same thread inside a transaction": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 1.2 SELECT 1\n7 - COMMIT\n7 - SET autocommit=1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "a transaction that goes on on another session": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n8 1.1 INSERT\n7 - COMMIT\n7 - SET autocommit=1",
        "this task is bound to session 7",
    ),
    "another thread after a late beginning": (
        "7 - START TRANSACTION;INSERT /* t=1 k=1 n=1 */\n7 2.1 SELECT 1\n7 - COMMIT",
        "sent to a session that thread 1, task 1 needs",
    ),
    "two transactions at once": (
        "7 - START TRANSACTION\n7 1.1 INSERT\n7 - START TRANSACTION",
        "begins inside a transaction",
    ),
    "somebody else's commit": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - COMMIT\n7 - COMMIT\n7 - SET autocommit=1",
        "ends a transaction where there is none",
    ),
    "a commit on a session without a transaction": (
        "7 1.1 INSERT\n7 - COMMIT",
        "ends a transaction where there is none",
    ),
    "a statement after the commit": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - COMMIT\n7 1.1 INSERT\n7 - SET autocommit=1",
        "sent between the end of a transaction and autocommit",
    ),
    "autocommit for the next holder with a transaction open": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - SET autocommit=1",
        "commits a transaction by the way",
    ),
    "a set-up for the next holder inside a transaction": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - SET SESSION wait_timeout = 3",
        "nobody's statement",
    ),
    "a session that ends inside a transaction": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - Quit",
        "ends inside a transaction",
    ),
    "a session that is renewed inside a transaction": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - Change user",
        "ends inside a transaction",
    ),
    "another thread on a session with a variable": (
        "7 1.1 SET @mine = 5\n7 2.1 SELECT 1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "another thread on a session with a lock": (
        "7 1.1 SELECT GET_LOCK('a', 0)\n7 1.1 SELECT RELEASE_LOCK('b')\n7 2.1 SELECT 1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "another thread on a session whose lock was taken twice": (
        "7 1.1 DO GET_LOCK('a', 0)\n7 1.1 DO GET_LOCK('a', 0)\n7 1.1 DO RELEASE_LOCK('a')\n7 2.1 X",
        "sent to a session that thread 1, task 1 needs",
    ),
    "a pinned session that survives the release": (
        "7 1.1 SET @mine = 5\n7 1.2 SELECT 1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "a pinned session after its transaction": (
        "7 - SET autocommit=0\n7 1.1 SET @mine = 5\n7 - COMMIT\n7 - SET autocommit=1\n7 2.1 X",
        "sent to a session that thread 1, task 1 needs",
    ),
    "a pinned task on another session": (
        "7 1.1 SET @mine = 5\n8 1.1 SELECT @mine",
        "this task is bound to session 7",
    ),
}


@pytest.mark.parametrize("log", SOUND.values(), ids=SOUND)
def test_the_audit_finds_nothing_in_a_sound_log(log: str) -> None:
    assert mixed_up(parsed(log)) == []


@pytest.mark.parametrize(("log", "flaw"), MIXED_UP.values(), ids=MIXED_UP)
def test_the_audit_catches_a_mixed_up_log(log: str, flaw: str) -> None:
    flaws = mixed_up(parsed(log))
    assert len(flaws) == 1
    assert flaw in flaws[0]


@pytest.mark.parametrize(
    ("log", "count"),
    [
        ("7 1.1 A\n7 1.1 B\n7 2.1 C\n8 1.2 D\n7 1.3 E", 0),
        ("7 1.1 A\n7 2.1 B\n7 1.1 C", 1),
        ("7 1.1 A\n8 1.1 B", 1),
    ],
)
def test_the_audit_catches_a_task_with_two_leases(log: str, count: int) -> None:
    assert len(split_tasks(parsed(log))) == count


def test_the_audit_tells_in_which_order_a_threads_statements_came() -> None:
    assert numbers_by_thread(parsed("7 1.1 A\n8 2.1 B\n7 - COMMIT\n8 1.1 C")) == {1: [0, 3], 2: [1]}


def test_only_what_is_about_savepoints_may_be_missing_from_a_log() -> None:
    assert sent_in_order([1, 3], 3, {2})
    assert sent_in_order([1, 2, 3], 3, {2})
    assert not sent_in_order([1, 3], 3, ())
    assert not sent_in_order([1, 3, 2], 3, {2})
    assert not sent_in_order([1, 1, 2], 2, {2})
    assert is_about_savepoint("SAVEPOINT `a`")
    assert is_about_savepoint("RELEASE SAVEPOINT `a`")
    assert not is_about_savepoint("ROLLBACK TO SAVEPOINT `a`")
