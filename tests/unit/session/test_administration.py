"""What is done for all of the server's sessions is told from what only looks like it."""

from __future__ import annotations

import pytest

from mysqlpool.session.statements import PLAIN, AsciiClassifier, Classifier

ordinary = Classifier()

BLOCK = "BEGIN DECLARE a INT; SET @b = 1; IF a THEN SET a = 2; END IF; SELECT GET_LOCK('c', 1); END"

CLEAN = [
    "FLUSH PRIVILEGES",
    "flush /* now */ binary\nlogs;",
    "FLUSH LOGS, STATUS",
    "FLUSH LOCAL PRIVILEGES",
    "FLUSH NO_WRITE_TO_BINLOG HOSTS",
    "FLUSH GLOBAL STATUS",
    "FLUSH QUERY CACHE",
    "FLUSH OPTIMIZER_COSTS, USER_RESOURCES",
    "FLUSH TABLES",
    "FLUSH TABLE a",
    "FLUSH TABLES a, `b`, c . `d e`",
    "GRANT SELECT ON *.* TO 'a'@'%'",
    "GRANT SELECT (a), INSERT (b) ON c.d TO e@localhost, `f`@`g` WITH GRANT OPTION",
    "GRANT ALL ON a.* TO 'b;c'@'d' IDENTIFIED BY 'SET @x = 1;'",
    "GRANT clerk TO CURRENT_USER()",
    "GRANT PROXY ON a TO b",
    "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'a'@'b'",
    "CREATE USER IF NOT EXISTS a IDENTIFIED WITH caching_sha2_password BY 'b@c'",
    "CREATE OR REPLACE USER a@'%' IDENTIFIED VIA ed25519 USING PASSWORD('b')",
    "CREATE USER a ATTRIBUTE '{\"b\": 1}' REQUIRE SSL WITH MAX_USER_CONNECTIONS 3",
    "ALTER USER x DISCARD OLD PASSWORD",
    "ALTER USER CURRENT_USER() IDENTIFIED BY 'a'",
    'DROP USER "a"@"b"',
    "RENAME USER a@b TO c@d",
    "CREATE ROLE a",
    "CREATE OR REPLACE ROLE a",
    "DROP ROLE IF EXISTS a, b",
    "SET PASSWORD FOR 'a'@'b' = 'c'",
    "SET PASSWORD FOR a = PASSWORD('b')",
    "SET GLOBAL max_connections = 100",
    "SET GLOBAL a_b = 'c', GLOBAL d = ON, @@GLOBAL.e = DEFAULT",
    "SET @@global . sql_mode = ''",
    "SET GLOBAL TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "SET GLOBAL TRANSACTION READ ONLY",
    "CREATE TRIGGER a BEFORE INSERT ON b FOR EACH ROW SET NEW.c = 1, @d = 2",
    f"CREATE TRIGGER a BEFORE INSERT ON b FOR EACH ROW {BLOCK}",
    f"CREATE DEFINER=`a`@`%` TRIGGER `a` AFTER UPDATE ON `b` FOR EACH ROW {BLOCK};",
    "CREATE PROCEDURE a(OUT b INT) SET b = 1",
    f"CREATE PROCEDURE a() {BLOCK}",
    f"CREATE OR REPLACE PROCEDURE a.b(IN c DECIMAL(5,2), d INT) SQL SECURITY INVOKER {BLOCK} e",
    "CREATE PROCEDURE a() BEGIN WHILE TRUE DO SET b = ';'; END WHILE; -- ;\n /* END */ END",
    "CREATE FUNCTION a() RETURNS INT DETERMINISTIC RETURN @b := 1",
    f"CREATE FUNCTION a(b INT) RETURNS VARCHAR(10) NOT DETERMINISTIC COMMENT 'BEGIN;' {BLOCK}",
    f"CREATE PROCEDURE a() {BLOCK}; CREATE PROCEDURE b() {BLOCK}; SELECT 1",
    "ALTER PROCEDURE a COMMENT 'b;'",
    "ALTER FUNCTION a SQL SECURITY INVOKER",
    "CREATE EVENT a ON SCHEDULE EVERY 1 DAY DO SET @b = 1",
    "CREATE EVENT IF NOT EXISTS a ON SCHEDULE AT CURRENT_TIMESTAMP + INTERVAL 1 HOUR DO CALL b()",
    "CREATE EVENT a ON SCHEDULE EVERY 2 HOUR STARTS '2030-01-01' COMMENT ';' DO SELECT 1",
    "CREATE EVENT a ON SCHEDULE EVERY 2 HOUR ENDS NOW() + INTERVAL 1 YEAR DO DO GET_LOCK('b', 1)",
    "CREATE SERVER a FOREIGN DATA WRAPPER mysql OPTIONS (HOST 'b')",
    "ALTER SERVER a OPTIONS (HOST 'b;c')",
    "DROP SERVER IF EXISTS a",
    "SELECT 1; FLUSH STATUS; GRANT a TO b; SELECT 2",
]

DIRTY = [
    # A lock
    "FLUSH TABLES WITH READ LOCK",
    "FLUSH TABLES a WITH READ LOCK",
    "FLUSH TABLES a, b FOR EXPORT",
    "FLUSH /**/ TABLES /**/ WITH /**/ READ /**/ LOCK",
    "FLUSH LOCAL TABLES WITH READ LOCK",
    "FLUSH TABLES /*! WITH READ LOCK */",
    "FLUSH TABLES a /*!50000 FOR EXPORT */",
    "FLUSH PRIVILEGES, TABLES WITH READ LOCK",
    "FLUSH TABLES `a` WITH READ LOCK AND DISABLE CHECKPOINT",
    # Something else behind it
    "FLUSH PRIVILEGES; USE a",
    "FLUSH TABLES; LOCK TABLES a READ",
    "GRANT a TO b; SET @c = 1",
    "GRANT a TO 'b'; SET @c = ''",
    'GRANT a TO "b\\"; SET @c = 1; --"',
    "GRANT a TO b /*! ; SET @c = 1 */",
    "GRANT a TO b -- \n; SET @c = 1",
    "CREATE USER a; SET ROLE b",
    # What is a variable, and not a host
    "GRANT a TO b @c",
    "ALTER USER a IDENTIFIED BY @b",
    "GRANT a TO b@@c",
    "GRANT a TO b, @c := 1",
    # What sets something of the session, too
    "SET ROLE a",
    "SET DEFAULT ROLE a TO b",
    "SET PASSWORD = 'a'",
    "SET PASSWORD FOR a = 'b', SESSION sql_mode = ''",
    "SET PASSWORD FOR a = 'b', @c = 1",
    "SET PASSWORD FOR a = (SELECT @b := 1)",
    "SET PASSWORD FOR a = @b",
    "SET GLOBAL a = 1, b = 2",
    "SET GLOBAL a = 1, SESSION b = 2",
    "SET GLOBAL a = 1, @b = 2",
    "SET GLOBAL a = 1, @@b = 2",
    "SET GLOBAL a = @b",
    "SET GLOBAL a = (SELECT GET_LOCK('b', 1))",
    "SET GLOBAL a = GET_LOCK('b', 1)",
    "SET GLOBAL a = CONCAT(@b := 1)",
    "SET GLOBAL server_id = 1",
    "SET GLOBAL sql_slave_skip_counter = 1",
    "SET GLOBAL wsrep_on = OFF",
    "SET GLOBAL autocommit = 1",
    "SET @@GLOBAL.server_id = 1",
    "SET GLOBAL a = 1; SET b = 2",
    "SET GLOBAL a = 'b\\'', GLOBAL c = '; SET d = 1 -- '",
    "SET PERSIST a = 1",
    "SET GLOBALS = 1",
    "SET @@a = 1",
    "SET TRANSACTION READ ONLY",
    # Programs behind which something is executed
    "CREATE PROCEDURE a() SELECT 1; SET @b = 1",
    "CREATE PROCEDURE a() SELECT b AS begin; SET @c = 1; SELECT 1 AS end",
    "CREATE PROCEDURE a() SELECT (b) begin; SET @c = 1; SELECT 1 end",
    "CREATE FUNCTION a() RETURNS INT RETURN begin; SET @c = 1; SELECT 1 AS end",
    "CREATE FUNCTION a() RETURNS INT RETURN (b) ; SET @c = 1; BEGIN NOT ATOMIC SELECT 1; END",
    f"CREATE PROCEDURE a() {BLOCK}; SET @b = 1",
    f"CREATE PROCEDURE a() {BLOCK}; SET @b = 1; SELECT 1 AS end",
    "CREATE PROCEDURE a() BEGIN BEGIN END; END; SET @b = 1",
    "CREATE PROCEDURE a() BEGIN SELECT 1; END; BEGIN NOT ATOMIC SET @b = 1; END",
    "CREATE TRIGGER a BEFORE INSERT ON b FOR EACH ROW SET c = begin; SET @d = 1; SELECT 1 AS end",
    "CREATE TRIGGER a BEFORE INSERT ON b FOR EACH ROW FOLLOWS begin SET @c = 1; SET @d = 1; END",
    "CREATE PROCEDURE a() COMMENT 'b' SELECT 1; SET @c = 1",
    "CREATE PROCEDURE a() COMMENT '\\' BEGIN '; SET @c = 1; END",
    'CREATE PROCEDURE a() SELECT "\\"; SET @c = 1; --"',
    "CREATE PROCEDURE a() SELECT [b;c]",
    "CREATE PROCEDURE a() SELECT 1 /*! ; SET @b = 1 */",
    "CREATE PROCEDURE a() SELECT 1 --\xa0; \n; SET @b = 1",
    "CREATE EVENT a ON SCHEDULE EVERY 1 DAY DO SELECT 1; SET @b = 1",
    # The schedule is evaluated
    "CREATE EVENT a ON SCHEDULE EVERY @b := 1 DAY DO SELECT 1",
    "CREATE EVENT a ON SCHEDULE EVERY GET_LOCK('b', 1) DAY DO SELECT 1",
    "CREATE EVENT a ON SCHEDULE AT NOW() + INTERVAL GET_LOCK('b', 1) DAY DO SELECT 1",
    "CREATE EVENT a ON SCHEDULE EVERY 1 DAY STARTS GET_LOCK('b', 1) DO SELECT 1",
    "ALTER EVENT a ON SCHEDULE EVERY GET_LOCK('b', 1) DAY",
    # Of this session
    "CREATE TEMPORARY TABLE a (b INT)",
    "DROP DATABASE a",
    "ALTER DATABASE a CHARACTER SET latin1",
    "CREATE PACKAGE a AS PROCEDURE b(); END",
]


@pytest.mark.parametrize("sql", CLEAN)
def test_what_is_done_for_all_sessions_leaves_nothing_in_this_one(sql: str) -> None:
    assert ordinary.effect(sql.encode()) == PLAIN


@pytest.mark.parametrize("sql", DIRTY)
def test_what_looks_like_it_is_dirty(sql: str) -> None:
    assert ordinary.effect(sql.encode("latin1")).dirty


@pytest.mark.parametrize(
    "sql",
    [
        rb"GRANT a TO 'b\'; SET @d = ' -- '",
        rb"CREATE PROCEDURE a() SELECT '\'; SET @b = ' -- '",
        rb"CREATE PROCEDURE a() BEGIN SELECT '\'; END; SET @b = '; END",
    ],
)
def test_a_literal_ends_where_the_mode_says(sql: bytes) -> None:
    """With NO_BACKSLASH_ESCAPES there is a second statement behind it."""
    assert ordinary.effect(sql) == PLAIN
    assert Classifier(backslash_escapes=False).effect(sql).dirty == "SET"


def test_where_bytes_have_two_meanings_an_account_is_in_doubt() -> None:
    assert AsciiClassifier().effect(b"GRANT a TO 'b'") == PLAIN
    assert AsciiClassifier().effect("GRANT a TO '\u4e2d'".encode("gbk")).dirty
    assert AsciiClassifier().effect(b"GRANT a TO '\\n'").dirty


PIECES = [
    "'",
    "a@",
    "@",
    "`",
    "(",
    "a, ",
    "END ",
    "END IF; ",
    ";",
    "GLOBAL a = 1, ",
    "DETERMINISTIC ",
    " + INTERVAL 1 DAY",
    "/*! */",
    "\\",
    '"\\a',
    "CREATE PROCEDURE a() BEGIN ",
    "CREATE PROCEDURE a() BEGIN SELECT 1; ",
    "CREATE PROCEDURE a() SELECT 1; ",
    "CREATE PROCEDURE a() BEGIN END; ",
    "GRANT a TO b@c; ",
]
HEADS = [
    "GRANT ",
    "FLUSH TABLES a, ",
    "SET GLOBAL a = 1, ",
    "CREATE PROCEDURE a() ",
    "CREATE PROCEDURE a() BEGIN ",
    "CREATE PROCEDURE a(",
    "CREATE EVENT a ON SCHEDULE AT NOW() ",
]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.long
def test_reading_takes_time_in_proportion_to_the_length(piece: str) -> None:
    """A hundred thousand pieces would take for ever if it were otherwise: a hang is the failure."""
    for head in HEADS:
        ordinary.effect((head + piece * 100_000).encode())
