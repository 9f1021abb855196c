"""Unscoped leases, of threads for which nobody releases: counted, told of, or refused."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connection, connections
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django.urls import path

from mysqlpool import (
    PooledThreadPoolExecutor,
    auto_close_db,
    close_pool,
    release_connections,
    stats,
)
from mysqlpool.errors import PoolError, UnscopedLease
from tests.helpers import HANG, error_of, run_threads, session_id
from tests.rows.models import Row

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def alias_with(**pool: Any) -> Iterator[None]:
    settings = connections["default"].settings_dict
    before = settings["OPTIONS"]
    release_connections()
    settings["OPTIONS"] = {"pool": {"pool_size": 4, "timeout": HANG, **pool}}
    try:
        yield
    finally:
        release_connections()
        close_pool()
        settings["OPTIONS"] = before


def unscoped() -> int:
    return stats()["default"].unscoped


def ask() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


def ask_and_release() -> None:
    ask()
    release_connections()


def ask_elsewhere() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 2")
    release_connections()


# Views, without our middleware: Django ends the lease as the request finishes.


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(session_id()))


async def async_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(await sync_to_async(session_id)()))


async def view_with_thread(request: HttpRequest) -> HttpResponse:
    await asyncio.to_thread(ask_and_release)
    return HttpResponse()


urlpatterns = [path(one.__name__, one) for one in (view, async_view, view_with_thread)]


@pytest.fixture
def site(settings: Any) -> None:
    settings.ROOT_URLCONF, settings.MIDDLEWARE = __name__, []
    settings.ALLOWED_HOSTS, settings.DEBUG_PROPAGATE_EXCEPTIONS = ["*"], True


def wsgi(name: str) -> bytes:
    """As a server's thread would, from the request to the close of the response."""
    environ = RequestFactory().get(f"/{name}").environ
    handler: Any = WSGIHandler()
    response = handler(environ, lambda *args: None)
    content = b"".join(response)
    response.close()
    return content


def asgi(name: str) -> None:
    """In a new event loop, as a server's main thread would."""

    async def serve() -> None:
        scope = {
            "type": "http",
            "method": "GET",
            "path": f"/{name}",
            "query_string": b"",
            "headers": [],
            "http_version": "1.1",
        }
        communicator = ApplicationCommunicator(ASGIHandler(), scope)
        await communicator.send_input({"type": "http.request", "body": b""})
        while (await communicator.receive_output(HANG)).get("more_body", True):
            pass
        await communicator.wait(HANG)

    asyncio.run(serve())


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
@pytest.mark.parametrize(
    ("work", "count"),
    [(ask_and_release, 1), (auto_close_db(ask), 0), (auto_close_db(session_id), 0)],
)
def test_a_thread_is_counted_that_lacks_a_scope(
    name: str, work: Callable[[], Any], count: int
) -> None:
    with alias_with(**{"class": name, "lease": "task"}):
        ask()
        assert unscoped() == 0, "the main thread, as of a management command"
        run_threads(work)
        assert unscoped() == count


def test_with_transaction_tenure_each_statements_lease_is_counted() -> None:
    def three() -> None:
        for _ in range(3):
            ask()
        release_connections()

    with alias_with(lease="transaction"):
        run_threads(three, auto_close_db(three))
        assert (unscoped(), stats()["default"].leases) == (3, 6)


def test_a_lease_by_way_of_sqlalchemy_is_counted_once() -> None:
    with alias_with(lease="task", pre_ping=True):
        run_threads(ask_and_release, auto_close_db(ask))
        assert (unscoped(), stats()["default"].leases) == (1, 2)


def test_tasks_of_our_executor_are_in_a_scope() -> None:
    with alias_with(unscoped="raise"), PooledThreadPoolExecutor(2) as executor:
        for future in [executor.submit(ask) for _ in range(4)]:
            future.result(HANG)
        assert unscoped() == 0


@pytest.mark.usefixtures("site")
@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_a_request_is_a_scope_without_our_middleware_too(lease: str) -> None:
    with alias_with(lease=lease, unscoped="raise"):
        run_threads(lambda: wsgi("view"))
        asgi("async_view")
        asgi("view")
        assert (unscoped(), stats()["default"].in_use) == (0, 0)


@pytest.mark.usefixtures("site")
def test_a_thread_that_a_request_starts_is_not_in_it() -> None:
    with alias_with(lease="task"):
        asgi("view_with_thread")
        assert unscoped() == 1


def test_a_coroutines_leases_are_in_its_scope() -> None:
    async def inside() -> None:
        async with ThreadSensitiveContext(), auto_close_db():
            await Row.objects.acount()

    async def outside() -> None:
        async with ThreadSensitiveContext():  # In a thread that no request was ever in.
            await Row.objects.acount()
            await sync_to_async(release_connections)()

    with alias_with(lease="task"):
        asyncio.run(inside())
        assert unscoped() == 0
        asyncio.run(outside())
        assert unscoped() == 1


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_a_place_is_told_of_once(name: str, caplog: pytest.LogCaptureFixture) -> None:
    with alias_with(**{"class": name, "lease": "task", "unscoped": "warn"}):
        for _ in range(3):
            run_threads(ask_and_release)
        thread = threading.Thread(target=ask_elsewhere, name="worker-7")
        thread.start()
        thread.join(HANG)
        assert unscoped() == 4
    found: list[Any] = [r for r in caplog.records if getattr(r, "event", "") == "lease_unscoped"]
    assert [record.levelno for record in found] == [logging.WARNING] * 2
    places = [record.fields["leased_at"] for record in found]
    assert [place.rpartition(" ")[2] for place in places] == ["ask", "ask_elsewhere"]
    assert all(place.startswith(f"{__file__}:") for place in places)
    assert found[1].fields["holder"] == "worker-7"


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_a_lease_is_refused_each_time_and_leaves_the_thread_as_it_was(
    name: str, lease: str
) -> None:
    def work() -> list[Any]:
        errors = [error_of(ask), error_of(ask)]
        with auto_close_db():
            ask()
        return errors

    with alias_with(**{"class": name, "lease": lease, "unscoped": "raise"}):
        ask()
        [[first, second]] = run_threads(work)
        found = stats()["default"]
        assert (found.unscoped, found.leases, found.discards) == (2, 2, {})
    assert isinstance(first, UnscopedLease)
    assert isinstance(second, UnscopedLease)
    assert not isinstance(first, PoolError), "who tries again on those would do so in vain"
    assert first.alias == "default"
    assert first.leased_at.endswith("in ask")
    assert first.leased_at in str(first)
    assert first.thread_name in str(first)
