"""A transaction that the server ended is known to be over, also where its error is told to nobody.

What follows in its block would be committed statement by statement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import MySQLdb
import pytest
from django.db import OperationalError, connections, transaction
from MySQLdb.cursors import Cursor, SSCursor

from mysqlpool.session.session import Session

from .modes import LEASES, pool
from .programs import insert
from .world import FIRST, OURS, SECOND, STOCK, World, alias

WANT_FIRST = f"UPDATE duel SET n = n + 1 WHERE id = {FIRST}"
WANT_SECOND = f"UPDATE duel SET n = n + 1 WHERE id = {SECOND}"


class Alarm(BaseException):
    """What a signal handler raises."""


class Boom(Exception):
    """The application's own."""


@pytest.fixture(params=["stock", *LEASES])
def name(request: pytest.FixtureRequest, here: World) -> Iterator[str]:
    here.begin_anew()
    if request.param == "stock":
        with alias("begin", STOCK) as name:
            yield name
    else:
        with alias("begin", OURS, OPTIONS={"pool": pool("fused", request.param)}) as name:
            yield name


def raise_alarm(*args: Any) -> None:
    raise Alarm


def run(name: str, *texts: str) -> None:
    with connections[name].cursor() as cursor:
        for text in texts:
            cursor.execute(text)


def assert_all_is_undone(name: str, here: World, lose: Callable[[], Any]) -> None:
    """In a block that loses a deadlock in some way, goes on with a write, and fails."""
    with contextlib.suppress(Boom), transaction.atomic(using=name):
        with here.duel() as attack:
            run(name, WANT_FIRST)
            attack()
            lose()
        run(name, insert(5))
        raise Boom
    assert here.look()[0] == ()


def test_an_error_of_a_result_that_nobody_read(here: World, name: str) -> None:
    """Django passes over what a cursor's close() raises."""
    assert_all_is_undone(name, here, lambda: run(name, f"SELECT 1; {WANT_SECOND}"))


def test_an_error_of_a_result_that_a_savepoint_passes_over(here: World, name: str) -> None:
    def lose() -> None:
        with pytest.raises(OperationalError, match="1213"):
            run(name, f"SELECT 1; {WANT_SECOND}", "SAVEPOINT `a`")

    assert_all_is_undone(name, here, lose)


@pytest.mark.parametrize("kind", [Cursor, SSCursor])
@pytest.mark.parametrize("condition", ["id", "id + n"])
def test_an_error_told_to_a_cursor_that_was_made_by_hand(
    here: World, name: str, kind: Any, condition: str
) -> None:
    """It comes with the answer, or as the rows are read."""

    def lose() -> None:
        cursor = kind(connections[name].connection)
        with pytest.raises(MySQLdb.OperationalError, match="1213"):
            cursor.execute(f"SELECT n FROM duel WHERE {condition} >= {SECOND} FOR UPDATE")
            cursor.fetchall()
        with contextlib.suppress(MySQLdb.OperationalError):
            cursor.close()

    assert_all_is_undone(name, here, lose)


def test_an_error_that_a_signal_handler_hides(
    here: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that comes while a statement waits is handled at the next call of a function."""

    def lose() -> None:
        with monkeypatch.context() as patch, contextlib.suppress(Alarm, OperationalError):
            patch.setattr(Session, "note_failure", raise_alarm)
            run(name, WANT_SECOND)

    assert_all_is_undone(name, here, lose)


def test_a_commit_by_hand_that_a_signal_handler_interrupts(
    here: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    transaction.set_autocommit(False, using=name)
    run(name, insert(4))
    with monkeypatch.context() as patch, contextlib.suppress(Alarm):
        patch.setattr(Session, "_ended", raise_alarm)
        transaction.commit(using=name)
    run(name, insert(5))
    transaction.rollback(using=name)
    assert here.numbers() == [4]
    transaction.set_autocommit(True, using=name)


def test_a_signal_handler_that_raises_as_a_block_goes_on_in_djangos_way(
    here: World, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Autocommit is on again when the block is over."""
    send = Session._send

    def send_and_raise(self: Session, sql: bytes, dirty: str | None = None) -> None:
        send(self, sql, dirty)
        if b"autocommit" in sql:
            raise Alarm

    with transaction.atomic(using=name):
        run(name, insert(4))
        with monkeypatch.context() as patch, contextlib.suppress(Alarm):
            patch.setattr(Session, "_send", send_and_raise)
            run(name, "ANALYZE TABLE spare")
    run(name, insert(5))
    assert here.numbers() == [4, 5]
