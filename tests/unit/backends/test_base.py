"""The wrapper before its first connection."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection, connections
from django.db.backends.mysql.base import DatabaseWrapper as StockWrapper
from django.db.utils import ConnectionHandler

from mysqlpool import close_pool
from tests.helpers import run_threads


def test_the_backend_subclasses_djangos_and_changes_nothing_global() -> None:
    assert isinstance(connection, StockWrapper) or isinstance(connections["default"], StockWrapper)
    assert StockWrapper.connect.__module__ == "django.db.backends.base.base"
    assert type(connections["stock"]) is StockWrapper


def test_the_wrapper_has_no_close_pool_for_celery_to_call() -> None:
    assert not hasattr(connections["default"], "close_pool")


def test_bad_pool_settings_are_refused_when_the_wrapper_is_made() -> None:
    databases = {
        alias: {**settings, "OPTIONS": {"pool": {"pool_sise": 5}}}
        for alias, settings in connections.settings.items()
        if alias == "default"
    }
    close_pool()
    with pytest.raises(ImproperlyConfigured, match="did you mean 'pool_size'"):
        ConnectionHandler(databases)["default"]


def test_a_lock_of_djangos_that_a_signal_left_taken_makes_nobody_wait() -> None:
    """From Python 3.14 on, a handler that raises as ``with lock:`` begins leaves the lock taken.

    Django takes this one to read a number, for each cursor and in ``close()``. The thread whose
    wrapper it belongs to would wait for itself for ever.
    """

    def work() -> None:
        wrapper = connections["default"]
        assert wrapper._thread_sharing_lock.acquire(blocking=False)  # type: ignore[attr-defined]
        wrapper.validate_thread_sharing()
        wrapper.close()

    run_threads(work)


def test_a_wrapper_is_of_one_thread_until_it_is_shared() -> None:
    wrapper = connections["default"]
    with pytest.raises(DatabaseError, match="can only be used in that same thread"):
        run_threads(wrapper.validate_thread_sharing)
    wrapper.inc_thread_sharing()
    try:
        run_threads(wrapper.validate_thread_sharing)
    finally:
        wrapper.dec_thread_sharing()
    assert not wrapper.allow_thread_sharing
