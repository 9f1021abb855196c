"""A real server that is down, and comes back."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection

from mysqlpool import auto_close_db, stats
from mysqlpool.errors import PoolTimeout
from tests.fake_driver import until
from tests.helpers import HANG, error_of, run_threads, session_id
from tests.server import PrivateServer
from tests.server.pointed import pointed

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def own_server(flavour: str) -> Iterator[PrivateServer]:
    """A server that a test may kill, and starts again."""
    with PrivateServer(flavour=flavour) as server:
        yield server


def place(server: PrivateServer) -> dict[str, Any]:
    return {
        "HOST": server.host,
        "PORT": server.port,
        "USER": server.user,
        "PASSWORD": server.password,
        "NAME": server.name,
    }


def test_an_absent_server_fails_at_once_by_default(own_server: PrivateServer) -> None:
    own_server.kill()
    try:
        with pointed(**place(own_server), OPTIONS={"pool": {"timeout": HANG}}):
            error = error_of(session_id)
    finally:
        own_server.start()
    assert isinstance(error, OperationalError)
    assert not isinstance(error, PoolTimeout)
    assert error.args[0] in (2002, 2003)


def test_waiting_for_a_server_that_stays_away_ends_with_the_timeout(
    own_server: PrivateServer,
) -> None:
    own_server.kill()
    pool = {"timeout": 0.5, "wait_for_server": True}
    try:
        with pointed(**place(own_server), OPTIONS={"pool": pool}):
            started = time.monotonic()
            error = error_of(session_id)
            assert time.monotonic() - started < HANG / 3
            snapshot = stats()["default"]
    finally:
        own_server.start()
    assert isinstance(error, PoolTimeout)
    assert error.refusal is not None
    assert error.refusal.args[0] in (2002, 2003)
    assert str(error.refusal.args[0]) in str(error)
    assert snapshot.connect_errors > 1
    assert snapshot.waits == 1
    assert snapshot.in_use == 0


def test_the_first_of_many_waiters_is_served_within_a_second_of_the_servers_return(
    own_server: PrivateServer,
) -> None:
    """And all of them by as many sessions as there may be; nobody sees an error."""
    served: list[float] = []
    back: list[float] = []

    @auto_close_db
    def work() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
        served.append(time.monotonic())

    def bring_back() -> None:
        until(lambda: stats()["default"].waiting >= 36)
        until(lambda: stats()["default"].connect_errors > 6)  # the intervals are at their longest
        own_server.start()
        back.append(time.monotonic())

    own_server.kill()
    pool = {"pool_size": 4, "timeout": 2 * HANG, "wait_for_server": True}
    with pointed(**place(own_server), OPTIONS={"pool": pool}):
        try:
            helper = threading.Thread(target=bring_back)
            helper.start()
            run_threads(*[work] * 40)
            helper.join(HANG)
            snapshot = stats()["default"]
        finally:
            if not back:
                own_server.start()
    assert len(served) == 40
    assert min(served) - back[0] < HANG / 3
    assert snapshot.connects <= 4
    assert snapshot.timeouts == 0
