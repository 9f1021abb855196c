"""PooledThreadPoolExecutor: the lease is back before the future's result is visible."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

import pytest
from django.db import connection, connections, transaction

from mysqlpool import PooledThreadPoolExecutor
from tests.helpers import HANG, leased, run_threads, session_id
from tests.rows.models import Row

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def pool() -> Any:
    from mysqlpool.aliases import registry

    return registry.pools()["default"].pool


def returns() -> int:
    return session_id()


def raises(error: type[BaseException]) -> Callable[[], None]:
    def task() -> None:
        session_id()
        raise error("the task's")

    return task


@pytest.mark.parametrize(
    "task",
    [
        returns,
        *map(raises, [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, MemoryError]),
    ],
    ids=["return", "ValueError", "SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError"],
)
def test_the_lease_is_back_before_the_result_is_visible(task: Callable[[], Any]) -> None:
    seen: list[int] = []
    with PooledThreadPoolExecutor(2) as executor:
        for _ in range(20):
            future = executor.submit(task)
            future.add_done_callback(lambda _: seen.append(pool().checkedout()))
            future.exception(HANG)
            assert pool().checkedout() == 0
    assert seen == [0] * 20


def test_a_result_and_an_exception_are_the_tasks_own() -> None:
    with PooledThreadPoolExecutor(1) as executor:
        assert executor.submit(pow, 2, exp=5).result(HANG) == 32
        with pytest.raises(ValueError, match="the task's"):
            executor.submit(raises(ValueError)).result(HANG)


def test_map_keeps_the_order_and_leaves_no_lease() -> None:
    with PooledThreadPoolExecutor(8) as executor:
        numbers = executor.map(lambda n: (session_id(), n)[1], range(50), timeout=HANG)
        assert list(numbers) == list(range(50))
    assert pool().checkedout() == 0


def test_the_initializers_lease_is_released() -> None:
    ready = threading.Event()

    def initialize(word: str) -> None:
        assert word == "word"
        session_id()
        ready.set()

    with PooledThreadPoolExecutor(1, "named", initialize, ("word",)) as executor:
        assert executor.submit(lambda: threading.current_thread().name).result(HANG) == "named_0"
        assert ready.is_set()
        assert pool().checkedout() == 0


def test_a_failing_initializer_breaks_the_executor_as_ever() -> None:
    def initialize() -> None:
        session_id()
        raise ValueError("the initializer's")

    with PooledThreadPoolExecutor(1, initializer=initialize) as executor:
        with pytest.raises(BrokenThreadPool):
            executor.submit(returns).result(HANG)
        assert pool().checkedout() == 0


def test_shutdown_cancels_what_has_not_begun() -> None:
    begun, go = threading.Event(), threading.Event()

    def first() -> int:
        begun.set()
        assert go.wait(HANG)
        return session_id()

    executor = PooledThreadPoolExecutor(1)
    running = executor.submit(first)
    pending = executor.submit(returns)
    assert begun.wait(HANG)
    executor.shutdown(wait=False, cancel_futures=True)
    go.set()
    assert running.result(HANG) > 0
    with pytest.raises(CancelledError):
        pending.result(HANG)
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(returns)


def test_run_in_executor_and_to_thread_release() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with PooledThreadPoolExecutor(2) as executor:
            await loop.run_in_executor(executor, returns)
            assert pool().checkedout() == 0
        loop.set_default_executor(PooledThreadPoolExecutor(2))
        await asyncio.gather(*[asyncio.to_thread(returns) for _ in range(10)])
        assert pool().checkedout() == 0
        await loop.shutdown_default_executor()

    asyncio.run(main())


def test_a_task_inside_its_own_atomic_commits_before_the_release() -> None:
    @transaction.atomic
    def create() -> None:
        Row.objects.create(text="committed")

    with PooledThreadPoolExecutor(2) as executor:
        for future in [executor.submit(create) for _ in range(10)]:
            future.result(HANG)
    assert Row.objects.count() == 10


def test_an_error_of_the_release_hides_no_error_of_the_task() -> None:
    def task(error: Exception | None) -> str:
        session_id()
        wrapper = connections["default"]

        def close() -> None:
            del wrapper.close  # once
            wrapper.close()
            raise OSError("the release's")

        wrapper.close = close  # type: ignore[method-assign]
        if error is not None:
            raise error
        return "result"

    with PooledThreadPoolExecutor(1) as executor:
        with pytest.raises(ValueError, match="the task's"):
            executor.submit(task, ValueError("the task's")).result(HANG)
        with pytest.raises(OSError, match="the release's"):
            executor.submit(task, None).result(HANG)
        assert pool().checkedout() == 0


def test_200_threads_share_5_sessions(observer: Any) -> None:
    """The server, not our own bookkeeping, says how many sessions there were."""
    database = connection.settings_dict["NAME"]
    others = observer.reset_peak()
    start = threading.Barrier(201)
    peak = 0

    def work() -> None:
        start.wait(HANG)
        for _ in range(3):
            executor.submit(returns).result(HANG)

    def watch() -> None:
        nonlocal peak
        start.wait(HANG)
        deadline = time.monotonic() + HANG
        while not finished.is_set() and time.monotonic() < deadline:
            peak = max(peak, len(observer.sessions(database)))

    finished = threading.Event()
    watcher = threading.Thread(target=watch)
    watcher.start()
    with PooledThreadPoolExecutor(200) as executor:
        run_threads(*[work] * 200)
    finished.set()
    watcher.join(HANG)
    (most,) = observer.status("Max_used_connections")
    assert 1 <= peak <= 5
    assert most - others <= 5
    assert leased() == []
