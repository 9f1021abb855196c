"""release_connections: ends this thread's leases, and only those."""

from __future__ import annotations

import logging
import threading
from typing import Any
from unittest import mock

import pytest
from django.db import connection, connections, transaction
from django.utils.connection import ConnectionDoesNotExist

from mysqlpool import release_connections
from tests.helpers import in_thread, lease_all, leased
from tests.rows.models import Row

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other", "stock"])


def test_every_alias_of_this_thread_is_released() -> None:
    lease_all("default", "other")
    release_connections()
    assert leased() == []


def test_only_the_named_aliases_are_released() -> None:
    lease_all("default", "other")
    release_connections("other")
    assert leased() == ["default"]
    lease_all("other")
    release_connections(using=["default", "other"])
    assert leased() == []


def test_connections_of_other_engines_are_closed_too(observer: Any) -> None:
    lease_all("stock")
    session = connections["stock"].connection.thread_id()
    release_connections()
    assert connections["stock"].connection is None
    observer.until(lambda: session not in observer.sessions())


def test_another_threads_lease_is_left_alone() -> None:
    holding, done = threading.Event(), threading.Event()

    def hold() -> bool:
        lease_all("default")
        holding.set()
        done.wait(20)
        return leased() == ["default"]

    with in_thread(hold) as result:
        assert holding.wait(20)
        release_connections()
        done.set()
    assert result.value is True


def test_an_alias_inside_atomic_is_left_alone_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "mysqlpool"), transaction.atomic():
        row = Row.objects.create(text="inside")
        lease_all("other")
        release_connections()
        assert leased() == ["default"]
        assert Row.objects.get() == row
    assert [getattr(record, "event", None) for record in caplog.records] == ["release_in_atomic"]
    assert "default" in caplog.text
    assert Row.objects.count() == 1


@pytest.mark.parametrize("using", ["missing", ["default", "missing"]])
def test_an_unknown_alias_is_named_and_nothing_is_released(using: Any) -> None:
    lease_all("default")
    with pytest.raises(ConnectionDoesNotExist, match=r"'missing'.*'default'"):
        release_connections(using)
    assert leased() == ["default"]


def failing_close(alias: str, error: BaseException) -> Any:
    return mock.patch.object(connections[alias], "close", side_effect=error)


def test_an_error_on_one_alias_is_raised_after_the_others_are_released() -> None:
    lease_all("default", "other")
    error = OSError("close failed")
    with failing_close("default", error), pytest.raises(OSError, match="close failed") as caught:
        release_connections()
    assert caught.value is error
    assert any("'default'" in note for note in error.__notes__)
    assert leased() == ["default"]


def test_of_several_errors_one_is_raised_and_the_others_are_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lease_all("default", "other")
    errors = OSError("close of default"), OSError("close of other")
    first, second = failing_close("default", errors[0]), failing_close("other", errors[1])
    with first, second, pytest.raises(OSError, match="close of default"):
        release_connections()
    assert "close of other" in caplog.text


def test_an_error_of_the_release_never_hides_the_applications_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lease_all("default", "other")
    failing = failing_close("default", OSError("close failed"))
    with failing, pytest.raises(ValueError, match="the application's"):
        try:
            raise ValueError("the application's")
        finally:
            release_connections()
    assert "close failed" in caplog.text
    assert leased() == ["default"]


def test_a_keyboard_interrupt_during_the_release_is_not_kept_back() -> None:
    lease_all("default", "other")
    with failing_close("default", KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        try:
            raise ValueError
        finally:
            release_connections()
    assert leased() == ["default"]


def test_a_transaction_left_open_by_hand_is_rolled_back() -> None:
    transaction.set_autocommit(False)
    Row.objects.create(text="never committed")
    release_connections()
    assert connection.connection is None
    assert Row.objects.count() == 0
    assert transaction.get_autocommit() is True


def test_another_threads_connection_is_left_to_that_thread() -> None:
    """As LiveServerTestCase gives its own to the threads of its server."""
    wrapper = connections["default"]
    lease_all("default")
    wrapper.inc_thread_sharing()

    def work() -> None:
        connections["default"] = wrapper
        lease_all("default")
        release_connections()

    try:
        with in_thread(work):
            pass
        assert leased() == ["default"]
    finally:
        wrapper.dec_thread_sharing()
    release_connections()
    assert leased() == []
