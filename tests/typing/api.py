"""Uses of the public API that mypy checks and nobody runs: what is decorated keeps its types."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from threading import Thread
from typing import Any, assert_type

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

import mysqlpool
from mysqlpool import (
    PooledThreadPoolExecutor,
    PoolStats,
    auto_close_db,
    close_pool,
    holders,
    release_connections,
    stats,
)
from mysqlpool.errors import Holder, PoolError, PoolTimeout, TooManyWaiters
from mysqlpool.middleware import ReleaseConnectionsMiddleware

# Decorators keep signatures.


@auto_close_db
def function(number: int, *, text: str = "") -> str:
    return text * number


@auto_close_db(using="default")
def of_one_alias(number: int) -> bytes:
    return bytes(number)


@auto_close_db(using=["default", "other"])
async def coroutine(number: int) -> float:
    return number / 2


@auto_close_db
def generator(number: int) -> Generator[int, str, bool]:
    yield number
    return True


@auto_close_db
async def async_generator(number: int) -> AsyncGenerator[int, str]:
    yield number


as_function: Callable[[int], str] = function
as_coroutine: Callable[[int], Awaitable[float]] = coroutine
as_iterator: Callable[[int], Iterator[int]] = generator

assert_type(function(1, text="x"), str)
assert_type(of_one_alias(1), bytes)
assert_type(generator(1), Generator[int, str, bool])
assert_type(async_generator(1), AsyncGenerator[int, str])

function("1")  # type: ignore[arg-type]
function(1, txt="x")  # type: ignore[call-arg]
auto_close_db("default")  # type: ignore[call-overload]
auto_close_db(using=1)  # type: ignore[call-overload]


class Service:
    @auto_close_db
    def method(self, number: int) -> str:
        return str(number)

    @classmethod
    @auto_close_db
    def of_class(cls, number: int) -> Service:
        return cls()

    @staticmethod
    @auto_close_db
    def static(number: int) -> int:
        return number

    @property
    @auto_close_db
    def text(self) -> str:
        return ""


assert_type(Service().method(1), str)
assert_type(Service.of_class(1), Service)
assert_type(Service.static(1), int)
assert_type(Service().text, str)

Thread(target=auto_close_db(function), args=(1,))

# Blocks.


def block() -> int:
    with auto_close_db(), auto_close_db(using={"default"}) as scope:
        assert_type(scope(function)(1), str)
        return 1


async def async_block() -> None:
    async with auto_close_db(using=("default",)):
        assert_type(await coroutine(1), float)
        async for number in async_generator(1):
            assert_type(number, int)


# Functions.

release_connections()
release_connections("default")
release_connections(["default", "other"])
release_connections(using=None)
release_connections(1)  # type: ignore[arg-type]

close_pool()
close_pool("default")
close_pool(using={"default", "other"})

assert_type(stats(), dict[str, PoolStats])
assert_type(stats()["default"].waiting, int)
assert_type(stats()["default"].discards, Mapping[str, int])
assert_type(stats()["default"].wait.p99, float)
assert_type(stats()["default"].as_dict(), dict[str, Any])
assert_type(holders(), dict[str, tuple[Holder, ...]])
stats()["default"].idle = 1  # type: ignore[misc]

version: str = mysqlpool.__version__

# The executor is one of the standard library's.


def executors() -> None:
    executor: Executor = PooledThreadPoolExecutor()
    executor.shutdown(cancel_futures=True)
    with PooledThreadPoolExecutor(
        max_workers=4, thread_name_prefix="index", initializer=function, initargs=(1,)
    ) as pooled:
        as_base: ThreadPoolExecutor = pooled
        assert_type(pooled.submit(function, 1, text="x"), Future[str])
        assert_type(pooled.submit(len, "x").result(), int)
        assert_type(list(as_base.map(function, [1, 2])), list[str])
        pooled.submit(function, "1")  # type: ignore[arg-type]


async def in_a_loop() -> None:
    loop = asyncio.get_running_loop()
    loop.set_default_executor(PooledThreadPoolExecutor(4))
    assert_type(await asyncio.to_thread(function, 1), str)
    assert_type(await loop.run_in_executor(PooledThreadPoolExecutor(), function, 1), str)


# The middleware.


def view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


async def async_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


middleware: Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]
middleware = ReleaseConnectionsMiddleware(view)
middleware = ReleaseConnectionsMiddleware(async_view)

# Errors carry numbers.


def handle(error: PoolError) -> Any:
    if isinstance(error, PoolTimeout | TooManyWaiters):
        assert_type(error.seconds, float)
        return error.alias, error.in_use, [holder.thread_name for holder in error.holders]
    return None
