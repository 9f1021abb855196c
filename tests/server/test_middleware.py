"""ReleaseConnectionsMiddleware, through Django's own WSGI and ASGI handlers."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.db import connections
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.template import engines
from django.template.response import TemplateResponse
from django.test import RequestFactory
from django.urls import path

from mysqlpool.aliases import registry
from mysqlpool.middleware import ReleaseConnectionsMiddleware
from tests.helpers import HANG, leased, session_id
from tests.rows.models import Row

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other", "stock"])


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(session_id()))


def failing(request: HttpRequest) -> HttpResponse:
    session_id()
    raise ValueError("the view's")


def template(request: HttpRequest) -> HttpResponse:
    return TemplateResponse(
        request,
        engines["django"].from_string("{% for r in rows %}{{ r }}{% endfor %}"),
        {"rows": Row.objects.all()},
    )


def numbers() -> Iterator[str]:
    for _ in range(3):
        yield f"{session_id()} "


def streaming(request: HttpRequest) -> StreamingHttpResponse:
    session_id()
    return StreamingHttpResponse(numbers())


def broken_stream(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[str]:
        yield str(session_id())
        raise ValueError("the stream's")

    return StreamingHttpResponse(chunks())


def a_file(request: HttpRequest) -> FileResponse:
    session_id()
    return FileResponse(io.BytesIO(b"content"))


async def async_plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(await sync_to_async(session_id)()))


async def async_streaming(request: HttpRequest) -> StreamingHttpResponse:
    async def chunks() -> AsyncIterator[str]:
        for _ in range(3):
            yield f"{await sync_to_async(session_id)()} "

    return StreamingHttpResponse(chunks())


VIEWS: list[Callable[..., Any]] = [
    plain, failing, template, streaming, broken_stream, a_file, async_plain, async_streaming,
]  # fmt: skip
urlpatterns = [path(view.__name__, view) for view in VIEWS]


@pytest.fixture(autouse=True)
def only_our_middleware(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["mysqlpool.middleware.ReleaseConnectionsMiddleware"]
    settings.DEBUG_PROPAGATE_EXCEPTIONS = False
    settings.ALLOWED_HOSTS = ["*"]


def checked_out() -> int:
    pool: Any = registry.pools()["default"].pool
    return int(pool.checkedout())


def start_response(*args: Any) -> Any:
    """What a WSGI server has; here the response itself is looked at."""


def wsgi(name: str) -> Any:
    """The response as a WSGI server gets it: begun, not yet sent, not yet closed."""
    request = RequestFactory().get(f"/{name}")
    return WSGIHandler()(request.environ, start_response)


@pytest.mark.parametrize("name", ["plain", "template", "a_file", "async_plain"])
def test_the_lease_is_back_before_the_response_is_sent(name: str) -> None:
    Row.objects.create(text="row")
    response = wsgi(name)
    assert checked_out() == 0
    assert b"".join(response)
    response.close()


@pytest.mark.filterwarnings("ignore:.*Internal Server Error")
def test_the_lease_is_back_after_an_exception() -> None:
    response = wsgi("failing")
    assert response.status_code == 500
    assert checked_out() == 0


def test_an_exception_that_reaches_the_middleware_releases_and_goes_on() -> None:
    def get_response(request: HttpRequest) -> HttpResponse:
        session_id()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ReleaseConnectionsMiddleware(get_response)(RequestFactory().get("/"))
    assert leased() == []


def test_a_stream_keeps_its_lease_until_it_ends() -> None:
    response = wsgi("streaming")
    chunks = iter(response)
    seen = [next(chunks)]
    assert checked_out() == 1
    seen.extend(chunks)
    assert len(set(seen)) == 1, "one session from the first to the last chunk"
    assert len(seen) == 3
    assert checked_out() == 0


@pytest.mark.parametrize("chunks_read", [0, 1])
def test_a_stream_that_is_closed_releases_begun_or_not(chunks_read: int) -> None:
    response = wsgi("streaming")
    for _ in range(chunks_read):
        next(iter(response))
    assert checked_out() == 1
    # The part of response.close() that is not Django's close_old_connections().
    for closer in response._resource_closers:
        closer()
    assert checked_out() == 0


def test_a_stream_that_fails_releases() -> None:
    response = wsgi("broken_stream")
    with pytest.raises(ValueError, match="the stream's"):
        list(response)
    assert checked_out() == 0


def test_a_file_keeps_the_servers_own_way_of_sending_it() -> None:
    request = RequestFactory().get("/a_file")
    wrapped: list[Any] = []

    def file_wrapper(file: Any, size: int) -> list[bytes]:
        wrapped.append(file)
        return [file.read()]

    environ = {**request.environ, "wsgi.file_wrapper": file_wrapper}
    assert list(WSGIHandler()(environ, start_response)) == [b"content"]
    assert len(wrapped) == 1
    assert checked_out() == 0
    # As a server does. Django closes the response with it, and with that this thread's connections:
    # left to the garbage collector, it would do that in the middle of another test.
    wrapped[0].close()


def test_persistent_connections_of_other_engines_are_left_to_django() -> None:
    def get_response(request: HttpRequest) -> HttpResponse:
        for alias in ("default", "other", "stock"):
            session_id(alias)
        return HttpResponse()

    ReleaseConnectionsMiddleware(get_response)(RequestFactory().get("/"))
    assert leased() == ["stock"]
    connections["stock"].close()


async def asgi(name: str) -> tuple[list[dict[str, Any]], int]:
    """All messages of one request, and the leases that were out when the first one came."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/{name}",
        "query_string": b"",
        "headers": [],
    }
    communicator = ApplicationCommunicator(ASGIHandler(), scope)
    await communicator.send_input({"type": "http.request", "body": b""})
    messages = [await communicator.receive_output(HANG)]
    first = checked_out()
    while messages[-1]["type"] != "http.response.body" or messages[-1].get("more_body"):
        messages.append(await communicator.receive_output(HANG))
    await communicator.wait(HANG)
    return messages, first


@pytest.mark.parametrize("name", ["plain", "async_plain", "template"])
def test_under_asgi_the_lease_is_back_before_the_response_is_sent(name: str) -> None:
    async def main() -> None:
        messages, leases = await asgi(name)
        assert messages[0]["status"] == 200
        assert leases == 0

    asyncio.run(main())


@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume:Warning")
@pytest.mark.parametrize("name", ["streaming", "async_streaming"])
def test_under_asgi_a_stream_keeps_one_lease_and_gives_it_back(name: str) -> None:
    async def main() -> None:
        messages, _ = await asgi(name)
        body = b"".join(message.get("body", b"") for message in messages)
        assert len(body.split()) == 3
        assert len(set(body.split())) == 1
        assert checked_out() == 0

    asyncio.run(main())


def test_under_asgi_a_client_that_goes_away_leaves_no_lease() -> None:
    async def main() -> None:
        inside = asyncio.Event()

        async def get_response(request: HttpRequest) -> HttpResponse:
            await sync_to_async(session_id)()
            inside.set()
            await asyncio.Event().wait()
            return HttpResponse()

        middleware = ReleaseConnectionsMiddleware(get_response)
        task = asyncio.ensure_future(middleware(RequestFactory().get("/")))  # type: ignore[arg-type]
        await inside.wait()
        assert checked_out() == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert checked_out() == 0

    asyncio.run(main())
