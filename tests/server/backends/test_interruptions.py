"""What interrupts a wrapper, or is done to it by hand, costs no slot and mixes up no holders."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections
from django.db.backends.signals import connection_created

from mysqlpool import close_pool, release_connections, stats
from mysqlpool.session import session
from tests.helpers import run_threads

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


@pytest.fixture
def lease_mode(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    settings = connections["default"].settings_dict
    options = {"pool": {"pool_size": 3, "timeout": 3, "lease": request.param}}
    monkeypatch.setitem(settings, "OPTIONS", options)
    yield request.param
    release_connections()
    close_pool()


def out() -> int:
    return stats()["default"].in_use


transactional = pytest.mark.parametrize("lease_mode", ["transaction"], indirect=True)
both = pytest.mark.parametrize("lease_mode", ["transaction", "task"], indirect=True)


def one(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0] if cursor.description else None


@transactional
def test_a_cursor_left_open_by_a_failed_set_up_does_not_pin_the_later_lease(
    lease_mode: str,
) -> None:
    kept: list[Any] = []

    def receiver(sender: Any, connection: Any, **kwargs: Any) -> None:
        if not kept:
            kept.append(connection.cursor())
            raise ZeroDivisionError

    connection_created.connect(receiver)
    try:
        with pytest.raises(ZeroDivisionError):
            one("SELECT 1")
        one("SELECT 1")
        assert out() == 0
    finally:
        connection_created.disconnect(receiver)


@transactional
def test_a_cursor_open_at_a_fork_does_not_pin_the_childs_leases(lease_mode: str) -> None:
    one("SELECT 1")
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    pid = os.fork()
    if not pid:
        status = 9
        try:
            one("SELECT 1")
            status = out()
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    cursor.close()
    assert os.waitstatus_to_exitcode(status) == 0


class Alarm(BaseException):
    """What a signal handler raises."""


def ask_and_release() -> None:
    one("SELECT 1")
    release_connections()


def interrupted_close(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler raises as close() calls the first function inside of _close()."""

    def alarm(self: Any) -> None:
        raise Alarm

    with monkeypatch.context() as patch:
        patch.setattr(type(connections["default"]), "_remember_how_left", alarm)
        with pytest.raises(Alarm):
            release_connections()


@both
def test_an_interrupted_release_gives_the_slot_back(
    lease_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one("SET time_zone = '+02:00'")  # dirty, so it is held in either mode
    assert out() == 1
    interrupted_close(monkeypatch)
    gc.collect()
    release_connections()  # the next scope's end
    run_threads(ask_and_release)  # somebody tidies up
    assert out() == 0


@both
def test_after_an_interrupted_release_the_next_use_has_a_clean_session(
    lease_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+03:00'")
    interrupted_close(monkeypatch)
    gc.collect()
    # the thread goes on, as after Celery's SoftTimeLimitExceeded
    assert one("SELECT @@session.time_zone") != "+03:00"


@both
def test_what_an_interrupted_release_left_is_not_the_next_holders(
    lease_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receiver(sender: Any, **kwargs: Any) -> None: ...

    connection_created.connect(receiver)  # so that Django's connect() is not skipped
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+03:00'")
        interrupted_close(monkeypatch)
        gc.collect()
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        release_connections()
        seen: list[Any] = []

        def other() -> None:
            seen.append(one("SELECT @@session.time_zone"))
            release_connections()

        run_threads(other)
        assert seen != ["+03:00"]
    finally:
        connection_created.disconnect(receiver)


@both
def test_connect_by_hand_has_a_new_session_as_djangos(lease_mode: str) -> None:
    def receiver(sender: Any, **kwargs: Any) -> None: ...

    connection_created.connect(receiver)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+03:00'")
        connection.connect()
        assert one("SELECT @@session.time_zone") != "+03:00"
    finally:
        connection_created.disconnect(receiver)


@transactional
def test_a_collected_cursor_of_the_first_set_up_does_not_end_the_lease_under_a_new_cursor(
    lease_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receiver(sender: Any, connection: Any, **kwargs: Any) -> None:
        cursor = connection.cursor()
        cycle: list[Any] = [cursor]
        cycle.append(cycle)

    connection_created.connect(receiver)
    del connections["default"]  # A fresh wrapper, as each new thread has one.
    wrapper: Any = connections["default"]
    create = type(wrapper).create_cursor

    def collecting(self: Any, name: str | None = None) -> Any:
        gc.collect()  # It may run at any bytecode.
        return create(self, name)

    monkeypatch.setattr(type(wrapper), "create_cursor", collecting)
    gc.disable()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            assert out() == 1
    finally:
        gc.enable()
        connection_created.disconnect(receiver)


@transactional
def test_a_cursor_made_while_the_collector_runs_has_a_lease(
    lease_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, one bytecode later: the new cursor has no lease, so nothing ever revokes it."""

    def receiver(sender: Any, connection: Any, **kwargs: Any) -> None:
        cursor = connection.cursor()
        cycle: list[Any] = [cursor]
        cycle.append(cycle)

    connection_created.connect(receiver)
    del connections["default"]
    wrapper: Any = connections["default"]
    make = session.Session.cursor

    def collecting(self: Any, *args: Any) -> Any:
        made = make(self, *args)
        if wrapper.tenure.set_up is None:
            gc.collect()
        return made

    monkeypatch.setattr(session.Session, "cursor", collecting)
    gc.disable()
    try:
        cursor = connection.cursor()
        held = out()
        cursor.execute("SELECT CONNECTION_ID()")
        mine = cursor.fetchone()[0]
        seen: list[Any] = []
        if held == 0:  # Its session is idle, so another thread has it now.

            def other() -> None:
                with connection.cursor() as theirs:
                    theirs.execute("SELECT CONNECTION_ID()")
                    seen.append(theirs.fetchone()[0])
                    cursor.execute("SELECT 1")  # not refused: two holders of one session

            run_threads(other)
        assert held == 1, (mine, seen)
    finally:
        gc.enable()
        connection_created.disconnect(receiver)


def test_after_an_interrupted_release_a_pool_of_one_serves_its_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"pool": {"pool_size": 1, "timeout": 2}}
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    one("SELECT 1")
    release_connections()
    one("SELECT 1")
    interrupted_close(monkeypatch)
    gc.collect()
    one("SELECT 1")
    release_connections()
    close_pool()


@transactional
def test_a_session_that_another_thread_had_meanwhile_is_told_again_what_this_one_was_told(
    lease_mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither thread releases, and both get the only session in turns."""
    pool = {"pool_size": 1, "timeout": 3, "lease": lease_mode}
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {"pool": pool})
    zones = {threading.get_ident(): "+01:00"}

    def receiver(sender: Any, connection: Any, **kwargs: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"SET time_zone = '{zones.get(threading.get_ident(), '+02:00')}'")

    connection_created.connect(receiver)
    try:
        seen = [one("SELECT @@session.time_zone")]
        seen += run_threads(lambda: one("SELECT @@session.time_zone"))
        seen.append(one("SELECT @@session.time_zone"))
        assert seen == ["+01:00", "+02:00", "+01:00"]
    finally:
        connection_created.disconnect(receiver)
