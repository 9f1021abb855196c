"""A signal handler or a finalizer that uses the connection amid a statement mixes up nobody.

What it asks is its own thread's, and what it leaves stays with that. In `test_released_amid` it
releases.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import django.db
import MySQLdb
import pytest
from django.db import Error, connection, connections, transaction
from django.db.backends.signals import connection_created

import mysqlpool
from mysqlpool import close_pool, release_connections
from tests.helpers import HANG, without_logging

from .moments import At, places

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.moments]

PLACES = places(mysqlpool, MySQLdb, django.db)
local = threading.local()


@pytest.fixture(params=["task", "transaction"])
def lease(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    settings = connections["default"].settings_dict
    pool = {"pool_size": 3, "timeout": HANG, "lease": request.param}
    monkeypatch.setitem(settings, "OPTIONS", {"pool": pool})
    with without_logging():
        yield request.param
    release_connections()
    close_pool()


def execute(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


def ask() -> None:
    execute("DO 1")


def block() -> None:
    with transaction.atomic():
        ask()


def change_session() -> None:
    execute("SET SESSION group_concat_max_len = 5001")


def begin() -> None:
    execute("START TRANSACTION")


def moments(
    work: Callable[[], object],
    do: Callable[[], object],
    *,
    prepare: Callable[[], object] = lambda: None,
    more_than: int = 40,
) -> Iterator[str]:
    """Work again and again, and do something at each moment in its turn, which is given."""
    number = 0
    while True:
        prepare()
        at = At(number, do, PLACES)
        try:
            sys.setprofile(at)
            work()
        except Error:
            pass  # Whose statement was under way is told so.
        finally:
            sys.setprofile(None)
        if at.place is None:
            break
        yield at.place
        number += 1
    assert number > more_than


def in_thread(function: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(function).result(HANG)


def released(sql: str) -> Any:
    """What another thread is answered."""

    def run() -> Any:
        try:
            return execute(sql)
        except Error as error:
            return str(error)
        finally:
            release_connections()

    return in_thread(run)


# MySQL refuses this one with error 1568 where a transaction is open.
IS_OPEN = {"mariadb": "SELECT @@in_transaction", "mysql": "SET TRANSACTION READ WRITE"}[
    os.environ["MYSQLPOOL_SERVER"]
]


@pytest.mark.parametrize("work", [ask, block])
@pytest.mark.parametrize(
    ("do", "question"),
    [(change_session, "SELECT @@group_concat_max_len"), (begin, IS_OPEN)],
    ids=["session", "transaction"],
)
def test_what_it_leaves_reaches_no_other_holder(
    lease: str, work: Callable[[], None], do: Callable[[], None], question: str
) -> None:
    usual = released(question)
    bad = []

    def leave() -> None:
        with suppress(Error):  # Amid an exchange of the session it is told so.
            do()

    for place in moments(work, leave):
        if released(question) != usual:
            bad.append(place)
        release_connections()
        if connection.in_atomic_block:
            del connections["default"]
    assert bad == []


def say(connection: Any, **_: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"SET SESSION group_concat_max_len = {local.said}")


def look() -> int:
    answer: int = execute("SELECT @@group_concat_max_len")[0]
    return answer


def as_another(said: int) -> int:
    """What another thread reads that says so as it connects, and releases."""

    def run() -> int:
        local.said = said
        try:
            return look()
        finally:
            release_connections()

    return in_thread(run)  # type: ignore[no-any-return]


def test_what_it_asks_leaves_no_session_with_a_set_up_that_it_does_not_have(lease: str) -> None:
    """Its query makes the session renewed amid a set-up, which would be noted as said then."""
    connection_created.connect(say)
    bad: list[object] = []
    local.said = 5000

    def ask_amid() -> None:
        with suppress(Error):
            look()

    try:
        as_another(6000)
        for place in moments(look, ask_amid):
            try:
                later = look()
            except Error as error:
                bad.append((place, error))
            else:
                if later != 5000:
                    bad.append((place, "itself", later))
            release_connections()
            innocent = as_another(5000)
            if innocent != 5000:
                bad.append((place, "another", innocent))
            as_another(6000)  # What the next one's session carries.
    finally:
        connection_created.disconnect(say)
    assert bad == []


def mark(connection: Any, **_: object) -> None:
    connection.connection.encoders[str] = connection.connection.string_literal


class Alarm(Exception):
    """What a soft time limit raises, for instance."""


def test_an_alarm_leaves_no_half_of_the_drivers_state(
    lease: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with converters that are missing, by which numbers would be bytes."""
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)  # A finalizer is hit, too.
    connection_created.connect(mark)
    bad: list[object] = []

    def alarm() -> None:
        raise Alarm

    def work() -> None:
        for _ in range(2):
            with suppress(Alarm):
                execute("SELECT 1, 'a'")

    try:
        for place in moments(work, alarm):
            for _ in range(2):
                try:
                    answer = execute("SELECT 1, 'a'")
                except Error:
                    continue  # The exchange that it came amid goes on, as on Django's engine.
                except Exception as error:
                    answer = error
                if answer != (1, "a"):
                    bad.append((place, answer))
            release_connections()
    finally:
        connection_created.disconnect(mark)
    assert bad == []


def test_a_cursor_that_it_closes_gives_no_session_away_that_is_used_by_hand() -> None:
    """But as the method begins: who has the session in hand is not known of yet."""
    settings = connections["default"].settings_dict
    mixed_up = []
    before = settings["OPTIONS"]
    settings["OPTIONS"] = {"pool": {"pool_size": 3, "timeout": HANG, "lease": "transaction"}}
    begun, over = threading.Event(), threading.Event()
    sent: list[int] = []

    def questions() -> int:
        return int(execute("SHOW SESSION STATUS LIKE 'Questions'")[1])

    def hold() -> None:
        try:
            with transaction.atomic():
                ask()
                count = questions()
                begun.set()
                assert over.wait(HANG)
                sent.append(questions() - count)
        finally:
            begun.set()
            release_connections()

    def interrupt() -> None:
        ask()
        other.start()
        assert begun.wait(HANG)

    sessions: list[Any] = []

    def take() -> None:
        connection.ensure_connection()
        sessions[:] = [connection.connection]

    def work() -> None:
        sessions[0].query("DO 2")

    try:
        other = threading.Thread(target=hold)
        for place in moments(work, interrupt, prepare=take, more_than=5):
            over.set()
            other.join(HANG)
            if sent != [1]:
                mixed_up.append(place)
            release_connections()
            begun.clear()
            over.clear()
            sent.clear()
            other = threading.Thread(target=hold)
    finally:
        sys.setprofile(None)
        release_connections()
        close_pool()
        settings["OPTIONS"] = before
    assert mixed_up == ["Session.query (call)"]
