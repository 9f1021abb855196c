"""Programs that are known to be dangerous where a transaction begins with its first statement."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .programs import (
    SELECT,
    UPDATE,
    Block,
    Call,
    Deadlock,
    Fail,
    Keep,
    Many,
    OnCommit,
    Orm,
    Program,
    Sql,
    Step,
    Stream,
    Use,
    insert,
)

_CREATE = Sql("CREATE TABLE IF NOT EXISTS side (n INT)")
# To wait for a lock takes a second, unless one does not want to: MariaDB calls both 1205.
_WAIT = Sql("UPDATE duel SET n = n + 1 WHERE id = 1", held=True, caught=True)
_NO_WAIT = Sql("SELECT n FROM duel WHERE id = 1 FOR UPDATE NOWAIT", held=True, caught=True)
_DUPLICATE = "INSERT INTO rows_row (text, number) VALUES ('x', 8), ('x', 8)"


def _failing(*body: Step) -> Program:
    return (Block((*body, Fail()), caught=True), Sql(SELECT))


DANGERS: Mapping[str, Program] = MappingProxyType(
    {
        # What ends a transaction unasked
        "DDL after a write, then an error": _failing(
            Sql(insert(1)), _CREATE, Sql(insert(2)), Sql("SELEC 1", caught=True), Sql(insert(3))
        ),
        "DDL first": _failing(_CREATE, Sql(insert(1))),
        "DDL in a nested block": _failing(
            Sql(insert(1)), Block((Sql(insert(2)), _CREATE), caught=True), Sql(insert(3))
        ),
        "DDL and a write in one text": _failing(
            Sql("CREATE TABLE side (n INT); INSERT INTO side VALUES (1)"), Sql(insert(1))
        ),
        "a write and DDL in one text": _failing(
            Sql(f"{insert(1)}; DROP TABLE IF EXISTS side"), Sql(insert(2))
        ),
        "a write and raw COMMIT in one text": _failing(
            Sql(insert(1)), Sql(f"{insert(2)}; COMMIT"), Sql(insert(3))
        ),
        "a read and raw COMMIT in one text, first": _failing(
            Sql("SELECT 1; COMMIT"), Sql(insert(3))
        ),
        "TRUNCATE": _failing(Sql(insert(1)), Sql("TRUNCATE spare"), Sql(insert(2))),
        "ANALYZE first": _failing(Sql("ANALYZE TABLE rows_row"), Sql(insert(1))),
        "a view": _failing(Sql("CREATE OR REPLACE VIEW one AS SELECT 1"), Sql(insert(1))),
        "FLUSH": _failing(Sql(insert(1)), Sql("FLUSH TABLES duel"), Sql(insert(2))),
        "a procedure that commits": _failing(Sql("CALL end_it()"), Sql(insert(1))),
        "a prepared COMMIT": _failing(
            Sql(("PREPARE p FROM 'COMMIT'", "EXECUTE p", insert(1))), Sql(insert(2))
        ),
        "raw COMMIT": _failing(Sql(insert(1)), Sql("COMMIT"), Sql(insert(2))),
        "raw COMMIT first": _failing(Sql("COMMIT"), Sql(insert(2))),
        "raw COMMIT in front": _failing(Sql(f"COMMIT; {insert(1)}"), Sql(insert(2))),
        "raw ROLLBACK": _failing(Sql(insert(1)), Sql("ROLLBACK"), Sql(insert(2))),
        "raw BEGIN": _failing(Sql(insert(1)), Sql("BEGIN"), Sql(insert(2))),
        "raw BEGIN first": _failing(Sql("BEGIN"), Sql(insert(2))),
        "raw SET autocommit = 1": _failing(
            Sql(insert(1)), Sql("SET autocommit = 1"), Sql(insert(2))
        ),
        # Errors inside a block that goes on
        "a deadlock, caught inside": (
            Block((Sql(insert(1)), Deadlock(caught=True), Sql(insert(2))), caught=True),
            Sql(insert(3)),
        ),
        "a deadlock, caught inside, then a failure": _failing(
            Sql(insert(1)), Deadlock(caught=True), Sql(insert(2))
        ),
        "a deadlock of the first statement": _failing(Deadlock(caught=True), Sql(insert(2))),
        "a deadlock, not caught": (Block((Sql(insert(1)), Deadlock())), Sql(insert(2))),
        "a deadlock in a nested block": (
            Block(
                (
                    Sql(insert(1)),
                    Block((Sql(insert(2)), Deadlock()), caught=True),
                    Sql(insert(3), caught=True),
                ),
                caught=True,
            ),
            Sql(insert(4)),
        ),
        "a deadlock in a nested block, caught in that": (
            Block(
                (
                    Sql(insert(1)),
                    Block((Deadlock(caught=True), Sql(insert(2))), caught=True),
                    Sql(insert(3), caught=True),
                ),
                caught=True,
            ),
            Sql(insert(4)),
        ),
        "a deadlock by hand": (
            Call("set_autocommit", False),
            Sql(insert(1)),
            Deadlock(caught=True),
            Sql(insert(2)),
            Call("rollback"),
            Call("set_autocommit", True),
        ),
        "a lock wait timeout": (
            Block((Block((Sql(insert(1)), _WAIT, Fail()), caught=True), Sql(insert(2)))),
        ),
        "a lock that is not waited for": _failing(Sql(insert(1)), _NO_WAIT, Sql(insert(2))),
        "a lock that is not waited for first": _failing(_NO_WAIT, Sql(insert(2))),
        "a lock that is not waited for, and a commit": (
            Block((Sql(insert(1)), Block((_NO_WAIT, Sql(insert(2)))), Sql(insert(3)))),
        ),
        "a duplicate in two rows first": _failing(Sql(_DUPLICATE, caught=True), Sql(insert(2))),
        "a duplicate in a nested block": (
            Block((Sql(insert(1)), Block((Sql(_DUPLICATE),), caught=True), Sql(insert(2)))),
        ),
        "a failing procedure": _failing(Sql("CALL put_and_fail(6)", caught=True), Sql(insert(2))),
        "killed": _failing(Sql("KILL QUERY CONNECTION_ID()", caught=True), Sql(insert(2))),
        "nothing at all as a text": _failing(Sql("", caught=True), Sql(insert(1))),
        "a comment alone": _failing(Sql("-- nothing", caught=True), Sql(insert(1))),
        # Texts with several statements
        "two statements in one text": _failing(Sql("SELECT 1; SELECT 2"), Sql(insert(1))),
        "two writes in one text": (Block((Sql(f"{insert(1)}; {insert(2)};"), Sql(UPDATE))),),
        "the second of a text fails": _failing(
            Sql(f"{insert(1)}; {insert(1)}", caught=True), Sql(insert(2))
        ),
        # Savepoints
        "a savepoint that was never used": (
            Block((Call("savepoint"), Call("savepoint_rollback"), Sql(insert(1)))),
        ),
        "a savepoint that was never used, after a write": (
            Block((Sql(insert(1)), Call("savepoint"), Call("savepoint_rollback"), Fail())),
            Block((Sql(insert(2)), Call("savepoint"), Call("savepoint_commit"))),
        ),
        "savepoints that end out of order": (
            Block(
                (
                    Call("savepoint"),
                    Sql(insert(1)),
                    Call("savepoint"),
                    Block((Sql(insert(2)), Fail()), caught=True),
                    Call("savepoint_rollback"),
                    Call("savepoint_rollback"),
                    Sql(insert(3)),
                )
            ),
        ),
        "a savepoint that DDL has lost": (
            Block((Sql(insert(1)), Call("savepoint"), _CREATE, Call("savepoint_commit"))),
            Sql(SELECT),
        ),
        "a savepoint that raw COMMIT has lost": (
            Block((Sql(insert(1)), Block((Sql(insert(2)), Sql("COMMIT"))), Sql(insert(3)))),
            Sql(SELECT),
        ),
        "a failure in a nested block before any statement": (
            Block((Block((Fail(),), caught=True), Sql(insert(1)))),
            Block((Sql(insert(2)), Block((Fail(),), caught=True), Sql(insert(3)))),
        ),
        "a failure in the third block before any statement": (
            Block((Block((Block((Fail(),)), Sql(insert(1))), caught=True), Sql(insert(2)))),
        ),
        "blocks without savepoints": (
            Block((Block((Fail(),), savepoint=False, caught=True), Sql(SELECT, caught=True))),
            Block((Block((Sql(insert(1)),), savepoint=False), Sql(insert(2)))),
        ),
        # Locked tables: START TRANSACTION would unlock them
        "tables locked inside": _failing(
            Sql(insert(1)),
            Sql("LOCK TABLES rows_row READ"),
            Sql(insert(2), caught=True),
            Sql("UNLOCK TABLES"),
            Sql(insert(3)),
        ),
        "tables locked before": (
            Sql("LOCK TABLES rows_row READ"),
            Block((Sql(insert(1), caught=True), Sql("SELECT * FROM duel", caught=True))),
            Sql(insert(2)),
            Sql("UNLOCK TABLES"),
        ),
        "tables locked for writing": (
            Sql("LOCK TABLES rows_row WRITE"),
            Block((Sql(insert(1)),)),
            *_failing(Sql(insert(2))),
            Sql("UNLOCK TABLES"),
        ),
        "tables locked for writing inside": (
            Block(
                (
                    Sql(insert(1)),
                    Sql("LOCK TABLES rows_row WRITE"),
                    Sql(insert(2)),
                    Block((Sql(insert(3)), Fail()), caught=True),
                    Sql("UNLOCK TABLES"),
                    Sql(insert(4)),
                    Fail(),
                ),
                caught=True,
            ),
        ),
        # What was there before the block
        "a temporary table before": (
            Sql("CREATE TEMPORARY TABLE passing (n INT)"),
            *_failing(Sql("INSERT INTO passing VALUES (1)"), Sql(insert(1))),
            Sql("SELECT n FROM passing"),
        ),
        "a temporary table inside": _failing(
            Sql(insert(1)), Sql("CREATE TEMPORARY TABLE passing (n INT)"), Sql(insert(2))
        ),
        "a distributed transaction inside": _failing(
            Sql("XA START 'x'", caught=True), Sql(insert(1)), Sql("XA END 'x'", caught=True)
        ),
        "a distributed transaction inside, after a read": _failing(
            Sql(SELECT), Sql("XA START 'x'", caught=True), Sql(insert(1))
        ),
        "a distributed transaction around": (
            Sql("XA START 'x'"),
            Block((Sql(insert(1), caught=True),), caught=True),
            Sql("XA END 'x'"),
            Sql("XA ROLLBACK 'x'"),
        ),
        "raw BEGIN before": (Sql("BEGIN"), Sql(insert(1)), *_failing(Sql(insert(2)))),
        "raw SET autocommit = 0 before": (
            Sql("SET autocommit = 0"),
            Sql(insert(1)),
            *_failing(Sql(insert(2))),
            Sql(insert(3)),
        ),
        "SET TRANSACTION before": (
            Sql("SET TRANSACTION READ ONLY"),
            Block((Sql(insert(1), caught=True),)),
            Block((Sql(insert(2), caught=True),)),
        ),
        "a read-only transaction inside": _failing(
            Sql("START TRANSACTION READ ONLY"), Sql(insert(1), caught=True)
        ),
        # The connection
        "closed inside": (
            Block((Sql(insert(1)), Call("close"), Sql(insert(2), caught=True)), caught=True),
            Sql(insert(3)),
        ),
        "killed for good inside": _failing(
            Sql(insert(1)), Sql("KILL CONNECTION_ID()", caught=True), Sql(insert(2), caught=True)
        ),
        "killed for good inside first": _failing(
            Sql("KILL CONNECTION_ID()", caught=True), Sql(insert(2), caught=True)
        ),
        "killed for good, and committed": (
            Block((Sql(insert(1)), Sql("KILL CONNECTION_ID()", caught=True)), caught=True),
            Sql(insert(2)),
        ),
        "killed for good in a nested block": (
            Block(
                (
                    Sql(insert(1)),
                    Block((Sql("KILL CONNECTION_ID()"),), caught=True),
                    Sql(insert(2), caught=True),
                ),
                caught=True,
            ),
            Sql(insert(3)),
        ),
        "closed inside first": (Block((Call("close"),), caught=True), Sql(insert(3))),
        "a deadlock, then closed by hand": (
            Block((Sql(insert(0), caught=True), Deadlock())),
            *(Call("set_autocommit", False), Call("close"), Call("commit", caught=True)),
            *(Call("set_autocommit", True), Sql(insert(1)), Sql(SELECT)),
        ),
        "closed inside, then a savepoint": (Block((Call("close"),)), Call("savepoint")),
        "closed inside, then by hand": (
            *(Block((Call("close"),)), Call("set_autocommit", False), Sql(insert(1))),
            *(Call("commit"), Call("set_autocommit", True)),
        ),
        "raw BEGIN, and an unknown column": (
            *(Sql("BEGIN"), Sql(insert(1)), Sql("SELECT no_such_column", caught=True)),
            *(Sql(insert(2)), Sql("COMMIT"), Sql(SELECT)),
        ),
        "raw BEGIN, and a statement that is killed": (
            *(Sql("BEGIN"), Sql(insert(1)), Sql("KILL QUERY CONNECTION_ID()", caught=True)),
            *(Sql(insert(2)), Sql("ROLLBACK"), Sql(SELECT)),
        ),
        "raw BEGIN, read-only": (
            Sql("START TRANSACTION READ ONLY"),
            *(Sql(insert(1), caught=True), Sql(insert(1), caught=True)),
            *(Sql("COMMIT"), Sql(insert(2)), Sql(SELECT)),
        ),
        "closed in a nested block": (
            Block((Sql(insert(1)), Block((Sql(insert(2)), Call("close")), caught=True))),
            Sql(insert(3)),
        ),
        "released inside": (Block((Sql(insert(1)), Call("release"), Sql(insert(2)))),),
        "released between": (Block((Sql(insert(1)),)), Call("release"), Block((Sql(SELECT),))),
        "a cursor over the end of a block": (
            Block((Keep(insert(1)),)),
            Use(insert(2)),
            Block((Use(insert(3)), Fail()), caught=True),
            Use(SELECT, closes=True),
        ),
        "row by row": (Sql(insert(1)), *_failing(Sql(insert(2))), Block((Stream(SELECT),))),
        "row by row, a write": (Block((Stream(insert(1)), Fail()), caught=True), Sql(SELECT)),
        "many": (
            Block((Many("INSERT INTO rows_row (text, number) VALUES (%s, %s)", (("m", 1),)),)),
            Block((Many("UPDATE rows_row SET text = %s WHERE number = %s", (("n", 1),)), Fail())),
        ),
        # By hand
        "several transactions by hand": (
            Call("set_autocommit", False),
            Sql(insert(1)),
            Call("commit"),
            Sql(insert(2)),
            Call("rollback"),
            Call("rollback"),
            Sql(insert(3)),
            Block((Sql(insert(4)),)),
            Call("commit"),
            _CREATE,
            Sql(insert(5)),
            Call("rollback"),
            Sql(SELECT),
            Call("set_autocommit", True),
            Sql(SELECT),
        ),
        "switched on again without a commit": (
            Call("set_autocommit", False),
            Sql(insert(1)),
            Call("set_autocommit", True),
        ),
        "a savepoint by hand, by hand": (
            Call("set_autocommit", False),
            Call("savepoint"),
            Sql(insert(1)),
            Call("savepoint_rollback"),
            Call("set_autocommit", True),
        ),
        # Hooks
        "hooks": (
            Block((OnCommit(insert(1)), Block((OnCommit(insert(2)), Fail()), caught=True))),
            Block((OnCommit(None), OnCommit(insert(3))), caught=True),
            Block((OnCommit(None, robust=True), OnCommit(insert(4)), Orm("count"))),
        ),
        "a hook in a block that fails": _failing(OnCommit(insert(1))),
    }
)
