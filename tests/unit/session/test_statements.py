"""What a text does to a session is told from the text, and in doubt it is dirty."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from MySQLdb import _mysql
from MySQLdb.converters import conversions

from mysqlpool.session.statements import (
    PLAIN,
    ROWS,
    USER_VARIABLE,
    AsciiClassifier,
    Classifier,
    Effect,
    variables_read,
)

ordinary = Classifier()

DIRTY = {
    "SET x = 1": "SET",
    "SET STATEMENT sql_mode = '' FOR SELECT 1": "SET",
    "SET STATEMENT timestamp = 1 FOR SELECT 1": "SET",
    "SET STATEMENT max_statement_time = 1 FOR SET x = 1": "SET",
    "SET STATEMENT max_statement_time = (SELECT 1) FOR SELECT 1": "SET",
    "SELECT x := 1": "a statement that was not recognised",
    "USE x": "USE",
    "CALL x()": "CALL",
    "LOCK TABLES x READ": "LOCK",
    "UNLOCK TABLES": "UNLOCK",
    "FLUSH TABLES WITH READ LOCK": "FLUSH",
    "BACKUP STAGE START": "BACKUP",
    "HANDLER x OPEN": "HANDLER",
    "PREPARE x FROM 'y'": "PREPARE",
    "EXECUTE x": "EXECUTE",
    "DEALLOCATE PREPARE x": "DEALLOCATE",
    "XA START 'x'": "XA",
    "GET DIAGNOSTICS @x = NUMBER": "GET",
    "SET PERSIST x = 1": "SET",
    "SET PERSIST_ONLY x = 1": "SET",
    "SET RESOURCE GROUP x": "SET",
    "SET DEFAULT ROLE x TO y": "SET",
    "SET PASSWORD = 'x'": "SET",
    "LOCK INSTANCE FOR BACKUP": "LOCK",
    "UNLOCK INSTANCE": "UNLOCK",
    "CLONE LOCAL DATA DIRECTORY 'x'": "CLONE",
    "IMPORT TABLE FROM 'x.sdi'": "IMPORT",
    "INSTALL COMPONENT 'x' SET y = 1": "INSTALL",
    "UNINSTALL COMPONENT 'x'": "UNINSTALL",
    "RESET PERSIST x": "RESET",
    "RESTART": "RESTART",
    "SHUTDOWN": "SHUTDOWN",
    "ALTER INSTANCE RELOAD TLS": "ALTER",
    "CREATE RESOURCE GROUP x TYPE = USER": "CREATE",
    "CREATE SPATIAL REFERENCE SYSTEM 1 NAME 'x'": "CREATE",
    "CHANGE REPLICATION SOURCE TO SOURCE_HOST = 'x'": "CHANGE",
    "START GROUP_REPLICATION": "START",
    "STOP REPLICA": "STOP",
    "PURGE BINARY LOGS TO 'x'": "PURGE",
    "BINLOG 'x'": "BINLOG",
    "CACHE INDEX x IN y": "CACHE",
    "XA RECOVER CONVERT XID": "XA",
    "CREATE TABLE x (y INT) START TRANSACTION": "START TRANSACTION",
    "CREATE TABLE x (y INT COMMENT ';') COMMENT 'z' start /* now */ transaction": (
        "START TRANSACTION"
    ),
    "SELECT 1; CREATE TABLE x (y INT) START TRANSACTION": "START TRANSACTION",
    "UPDATE performance_schema.threads SET INSTRUMENTED = 'NO'": "UPDATE",
    "UPDATE`performance_schema`.threads SET HISTORY = 'NO'": "UPDATE",
    "UPDATE LOW_PRIORITY IGNORE `performance_schema` . threads SET HISTORY = 'NO'": "UPDATE",
    "UPDATE (performance_schema . threads) SET HISTORY = 'NO'": "UPDATE",
    "UPDATE x, `performance_schema`.threads SET HISTORY = 'NO'": "UPDATE",
    "ANALYZE UPDATE performance_schema.threads SET HISTORY = 'NO'": "UPDATE",
    "WITH a AS (SELECT 1) UPDATE a, performance_schema.threads SET HISTORY = 'NO'": "UPDATE",
    "CREATE OR REPLACE DATABASE x": "CREATE",
    "CREATE OR REPLACE /**/ SCHEMA x": "CREATE",
    "KILL 1": "KILL",
    "KILL HARD CONNECTION_ID()": "KILL",
    "SELECT 1; kill /**/ connection 1": "KILL",
    "SELECT /*+ SET_VAR(timestamp = 1) */ 1": "SET_VAR",
    "SELECT /*+ NO_INDEX_MERGE(x) SET_VAR ( sql_mode = '*' ) SET_VAR(`TimeStamp`=1)*/ 1": "SET_VAR",
    "INSERT INTO x VALUES (@y)": "a user variable",
    "UPDATE x SET y = @z": "a user variable",
    "WITH a AS (SELECT @x) SELECT * FROM a": "a user variable",
    "EXPLAIN UPDATE x SET y = @z": "a user variable",
    "SELECT @x; SELECT @y := 1": "a user variable",
    "EXPLAIN FORMAT=JSON INTO @x SELECT 1": "a user variable",
    "TABLE x LIMIT 1 INTO @y": "a user variable",
    "VALUES ROW(@x := 1)": "a user variable",
    "CREATE TEMPORARY TABLE x (y INT)": "CREATE",
    "CREATE OR REPLACE TEMPORARY TABLE x (y INT)": "CREATE",
    "DROP TEMPORARY TABLE x": "DROP",
    "DROP DATABASE x": "DROP",
    "DROP PREPARE x": "DROP",
    "ALTER DATABASE x CHARACTER SET latin1": "ALTER",
    "START SLAVE": "START",
    "BEGIN NOT ATOMIC SELECT 1; END": "BEGIN",
    "COMMIT RELEASE": "COMMIT",
    "ROLLBACK WORK RELEASE": "ROLLBACK",
    "SELECT GET_LOCK('x', 1)": "GET_LOCK",
    "SELECT `GET_LOCK` ('x', 1)": "GET_LOCK",
    "SELECT SQL_CALC_FOUND_ROWS x INTO @y FROM z": "a user variable",
    "SELECT SQL_CALC_FOUND_ROWS GET_LOCK('x', 1)": "GET_LOCK",
    "SELECT service_get_write_locks('x', 'y', 1)": "SERVICE_GET_WRITE_LOCKS",
    "SELECT version_tokens_lock_shared('x', 1)": "VERSION_TOKENS_LOCK_SHARED",
    "SELECT audit_log_read('x')": "AUDIT_LOG_READ",
    "SELECT x INTO @y FROM z": "a user variable",
    "SELECT @x := 1": "a user variable",
    "LOAD DATA INFILE 'x' INTO TABLE y (@z)": "a user variable",
    "SELECT /*!50000 1 */": "a version comment",
    "SELECT 1 /*!500000 */": "a version comment",
    "SELECT 1 /*!5000 */": "a version comment",
    "SELECT 1 /*!-*/": "a version comment",
    "SELECT 1 /*!50000 /* */ */": "a version comment",
    "SELECT 1 /*!*//*!50000 INTO @x */": "a version comment",
    "SELECT 1 /*! */; USE x": "USE",
    "SELECT 1 /*M! */; USE x /*! */": "USE",
    r'SELECT "\\"; USE x -- "': "USE",
    r"""SELECT "it\'s"; USE x -- '""": "USE",
    r"SELECT \N; USE x": "USE",
    r"SELECT \N, '\'', \N; USE x": "USE",
    "SELECT 1; USE x": "USE",
    "SELECT ';'; USE x": "USE",
    r"SELECT '\''; USE x": "USE",
    r"SELECT '\\'; USE x": "USE",
    "SELECT ''''; USE x": "USE",
    "SELECT '`'; USE `x`": "USE",
    "SELECT `'`; USE `x`": "USE",
    "SELECT 1 -- '\n; USE x": "USE",
    "SELECT 1 --'\n; USE x'; CALL y()": "CALL",
    "SELECT x\xa0GET_LOCK\xa0('x', 1)": "GET_LOCK",
    "SELECT 1 # '\n; USE x": "USE",
    "SELECT 1 /* ' */; USE x": "USE",
    "SELECT 1 /* ; */ * /**/ 2; USE x": "USE",
    "BEGIN; USE x": "USE",
}
UNKNOWN = [
    "SELECT 'unfinished",
    "SELECT `unfinished",
    "SELECT 1 ; 'unfinished",
    r'SELECT "ANSI_QUOTES\"',
    r'SELECT "ANSI_QUOTES\\\", 1',
    r"SELECT \Nothing",
    r"SELECT \M",
    "SELECT [it's]",
    "SELECT \\",
    "label: LOOP SET x = 1; END LOOP",
    "do: LOOP SET x = 1; END LOOP",
    "IF 1 THEN SET x = 1; END IF",
    "DECLARE x INT",
    "\xe9",
    "SELECT 1 --\xa0'\n; USE x # '",
    "{fn x}",
]
TRANSACTIONS = {
    "BEGIN": True,
    "begin work;": True,
    "START TRANSACTION": True,
    "START TRANSACTION READ ONLY, WITH CONSISTENT SNAPSHOT": True,
    "COMMIT": False,
    "COMMIT WORK AND NO CHAIN NO RELEASE": False,
    "ROLLBACK -- enough": False,
    "COMMIT AND CHAIN": True,
    "ROLLBACK TO x": None,
    "ROLLBACK WORK TO SAVEPOINT x": None,
    "SAVEPOINT x": None,
    "RELEASE SAVEPOINT x": None,
    "BEGIN; SELECT 1": True,
    # The server may have stopped before its end.
    "BEGIN; SELECT 1; COMMIT": True,
    "SELECT 1; ROLLBACK": True,
}


@pytest.mark.parametrize(("sql", "reason"), DIRTY.items())
def test_what_leaves_a_trace_is_dirty_and_named(sql: str, reason: str) -> None:
    assert ordinary.effect(sql.encode()).dirty == reason


@pytest.mark.parametrize("sql", UNKNOWN)
def test_what_is_not_recognised_is_dirty_and_not_named(sql: str) -> None:
    assert ordinary.effect(sql.encode()) == Effect("a statement that was not recognised")


@pytest.mark.parametrize(
    ("sql", "reads"),
    [
        ("SHOW /* hunter2 */ WARNINGS", "SHOW WARNINGS"),
        ("GET /* hunter2 */ CURRENT DIAGNOSTICS @x = NUMBER", "GET CURRENT DIAGNOSTICS"),
        ("SELECT @@session /* hunter2 */ . last_gtid", "@@SESSION LAST_GTID"),
        ("SELECT @@gtid_domain_id, last_gtid FROM x", None),
        ("SELECT `last_insert_id` /* hunter2 */ ( )", "LAST_INSERT_ID"),
        ("SELECT last_insert_id -- hunter2\n()", "LAST_INSERT_ID"),
        ("SELECT @@`identity`", "@@ IDENTITY"),
        ("SELECT @@session.`identity`", "@@SESSION IDENTITY"),
        ("SELECT @@session/**/.identity", "@@SESSION IDENTITY"),
        ('SELECT @@local . "warning_count"', "@@LOCAL WARNING_COUNT"),
        ("SELECT @a, LAST_INSERT_ID()", "LAST_INSERT_ID"),
        ("SELECT @a := 1, ROW_COUNT()", "ROW_COUNT"),
        ("SELECT @a := @b", USER_VARIABLE),
        ("SELECT '@a', `@b`, a.identity, @@session.sql_mode, @@global.x /* @c */", None),
    ],
)
def test_what_reads_of_an_earlier_statement_is_named_without_a_value(
    sql: str, reads: str | None
) -> None:
    assert ordinary.effect(sql.encode()).reads == reads


@pytest.mark.parametrize(
    "sql", ["SELECT @a", "(select @`a b`, @'c' FROM d)", "DO @a", "SELECT 1; SELECT @a; SELECT 2"]
)
def test_to_read_a_user_variable_leaves_no_trace(sql: str) -> None:
    assert ordinary.effect(sql.encode()) == Effect(reads=USER_VARIABLE, rows=True)


def test_a_table_of_the_performance_schema_may_be_read() -> None:
    assert ordinary.effect(b"SELECT * FROM performance_schema.threads") == ROWS


READ = {
    "SELECT @a, @B": {"@a", "@b"},
    "SELECT @`A b ` + @'c' + @\"d\" + @e.f$": {"@a b", "@c", "@d", "@e.f$"},
    "SELECT (@f := 'a,b') > '', @f": set(),
    "SELECT @f, (@F := 1), @g": {"@f", "@g"},
    "SELECT (@f := @f + 1)": {"@f"},
    "SELECT @f := CONCAT(',', (@g := ')'), @f), @g": {"@f"},
    "SELECT IF((@f := LOCATE(',', @g := 'a,b')) > 0, SUBSTRING(@g, @f + 1), '')": set(),
    "UPDATE a SET b = SUBSTRING(@f := b, 1, IF(LENGTH(@f), LENGTH(@f) - 1, 0))": set(),
    "SELECT @f := LENGTH(@f)": {"@f"},
    "SELECT a FROM b WHERE c = @d INTO @d, @`e`": {"@d"},
    "SELECT @a = 1": {"@a"},
    "SELECT '@a', \"@b\", `@c`, @@d, @@session.e, 'it''s @f', '\\'@g' /* @h */ # @i": set(),
    "SET @a = 1, @b := @c + @a": {"@c"},
    "SET @a = 1; SELECT @a, @b": {"@b"},
    "SELECT @a = 1; SET @b = 2": {"@a"},
    "GET DIAGNOSTICS @a = NUMBER, @b = ROW_COUNT": set(),
    "LOAD DATA INFILE 'a' INTO TABLE b (@c, d, @e) SET f = UPPER(@c), g = @h": {"@h"},
    "INSERT INTO a (b) VALUES (@c)": {"@c"},
    "CALL a(@b)": {"@b"},
    "EXECUTE a USING @b": {"@b"},
    "SELECT 1": set(),
}


@pytest.mark.parametrize(("sql", "names"), READ.items())
def test_what_a_statement_reads_before_it_assigns_it_is_named(sql: str, names: set[str]) -> None:
    assert variables_read(sql.encode()) == frozenset(names)


@pytest.mark.parametrize(("sql", "transaction"), TRANSACTIONS.items())
def test_transactions_are_followed(sql: str, transaction: bool | None) -> None:
    assert ordinary.effect(sql.encode()) == Effect(transaction=transaction)


CLEAN = [
    "SELECT SQL_CALC_FOUND_ROWS x FROM y LIMIT 1",
    "SELECT sql_calc_found_rows * FROM a; SELECT 1",
    "SELECT 1 /*! */ /*!50000 */ /*!50000*/ /*M! */ /*M!100100 */ /*!*/",
    "/*!40101 */ SELECT 1",
    "INSERT/*! */INTO x VALUES (1)",
    r'''SELECT "it\'s", "a\\\\", "b\nc\N", "\x"''',
    r'''UPDATE x SET y = "c:\\temp\\" WHERE z = "@a; USE b"''',
    r"INSERT INTO x VALUES (\N, \N,\N)",
    r"SELECT \N",
]


@pytest.mark.parametrize("sql", CLEAN)
@pytest.mark.parametrize("escapes", [True, False])
def test_what_reads_the_same_in_every_mode_is_no_doubt(sql: str, escapes: bool) -> None:
    effect = Classifier(backslash_escapes=escapes).effect(sql.encode())
    assert effect._replace(rows=False) == PLAIN


def test_found_rows_of_the_same_text_are_asked_for_all_the_same() -> None:
    sql = b"SELECT SQL_CALC_FOUND_ROWS x FROM y LIMIT 1; SELECT FOUND_ROWS()"
    assert ordinary.effect(sql) == Effect(reads="FOUND_ROWS", rows=True)


blanks = st.sampled_from(
    [" ", "\n", "\t \r\n", "/**/", "/* ' */", '/*+ " */', " # `\n", " -- '\n", "/*;USE*/", "/*! */"]
)
gaps = st.lists(blanks, min_size=1, max_size=3).map("".join)


@st.composite
def disguised(draw: st.DrawFn, statements: list[str]) -> bytes:
    """A statement in another letter case, with other blanks, behind other statements."""
    sql = draw(st.sampled_from(["", "SELECT 1;", "UPDATE a SET b = 'c;';", ";", "BEGIN; "]))
    for word in draw(st.sampled_from(statements)).split():
        sql += draw(gaps) + "".join(draw(st.sampled_from([c.lower(), c.upper()])) for c in word)
    return (sql + draw(gaps)).encode()


@given(disguised([sql for sql in DIRTY if not re.search("['\"`]|--|#|/\\*", sql)]))
@example(b"(/**/( SET ")
def test_no_disguise_makes_a_dirty_statement_clean(sql: bytes) -> None:
    assert ordinary.effect(sql).dirty


@given(disguised(["SELECT a FROM b", "INSERT INTO a VALUES (1)", "CREATE TABLE a (b INT)"]))
def test_no_disguise_makes_a_clean_statement_dirty(sql: bytes) -> None:
    assert ordinary.effect(sql).dirty is None


tricky = st.one_of(st.text(), st.text("'\"`\\;@#-/*! \n:aS\xe9\u4e2d"))


@given(tricky, st.binary())
@example("mail@example.org; SET x = 'y' -- \\", b"\\';USE x")
def test_no_value_makes_an_insert_dirty(text: str, data: bytes) -> None:
    """As the driver escapes it."""
    sql = b"INSERT INTO `a` (`b`, `c`) VALUES (%s, _binary%s)" % (literal(text), literal(data))
    assert ordinary.effect(sql) is ROWS


@given(tricky, tricky)
def test_no_value_hides_what_follows(first: str, second: str) -> None:
    values = literal(first), literal(second)
    assert ordinary.effect(b"SELECT %s, %s; USE a" % values).dirty == "USE"
    assert ordinary.effect(b"SELECT %s, @a := %s" % values).dirty == "a user variable"
    assert ordinary.effect(b"SELECT %s, @a, %s" % values).reads == "a user variable"


def literal(value: str | bytes) -> bytes:
    data = value.encode("utf8", "replace") if isinstance(value, str) else value
    escaped: bytes = _mysql.escape(data, conversions)
    return escaped


@given(tricky)
def test_without_escapes_a_literal_ends_at_the_next_quote(text: str) -> None:
    sql = b"SELECT '%s'" % text.replace("'", "''").encode("utf8", "replace")
    classifier = Classifier(backslash_escapes=False)
    assert classifier.effect(sql) is ROWS
    assert classifier.effect(sql + b"; USE a").dirty == "USE"


@given(st.binary())
def test_no_text_is_too_strange(sql: bytes) -> None:
    assert isinstance(ordinary.effect(sql), Effect)


def test_where_bytes_have_two_meanings_all_but_ascii_is_in_doubt() -> None:
    classifier = AsciiClassifier()
    assert classifier.effect(b"SELECT 'plain'") is ROWS
    assert classifier.effect("SELECT '\xe9'".encode("gbk")).dirty
    assert classifier.effect(b"SELECT '\\n'").dirty


PIECES = [
    "(",
    "'",
    "''",
    "\\",
    "`",
    "/*",
    "*/",
    "--",
    "-- \n",
    ";",
    "SELECT 1;",
    "@@",
    "_",
    "a_lock ",
    "@a ",
    "@a:=",
    "(@a,",
    "INTO @a,",
    "/*+",
    "/*+ */",
    "performance_schema",
    "performance_schema ",
    "@@session ",
]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.long
def test_reading_takes_time_in_proportion_to_the_length(piece: str) -> None:
    """A hundred thousand pieces would take for ever if it were otherwise: a hang is the failure."""
    for start in ("", "SELECT ", "SELECT '", "SET STATEMENT a = 1, ", "SELECT @a, "):
        sql = (start + piece * 100_000).encode()
        assert isinstance(ordinary.effect(sql), Effect)
        variables_read(sql)
