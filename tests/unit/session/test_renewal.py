"""Which texts leave only what COM_CHANGE_USER clears and nobody waits for, told from the text."""

from __future__ import annotations

import pytest

import mysqlpool.session.renewal
from mysqlpool.session.renewal import (
    PAUSE,
    Renewals,
    at_a_connect,
    clears,
    is_djangos,
    is_known,
)
from mysqlpool.session.statements import AsciiClassifier, Classifier
from tests.fake_driver import FakeClock

ORDINARY = Classifier()

CLEARED = [
    "SET @a = 1",
    "SET @a := 1, @b = 'x'",
    "SET @`a` = (SELECT MAX(n) FROM t WHERE n IN (1, 2))",
    "set @a = CONCAT('a,b', 'it''s', @c)",
    "SET @a = 1; SET time_zone = '+00:00';",
    "SET /* why */ @a = NOW()",
    "SET SESSION sql_mode = 'ANSI'",
    "SET foreign_key_checks = 0",
    "SET NAMES utf8mb4",
    "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin'",
    "SET autocommit = 0",
    "SET timestamp = 1700000000.5",
    "SET TRANSACTION ISOLATION LEVEL READ COMMITTED, READ ONLY",
    "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "PREPARE p FROM 'SELECT 1'",
    "PREPARE p FROM @sql",
    "DEALLOCATE PREPARE p",
    "DROP PREPARE p",
    "USE elsewhere",
    "USE `elsewhere`;",
    "GET DIAGNOSTICS @n = NUMBER",
    "GET CURRENT DIAGNOSTICS CONDITION 1 @t = MESSAGE_TEXT",
    "SELECT 1 INTO @a",
    "SELECT @a := n FROM t",
    "SELECT @a",
    "UPDATE t SET n = (@a := n + 1)",
    "INSERT INTO t VALUES (1, 'GET_LOCK(1)')",
    "SELECT 1",
]
NOT_CLEARED = [
    # What others wait for.
    "SELECT GET_LOCK('a', 0)",
    "SET @a = GET_LOCK('a', 0)",
    "SET @a = (SELECT `get_lock`('a', 0))",
    "SELECT GET_LOCK('a', 0) INTO @a",
    "PREPARE p FROM CONCAT(GET_LOCK('a', 0))",
    "LOCK TABLES t READ",
    "FLUSH TABLES WITH READ LOCK",
    "HANDLER t OPEN",
    "XA START 'a'",
    "CREATE TEMPORARY TABLE t (n INT)",
    "BACKUP STAGE START",
    # What stays, on one of the two servers.
    "SET ROLE clerk",
    "SET @a = 1, ROLE clerk",
    "SET @a = 'x,', ROLE clerk",
    "SET @a = (1), profiling = 1",
    "SET @a = f(1, 2), @@profiling = 1",
    "SET @a = 'it''s', ROLE clerk -- '",
    "SET @a = 1 /* ' */, ROLE clerk /* ' */",
    "SET @a = \"x\" # '\n, ROLE clerk # '",
    r"SET @a = 'x\', ROLE clerk -- '",
    "SET RESOURCE GROUP g",
    "SET profiling = 1",
    "SET PASSWORD = 'x'",
    "SET GLOBAL server_id = 1",
    "SET PERSIST max_connections = 1",
    "SET gtid_next = 'a:1'",
    "SET sql_log_bin = 0",
    "SET completion_type = 1",
    "SET autocommit = 0, ROLE clerk",
    "SET TRANSACTION READ ONLY; SET ROLE clerk",
    # What may have done anything.
    "CALL p()",
    "EXECUTE p",
    "EXECUTE IMMEDIATE 'SET ROLE clerk'",
    "BEGIN NOT ATOMIC SET ROLE clerk; END",
    "SELECT 1 /*! INTO @a */",
    "/*!50000 SET ROLE clerk */",
    "SET @a = 1; SET ROLE clerk",
    "SELECT @a := 1; SELECT GET_LOCK('a', 0)",
    "USE x; LOCK TABLES t READ",
    "PREPARE p FROM 'x'; EXECUTE p",
    "nonsense",
    # What is read in another way afterwards.
    "SET NAMES gbk",
    "SET NAMES DEFAULT",
    "SET NAMES utf8mb4, ROLE clerk",
    "SET character_set_client = 28",
    "SET character_set_client = 'sjis'",
]


@pytest.mark.parametrize("sql", CLEARED)
def test_what_is_cleared_may_wait(sql: str) -> None:
    assert clears(sql.encode(), ORDINARY)


@pytest.mark.parametrize("sql", NOT_CLEARED)
def test_what_holds_something_stays_or_is_in_doubt_may_not(sql: str) -> None:
    assert not clears(sql.encode(), ORDINARY)


def test_a_text_is_read_as_the_server_reads_it() -> None:
    sql = rb"SELECT @a := '\', GET_LOCK(0, 1) -- '"
    assert clears(sql, ORDINARY)
    assert not clears(sql, Classifier(backslash_escapes=False))
    assert not clears(sql, AsciiClassifier())


@pytest.mark.parametrize(
    ("info", "known"),
    [
        ("10.11.19-MariaDB-0+deb12u1", True),
        ("5.5.5-10.6.18-MariaDB-log", True),
        ("5.7.44-log", True),
        ("8.0.36-0ubuntu0.22.04.1", True),
        ("8.0.36-28", True),
        ("8.4.4", True),
        ("9.7.4-2", True),
        ("5.6.51", False),
        ("8.0.11-TiDB-v7.5.0", False),
        ("8.0.30-Vitess", False),
        ("5.7.25-OceanBase-v4.2.1", False),
        ("8.0.33-doris", False),
        ("", False),
    ],
)
def test_only_servers_that_were_asked_are_known(info: str, known: bool) -> None:
    assert is_known(info) == known


@pytest.mark.parametrize(
    ("said", "level", "own"),
    [
        ([], None, True),
        (["SET SQL_AUTO_IS_NULL = 0"], None, True),
        (["SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"], "read committed", True),
        (
            ["SET SQL_AUTO_IS_NULL = 0; SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
            "serializable",
            True,
        ),
        (["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"], "read committed", False),
        (["SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"], None, False),
        (["SET @a = 1"], None, False),
        (
            ["SET @a = 1", "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
            "serializable",
            False,
        ),
        (["SET SQL_AUTO_IS_NULL = 0", "SET @a = 1"], None, False),
    ],
)
def test_what_django_says_is_known(said: list[str], level: str | None, own: bool) -> None:
    assert is_djangos([one.encode() for one in said], level) == own


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    clock = FakeClock()
    monkeypatch.setattr(mysqlpool.session.renewal, "monotonic", clock)
    return clock


def test_a_server_that_refused_is_left_alone_for_a_while(clock: FakeClock) -> None:
    renewals = Renewals()
    renewals.failed("one")
    assert (renewals.allowed("one"), renewals.allowed("other")) == (False, True)
    clock.advance(PAUSE - 1)
    assert not renewals.allowed("one")
    clock.advance(1)
    assert renewals.allowed("one")


@pytest.mark.parametrize(
    ("info", "is_asked"),
    [
        ("8.4.6", False),
        ("9.5.0-commercial", False),
        ("9.6.0", True),
        ("9.7.4-2", True),
        ("10.0.1", True),
        ("10.11.19-MariaDB-0+deb12u1", False),
        ("5.5.5-11.8.3-MariaDB", False),
        ("8.0.11-TiDB-v8.5.0", False),
    ],
)
def test_who_may_keep_foreign_keys_is_asked_where_the_server_may(info: str, is_asked: bool) -> None:
    assert (b"innodb_native_foreign_keys" in at_a_connect(info)) is is_asked
