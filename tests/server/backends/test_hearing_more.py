"""Further findings of a review."""

from __future__ import annotations

import contextlib
import signal
import threading
from typing import Any

import pytest
from django.db import connections

from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from mysqlpool.backends.mysqlpool.client import with_password
from mysqlpool.errors import PoolError

from .test_hearing import ALIAS, closed, fetch, settings  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True, databases=["default"])


def test_a_signal_handler_that_asks_in_vain_does_not_spoil_the_request_it_interrupts() -> None:
    own = settings({"lease": "task", "max_waiting": 1})
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        wrapper = DatabaseWrapper(own, ALIAS)
        fetch(wrapper, "SELECT 1")
        with wrapper.cursor() as cursor:
            cursor.execute("SET @x = 1")  # Its session is discarded.
        held.set()
        go.wait(20)
        wrapper.close()

    def handler(*_: Any) -> None:
        with contextlib.suppress(PoolError, Exception):
            fetch(DatabaseWrapper(own, ALIAS), "SELECT 1")
        go.set()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(20)
    former = signal.signal(signal.SIGALRM, handler)
    wrapper = DatabaseWrapper(own, ALIAS)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        assert fetch(wrapper, "SELECT 1") == (1,)
    finally:
        signal.signal(signal.SIGALRM, former)
        go.set()
        thread.join()
        wrapper.close()


def test_dbshell_gives_connect_args_what_a_connect_gives() -> None:
    def renew(params: dict[str, Any]) -> dict[str, Any]:
        return {**params, "password": f"token for {params['database']}"}

    own = settings({"connect_args": renew})
    assert (
        with_password(own)["PASSWORD"]
        == f"token for {connections['default'].settings_dict['NAME']}"
    )
