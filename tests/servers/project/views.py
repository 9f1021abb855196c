"""Views of every kind: each answers with what it was asked for, and names its process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse

from tests.rows.models import Row

from .telling import watch
from .work import LINES, do, lines, read

__all__ = ["asynchronous", "asynchronous_stream", "big", "stream", "synchronous"]

BIG = 5_000_000
"""Bytes."""


def number(request: HttpRequest) -> int:
    watch()
    return int(request.GET["n"])


def answer(text: str) -> HttpResponse:
    return HttpResponse(text, headers={"X-Process": str(os.getpid())})


def synchronous(request: HttpRequest, kind: str) -> HttpResponse:
    return answer(do(kind, number(request)))


def big(request: HttpRequest) -> HttpResponse:
    return answer(read(number(request)).ljust(BIG))


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(lines(number(request)), headers={"X-Process": str(os.getpid())})


# Django refuses an asynchronous view where an alias has ATOMIC_REQUESTS.


@transaction.non_atomic_requests(using="default")
@transaction.non_atomic_requests(using="other")
async def asynchronous(request: HttpRequest, kind: str) -> HttpResponse:
    n = number(request)
    if kind == "aread":
        return answer(await sync_to_async(read)(n))
    row = await Row.objects.acreate(text=f"write {n}", number=n)
    return answer(f"{(await Row.objects.aget(pk=row.pk)).number} written")


@transaction.non_atomic_requests(using="default")
@transaction.non_atomic_requests(using="other")
async def asynchronous_stream(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(
        asynchronous_lines(number(request)), headers={"X-Process": str(os.getpid())}
    )


async def asynchronous_lines(n: int) -> AsyncIterator[str]:
    for each in range(n, n + LINES):
        yield await sync_to_async(read)(each) + "\n"
