"""Savepoints that wait: whatever is left out, the server's transaction ends with the same rows."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlpool.session.block import HARMLESS, START, Block

SAVEPOINT, RELEASE, ROLLBACK_TO = "SAVEPOINT", "RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT"


class Unknown(Exception):
    """The server knows no such savepoint."""


class Server:
    """What a server does with savepoints, by the manuals: SAVEPOINT replaces one of its name."""

    def __init__(self) -> None:
        self.rows: list[int] = []
        self.stack: list[tuple[str, int]] = []
        self.executed: list[str] = []

    def execute(self, sql: str) -> None:
        self.executed.append(sql)
        if sql == START.decode():
            return
        verb, _, name = re.sub(r"/\*.*?\*/", "", sql).strip().rpartition(" ")
        if verb == "WRITE":
            self.rows.append(int(name))
            return
        name = name.lower()
        found = [number for number, (known, _) in enumerate(self.stack) if known == name]
        if verb == SAVEPOINT:
            self.stack = [one for one in self.stack if one[0] != name]
            self.stack.append((name, len(self.rows)))
            return
        if not found:
            raise Unknown
        if verb == ROLLBACK_TO:
            del self.rows[self.stack[found[0]][1] :]
            del self.stack[found[0] + 1 :]
        else:
            del self.stack[found[0] :]


class Late:
    """A server behind a block, as a session uses it."""

    def __init__(self) -> None:
        self.server = Server()
        self.block: Block | None = Block()

    def execute(self, sql: str) -> None:
        block = self.block
        if block is None:
            self.server.execute(sql)
        elif sql.startswith("WRITE"):
            for ahead in block.ahead():
                self.server.execute(ahead.decode())
                block.sent()
            self.server.execute(sql)
        elif not block.keeps(sql):
            if not block.returns(sql.encode()):
                self.block = None
                for text in block.unsent:
                    self.server.execute(text)
            self.server.execute(sql)


verbs = st.sampled_from([SAVEPOINT, RELEASE, ROLLBACK_TO])
names = st.sampled_from(["`a`", "`b`", "`B`", "`c`", "`d`"])
traced = st.sampled_from(["{}", "{} /* trace='1' */", "/* trace */ {}"])
steps = st.one_of(
    st.integers(0, 9).map("WRITE {}".format),
    st.builds(lambda verb, name, trace: trace.format(f"{verb} {name}"), verbs, names, traced),
)


@given(st.lists(steps, max_size=25))
def test_what_waits_or_is_left_out_changes_no_row(program: list[str]) -> None:
    at_once, late = Server(), Late()
    for sql in program:
        outcomes = []
        for server in (at_once, late):
            try:
                server.execute(sql)
                outcomes.append("done")
            except Unknown:
                outcomes.append("unknown")
        assert outcomes[0] == outcomes[1], sql
        assert late.server.rows == at_once.rows
        if sql.startswith("WRITE"):
            assert late.server.stack == [(n, c) for n, c in at_once.stack]
    assert len(late.server.executed) <= len(at_once.executed) + 1


@pytest.mark.parametrize(
    ("program", "sent"),
    [
        ([], []),
        (["SAVEPOINT `a`"], []),
        (["SAVEPOINT `a`", "RELEASE SAVEPOINT `a`"], []),
        (["SAVEPOINT `a`", "ROLLBACK TO SAVEPOINT `a`", "RELEASE SAVEPOINT `a`"], []),
        (["WRITE 1"], ["START TRANSACTION", "WRITE 1"]),
        (
            ["SAVEPOINT `a`", "WRITE 1", "RELEASE SAVEPOINT `a`"],
            ["START TRANSACTION", "SAVEPOINT `a`", "WRITE 1"],
        ),
        (
            ["SAVEPOINT `a`", "WRITE 1", "RELEASE SAVEPOINT `a`", "WRITE 2"],
            ["START TRANSACTION", "SAVEPOINT `a`", "WRITE 1", "RELEASE SAVEPOINT `a`", "WRITE 2"],
        ),
        (
            ["SAVEPOINT `a`", "WRITE 1", "SAVEPOINT `b`", "ROLLBACK TO SAVEPOINT `a`"],
            ["START TRANSACTION", "SAVEPOINT `a`", "WRITE 1", "ROLLBACK TO SAVEPOINT `a`"],
        ),
    ],
)
def test_no_more_is_sent_than_has_to_be(program: list[str], sent: list[str]) -> None:
    late = Late()
    for sql in program:
        late.execute(sql)
    assert late.block is not None
    assert late.server.executed == sent


@pytest.mark.parametrize(
    "sql",
    [
        "SAVEPOINT a",
        "savepoint `a`",
        "SAVEPOINT `a b`",
        "SAVEPOINT `a`; DROP TABLE t",
        "SAVEPOINT `a` -- x",
        "SAVEPOINT `a` /*! , */",
        "SAVEPOINT `a` /* x */ , /* y */",
        "SAVEPOINT `" + "a" * 65 + "`",
        "RELEASE SAVEPOINT `a`",
        "ROLLBACK TO SAVEPOINT `a`",
        "ROLLBACK TO `a`",
        "ROLLBACK",
    ],
)
def test_what_is_not_written_as_django_does_or_unknown_does_not_wait(sql: str) -> None:
    block = Block()
    assert not block.keeps(sql)
    assert not block.returns(sql.encode())
    assert block.ahead() == [START]


def test_in_doubt_nothing_waits() -> None:
    block = Block()
    assert block.keeps("SAVEPOINT `a`")
    block.note(Exception(1213, "deadlock"))
    assert block.in_doubt
    assert not block.keeps("SAVEPOINT `b`")


@pytest.mark.parametrize("args", [(), ("not all arguments converted",), *((n,) for n in HARMLESS)])
def test_an_error_of_a_statement_alone_brings_no_doubt(args: tuple[object, ...]) -> None:
    block = Block()
    block.note(Exception(*args))
    assert not block.in_doubt


def test_what_could_not_be_sent_goes_on_waiting() -> None:
    block = Block()
    assert block.keeps("SAVEPOINT `a`")
    assert block.keeps("SAVEPOINT `b`")
    assert block.ahead() == [START, b"SAVEPOINT `a`", b"SAVEPOINT `b`"]
    block.sent()
    block.sent()
    assert block.ahead() == [b"SAVEPOINT `b`"]
    block.restart()
    assert block.ahead() == [START]
    assert not block.keeps("RELEASE SAVEPOINT `a`")
