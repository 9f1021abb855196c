"""A release amid a statement, as a signal handler or a finalizer may do it, mixes up no holders.

What was interrupted goes on afterwards. Its session must not be anybody else's by then: else its
statement would be a part of another holder's transaction, or its COMMIT that one's end.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from typing import Any

import django.db
import MySQLdb
import pytest
from django.db import Error, connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.db.utils import ConnectionHandler

import mysqlpool
from mysqlpool import close_pool, release_connections
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from mysqlpool.session.set_up import NO_SET_UP
from tests.helpers import HANG

from .moments import At, places

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.moments]

# Where a handler may come with a lease at hand: in our code, the driver's and Django's.
PLACES = places(mysqlpool, MySQLdb, django.db)


class ReleaseAt(At):
    """A profile function that releases once, at the ``number``-th call, and has another thread
    lease: see `tests.server.backends.test_any_call`, where it raises.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number, self.release, PLACES)
        self.sent: list[int] = []
        self.leased, self.over = threading.Event(), threading.Event()
        self.other = threading.Thread(target=self.hold)

    def release(self) -> None:
        release_connections()
        self.other.start()
        assert self.leased.wait(HANG)

    def hold(self) -> None:
        """Lease for a transaction, and count what the server was sent meanwhile."""
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT 1")
                before = self.questions(cursor)
                self.leased.set()
                assert self.over.wait(HANG)
                self.sent.append(self.questions(cursor) - before)
        finally:
            self.leased.set()
            release_connections()

    @staticmethod
    def questions(cursor: Any) -> int:
        cursor.execute("SHOW SESSION STATUS LIKE 'Questions'")
        return int(cursor.fetchone()[1])


def ask() -> None:
    with connection.cursor() as cursor:
        cursor.execute("DO 1")


def call() -> None:
    with connection.cursor() as cursor:
        cursor.callproc("no_such_procedure", (1,))


def end_a_block() -> None:
    with transaction.atomic():
        ask()


def undo_a_block() -> None:
    with transaction.atomic():
        ask()
        transaction.set_rollback(True)


@pytest.fixture(params=["task", "transaction"])
def lease(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    settings = connections["default"].settings_dict
    pool = {"pool_size": 3, "timeout": HANG, "lease": request.param}
    monkeypatch.setitem(settings, "OPTIONS", {"pool": pool})
    yield
    release_connections()
    close_pool()


def say(connection: BaseDatabaseWrapper, **_: object) -> None:
    """A receiver, so that each connection is connected, with a set-up of its own."""
    connection.connection.encoders[str] = connection.connection.string_literal
    with connection.cursor() as cursor:
        cursor.execute("SET @tenant = 1")


@pytest.fixture(params=[False, True], ids=["", "heard"])
def heard(request: pytest.FixtureRequest) -> Iterator[bool]:
    if request.param:
        connection_created.connect(say)
    yield request.param
    connection_created.disconnect(say)


def mixed_up_by(work: Callable[[], None], calls: int = 50) -> list[str]:
    """At which calls of this work a release gives away what it goes on with. It is done again and
    again, until there is no further call; there are more than so many.
    """
    number, mixed_up = 0, []
    while True:
        release = ReleaseAt(number)
        try:
            sys.setprofile(release)
            work()
        except (Error, AttributeError):
            pass  # As where Django's engine closes its connection amid a statement.
        finally:
            sys.setprofile(None)
            release.over.set()
        if release.place is None:
            break
        release.other.join(HANG)
        if release.sent != [1]:
            mixed_up.append(release.place)
        wrapper = connections["default"]
        assert isinstance(wrapper, DatabaseWrapper)
        wrapper.close()
        assert wrapper.tenure.set_up is NO_SET_UP, release.place
        if wrapper.in_atomic_block:
            del connections["default"]
        number += 1
    assert number > calls
    return mixed_up


@pytest.mark.parametrize("work", [ask, call, end_a_block, undo_a_block])
def test_a_release_at_any_call_gives_nobody_a_session_that_is_in_use(
    lease: None, heard: bool, work: Callable[[], None]
) -> None:
    assert mixed_up_by(work) == []


class Speaking(DatabaseWrapper):
    """An engine that speaks when it has connected."""

    def connect(self) -> None:
        super().connect()
        with self.cursor() as cursor:
            cursor.execute("SET @tenant = 2")


class Asking(DatabaseWrapper):
    """An engine that asks the session itself, by the driver's method."""

    def ensure_connection(self) -> None:
        was_connected = self.connection is not None
        super().ensure_connection()
        if not was_connected and self.connection is not None:
            self.connection.query("SET @tenant = 3")


@pytest.mark.parametrize("engine", [Speaking, Asking])
def test_it_does_not_either_with_an_engine_that_speaks_after_connecting(
    lease: None, engine: type[DatabaseWrapper], monkeypatch: pytest.MonkeyPatch
) -> None:
    def create(self: ConnectionHandler, alias: str) -> DatabaseWrapper:
        return engine(self.settings[alias], alias)

    def work() -> None:
        with suppress(MySQLdb.Error) if engine is Asking else nullcontext():
            undo_a_block()

    del connections["default"]
    with monkeypatch.context() as patch:
        patch.setattr(ConnectionHandler, "create_connection", create)
        assert mixed_up_by(work) == []
        release_connections()
    del connections["default"]


@pytest.mark.parametrize(
    "use",
    [
        lambda session: session.query("DO 1"),
        lambda session: session.query("SET @mine = 1"),
        lambda session: session.commit(),
        lambda session: session.rollback(),
        lambda session: session.select_db(connection.settings_dict["NAME"]),
        lambda session: session.set_character_set("utf8mb4", "utf8mb4_bin"),
    ],
)
def test_it_does_not_amid_a_method_of_the_session_that_is_called_by_hand(
    lease: None, use: Callable[[Any], None]
) -> None:
    """As that begins nobody can know: then it is as if the release came before."""
    begins = {"Session.query (call)", "_working.<locals>.working (call)"}

    def work() -> None:
        with suppress(MySQLdb.Error):  # What a method of the driver's raises.
            connection.ensure_connection()
            use(connection.connection)

    assert set(mixed_up_by(work, calls=20)) <= begins
