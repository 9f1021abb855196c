"""The site's views, and what a page of it shows."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from asgiref.sync import sync_to_async
from debug_toolbar.store import get_store
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import include, path

from tests.rows.models import Row

PAGE = "<html><body>Hello</body></html>"
SECRET = "hunter2"

both = threading.Barrier(2)


def is_shown(request: HttpRequest) -> bool:
    return "without" not in request.GET


def read(request: HttpRequest) -> HttpResponse:
    return HttpResponse(PAGE.replace("Hello", str(Row.objects.count())))


def write(request: HttpRequest) -> HttpResponse:
    with transaction.atomic():
        Row.objects.create(text=SECRET)
    return HttpResponse(PAGE)


def nothing(request: HttpRequest) -> HttpResponse:
    return HttpResponse(PAGE)


def all_databases(request: HttpRequest) -> HttpResponse:
    for alias in ("default", "other", "stock"):
        Row.objects.using(alias).count()
    return HttpResponse(PAGE)


def execute(request: HttpRequest) -> HttpResponse:
    with connections["default"].cursor() as cursor:
        cursor.execute(request.GET["sql"], [SECRET] if "%s" in request.GET["sql"] else None)
    return HttpResponse(PAGE)


def fail(request: HttpRequest) -> HttpResponse:
    Row.objects.count()
    raise ZeroDivisionError


def together(request: HttpRequest, alias: str) -> HttpResponse:
    """Two requests are in the midst of theirs at once."""
    with transaction.atomic(using=alias):
        Row.objects.using(alias).count()
        both.wait(20)
        Row.objects.using(alias).count()
        both.wait(20)
    return HttpResponse(PAGE)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    def chunks() -> Iterator[str]:
        yield str(Row.objects.count())

    return StreamingHttpResponse(chunks())


async def awaited(request: HttpRequest, alias: str) -> HttpResponse:
    rows = Row.objects.using(alias)
    await rows.acount()
    await sync_to_async(_created)(alias)
    return HttpResponse(PAGE)


def _created(alias: str) -> None:
    with transaction.atomic(using=alias):
        Row.objects.using(alias).create(text="new")


VIEWS: dict[str, Callable[..., Any]] = {
    "read": read,
    "write": write,
    "nothing": nothing,
    "all": all_databases,
    "execute": execute,
    "fail": fail,
    "stream": stream,
}

urlpatterns = [
    *(path(f"{name}/", view) for name, view in VIEWS.items()),
    path("together/<alias>/", together),
    path("async/<alias>/", awaited),
    path("__debug__/", include("debug_toolbar.urls")),
]


def stats(number: int = -1) -> Any:
    """What the panel stored of a request, the last one by default."""
    store = get_store()
    return store.panel(list(store.request_ids())[number], "PoolPanel")
