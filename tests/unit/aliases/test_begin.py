"""How transactions begin is asked of the server, which may not know the question."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import MySQLdb
import pytest

from mysqlpool.aliases.alias_pool import AliasPool


class Session:
    """Answers with a value, or by an error."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer, self.is_closed = answer, False

    def ask(self, sql: bytes) -> str:
        assert sql == b"SELECT @@completion_type"
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def close(self) -> None:
        self.is_closed = True


def asked(session: Session, begin: str = "statement") -> str:
    pool: Any = SimpleNamespace(alias="default", settings=SimpleNamespace(begin=begin))
    return AliasPool._asked_how_to_begin(pool, session)  # type: ignore[arg-type]


def test_a_server_that_chains_transactions_has_them_begin_by_autocommit() -> None:
    assert asked(Session("NO_CHAIN")) == "statement"
    assert asked(Session("CHAIN")) == "autocommit"
    assert asked(Session("RELEASE")) == "autocommit"


def test_a_server_that_does_not_know_of_chains_makes_none() -> None:
    unknown = MySQLdb.OperationalError(1193, "Unknown system variable 'completion_type'")
    assert asked(Session(unknown)) == "statement"


def test_where_it_cannot_be_found_out_the_session_is_closed() -> None:
    session = Session(MySQLdb.OperationalError(2013, "Lost connection"))
    with pytest.raises(MySQLdb.OperationalError, match="2013"):
        asked(session)
    assert session.is_closed


def test_who_wants_autocommit_asks_nothing() -> None:
    assert asked(Session(AssertionError("asked")), "autocommit") == "autocommit"
