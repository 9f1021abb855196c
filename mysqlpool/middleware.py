"""ReleaseConnectionsMiddleware: the lease goes back when the view has answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, cast

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

from .release import release_pooled

__all__ = ["ReleaseConnectionsMiddleware"]

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class ReleaseConnectionsMiddleware:
    """Release the sessions of mysqlpool aliases at the end of each request.

    Put it first in ``MIDDLEWARE``.  The lease ends when the view (and all other
    middleware) has answered, before the response is sent to a slow client; for
    a streaming response it ends when the stream ends, is closed or fails.
    Connections of other engines are Django's business and stay as they are.

    Under ASGI the release runs in the thread in which the request's ORM calls
    run (that of ``sync_to_async``), because the lease belongs to that thread.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self.is_async = iscoroutinefunction(get_response)
        if self.is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        if self.is_async:
            return self.__acall__(request)
        try:
            response = cast(HttpResponseBase, self.get_response(request))
        except BaseException:
            release_pooled()
            raise
        if not release_after_stream(response):
            release_pooled()
        return response

    async def __acall__(self, request: HttpRequest) -> HttpResponseBase:
        release = sync_to_async(release_pooled, thread_sensitive=True)
        try:
            response = await cast(Awaitable[HttpResponseBase], self.get_response(request))
        except BaseException:
            await release()
            raise
        if not release_after_stream(response):
            await release()
        return response


def release_after_stream(response: HttpResponseBase) -> bool:
    """Put the release at the end of a streaming response. Returns whether it is one.

    A plain file does not count.  It needs no connection, and once it is wrapped
    the server's ``wsgi.file_wrapper`` cannot send it any more.
    """
    if not isinstance(response, StreamingHttpResponse):
        return False
    if getattr(response, "file_to_stream", None) is not None:
        return False
    stream = response.streaming_content
    response.streaming_content = (
        AsyncReleasingStream(stream)
        if isinstance(stream, AsyncIterator)
        else ReleasingStream(stream)
    )
    return True


class ReleasingStream:
    """An iterator that releases once it is exhausted, fails or is closed.

    Django closes it with the response.  A generator would not do: its ``finally``
    does not run where the client went away before the first chunk.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        try:
            return next(self.stream)
        except BaseException:
            release_pooled()
            raise

    def close(self) -> None:
        try:
            if hasattr(self.stream, "close"):
                self.stream.close()
        finally:
            release_pooled()


class AsyncReleasingStream:
    """The same for an asynchronous stream, which releases in the ORM's thread."""

    def __init__(self, stream: AsyncIterator[Any]) -> None:
        self.stream = stream

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        try:
            return await anext(self.stream)
        except BaseException:
            await sync_to_async(release_pooled, thread_sensitive=True)()
            raise

    def close(self) -> None:
        """Called by ``response.close()``, which Django's ASGI handler runs in the ORM's thread."""
        release_pooled()
