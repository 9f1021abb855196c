"""That a text only assigns constants is told from the text, and in doubt it does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlpool.session.assignments import assigned

CLIENT = {
    "character_set_client",
    "character_set_connection",
    "character_set_results",
    "collation_connection",
}
ISOLATION, ACCESS = "transaction_isolation", "transaction_read_only"

ASSIGNED = {
    "SET sql_mode = ''": {"sql_mode"},
    "set SESSION Wait_Timeout=5": {"wait_timeout"},
    "SET LOCAL time_zone := '+00:00';": {"time_zone"},
    "SET @@session.sql_mode = TRADITIONAL": {"sql_mode"},
    "SET @@LOCAL . `sql_mode` = 'ANSI'": {"sql_mode"},
    "SET @@sql_mode = ansi": {"sql_mode"},
    "SET `sql_mode` = DEFAULT": {"sql_mode"},
    'SET sql_mode = "ANSI"': {"sql_mode"},
    "SET SESSION wait_timeout = 1, lock_wait_timeout = 2": {"wait_timeout", "lock_wait_timeout"},
    "SET wait_timeout = 1, SESSION lock_wait_timeout = -2.5e3": {
        "wait_timeout",
        "lock_wait_timeout",
    },
    "/* one */ SET -- two\n sql_notes /*;*/ = # =\n OFF ; -- three": {"sql_notes"},
    "SET@a=1": {"@a"},
    "SET @A.b$ = 'it''s; SET GLOBAL x = 1', @`c ` := NULL, @'d' = TRUE, @\"e\" = .5": {
        "@a.b$",
        "@c",
        "@d",
        "@e",
    },
    "SET @tenant = 'café'": {"@tenant"},
    "SET sql_notes = 0; SET @a = 1;": {"sql_notes", "@a"},
    "SET NAMES utf8mb4": CLIENT,
    "SET NAMES 'utf8mb4' COLLATE 'utf8mb4_bin', sql_notes = 0": CLIENT | {"sql_notes"},
    "SET CHARACTER SET latin1": CLIENT,
    "SET CHARSET DEFAULT": CLIENT,
    "SET collation_connection = utf8mb4_bin": {"collation_connection", "character_set_connection"},
    "SET max_join_size = 1000": {"max_join_size", "sql_big_selects"},
    "SET storage_engine = MEMORY": {"default_storage_engine"},
    "SET optimizer_switch = 'mrr=on,Index_Merge=default'": {
        "optimizer_switch.mrr",
        "optimizer_switch.index_merge",
    },
    "SET optimizer_switch = default": {"optimizer_switch"},
    "SET tx_isolation = 'SERIALIZABLE'": {ISOLATION},
    "SET transaction_isolation = 'SERIALIZABLE'": {ISOLATION},
    "SET @@SESSION.tx_read_only = 1": {ACCESS},
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED": {ISOLATION},
    "SET LOCAL TRANSACTION READ WRITE , /**/ ISOLATION LEVEL SERIALIZABLE;": {ISOLATION, ACCESS},
    "SET SESSION TRANSACTION READ ONLY; SET sql_notes = 1": {ACCESS, "sql_notes"},
}

IN_DOUBT = [
    "",
    ";",
    "SET",
    "SET ;",
    "SELECT 1",
    "SET sql_notes = 0; SELECT 1",
    "SET sql_notes = 0, ",
    "SET sql_notes = 0 sql_warnings = 0",
    "SETsql_notes = 0",
    # Of more than this session, or of less than that.
    "SET GLOBAL wait_timeout = 1",
    "SET @@GLOBAL.wait_timeout = 1",
    "SET PERSIST wait_timeout = 1",
    "SET @@PERSIST_ONLY.wait_timeout = 1",
    "SET GLOBAL wait_timeout = 1, lock_wait_timeout = 2",
    "SET sql_notes = 0, GLOBAL wait_timeout = 1",
    "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "SET TRANSACTION READ ONLY",
    "SET GLOBAL TRANSACTION READ ONLY",
    "SET @@transaction_isolation = 'SERIALIZABLE'",
    "SET SESSION sql_notes = 0, @@tx_isolation = 'SERIALIZABLE'",
    "SET @@`transaction_read_only` = 1",
    "SET STATEMENT max_statement_time = 1 FOR SET sql_notes = 0",
    "SET STATEMENT max_statement_time = 1 FOR SELECT 1",
    # Of no session at all.
    "SET PASSWORD = 'x'",
    "SET sql_notes = 0, PASSWORD = 'x'",
    "SET PASSWORD FOR x = 'y'",
    "SET ROLE clerk",
    "SET ROLE NONE",
    "SET DEFAULT ROLE x TO y",
    "SET RESOURCE GROUP x",
    "SET hot.key_buffer_size = 1",
    "SET NEW.x = 1",
    # No constants.
    "SET @a = @b",
    "SET @a := @b := 1",
    "SET sql_mode = @@GLOBAL.sql_mode",
    "SET sql_mode = CONCAT(@@sql_mode, ',ANSI')",
    "SET sql_mode = (SELECT 'ANSI')",
    "SET sql_mode = (1)",
    "SET wait_timeout = 1 + 1",
    "SET @a = NOW()",
    "SET @a = CURRENT_TIMESTAMP",
    "SET time_zone = Current_User",
    "SET time_zone = LOCALTIME",
    "SET time_zone = utc_date",
    "SET time_zone = sysdate",
    "SET time_zone = SESSION_USER",
    "SET @a = b",
    "SET @a = ON",
    "SET @a = DEFAULT",
    "SET @a = _utf8mb4'x'",
    "SET @a = X'41'",
    "SET @a = N'x'",
    "SET @a = 0x41",
    "SET @a = 'x' 'y'",
    "SET @a = 'x' COLLATE utf8mb4_bin",
    "SET @a = DATE '2020-01-01'",
    "SET NAMES CONCAT('utf8', 'mb4')",
    # It may read one way or another.
    "SET @a = 'x\\'",
    "SET @a = 'x\\n'",
    'SET @a = "x\\""',
    "SET @a = '\xe9\\'",
    "SET @\xe9 = 1",
    "SET @`\xe9` = 1",
    "SET \xe9 = 1",
    "SET @a = 1 --1",
    "SET @a = 1 --\xa0x",
    "SET @a = '\x00'",
    "SET @a = 'x",
    "SET @a = `x`",
    "SET @'a''b' = 1",
    "SET [sql_mode] = 1",
    'SET "sql_mode" = 1',
    "SET sql_notes /*! = 0, GLOBAL max_connections */ = 1",
    "SET sql_notes = 0 /*M! , @a = NOW() */",
    # Flags.
    "SET optimizer_switch = 'mrr'",
    "SET optimizer_switch = ''",
    "SET optimizer_switch = 'default,mrr=on'",
]
MORE_THAN_A_VALUE = [
    "autocommit",
    "completion_type",
    "profiling",
    "profiling_history_size",
    "optimizer_trace",
    "timestamp",
    "insert_id",
    "last_insert_id",
    "identity",
    "rand_seed1",
    "rand_seed2",
    "pseudo_thread_id",
    "pseudo_slave_mode",
    "gtid_next",
    "gtid_domain_id",
    "gtid_seq_no",
    "server_id",
    "sql_log_bin",
    "wsrep_on",
    "skip_replication",
    "skip_parallel_replication",
    "slave_parallel_mode",
    "sql_slave_skip_counter",
    "proxy_user",
    "external_user",
    "debug",
    "debug_sync",
    "debug_dbug",
    "net_write_timeout",
    "net_retry_count",
    "session_track_gtids",
    "default_master_connection",
    "original_commit_timestamp",
]


@pytest.mark.parametrize(("sql", "names"), ASSIGNED.items())
def test_a_text_of_constants_names_its_variables(sql: str, names: set[str]) -> None:
    assert assigned(sql.encode()) == frozenset(names)


@pytest.mark.parametrize("sql", IN_DOUBT)
def test_in_doubt_it_is_no_text_of_constants(sql: str) -> None:
    assert assigned(sql.encode("latin1")) is None


@pytest.mark.parametrize("name", MORE_THAN_A_VALUE)
def test_what_is_more_than_a_value_is_in_doubt(name: str) -> None:
    assert assigned(f"SET SESSION {name} = 1".encode()) is None
    assert assigned(f"SET sql_notes = 0, @@LOCAL.`{name.upper()}` = 1".encode()) is None


@pytest.mark.parametrize(
    "after", [", @b = NOW()", "; SELECT 1", " + 1", "()", "; SET GLOBAL x = 1"]
)
@given(st.text())
def test_no_value_hides_what_follows(after: str, text: str) -> None:
    value = text.replace("'", "''")
    assert assigned(f"SET @a = '{value}'{after}".encode("utf8", "replace")) is None


@given(st.binary())
def test_no_text_is_too_strange(sql: bytes) -> None:
    names = assigned(b"SET @a = " + sql)
    assert names is None or "@a" in names


@pytest.mark.parametrize(
    "piece", ["(", "'", "''", "/*", "*/", "-- \n", ",", "@a=1,", ";", " SET ", "1"]
)
def test_reading_takes_time_in_proportion_to_the_length(piece: str) -> None:
    """A hundred thousand pieces would take for ever if it were otherwise: a hang is the failure."""
    for start in ("", "SET ", "SET @a = ", "SET @a = '"):
        assigned((start + piece * 100_000).encode())
