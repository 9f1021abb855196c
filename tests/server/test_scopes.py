"""auto_close_db: released when the outermost scope ends, however it ends."""

from __future__ import annotations

import asyncio
import functools
import gc
import threading
from collections.abc import AsyncGenerator, Generator, Iterator
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.db import connections

from mysqlpool import auto_close_db
from mysqlpool.aliases import registry
from tests.helpers import HANG, in_thread, lease_all, leased, session_id
from tests.rows.models import Row

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


class Owner:
    @auto_close_db
    def method(self) -> tuple[Owner, int]:
        return self, session_id()

    @auto_close_db
    @classmethod
    def of_class(cls) -> tuple[type, int]:
        return cls, session_id()

    @classmethod
    @auto_close_db
    def of_class_inside(cls) -> tuple[type, int]:
        return cls, session_id()

    @auto_close_db
    @staticmethod
    def static() -> int:
        return session_id()

    def __call__(self) -> int:
        return session_id()


def test_a_function_releases_when_it_returns_and_when_it_raises() -> None:
    @auto_close_db
    def work(error: type[BaseException] | None) -> int:
        number = session_id()
        assert leased() == ["default"]
        if error:
            raise error("its own")
        return number

    assert work(None) > 0
    assert leased() == []
    for error in (ValueError, SystemExit, KeyboardInterrupt):
        with pytest.raises(error, match="its own"):
            work(error)
        assert leased() == []


def test_methods_of_every_kind_and_callable_objects_release() -> None:
    owner = Owner()
    assert owner.method()[0] is owner
    assert Owner.of_class()[0] is Owner
    assert Owner.of_class_inside()[0] is Owner
    assert Owner.static() > 0
    assert auto_close_db(owner)() > 0
    assert auto_close_db(functools.partial(session_id, "other"))() > 0
    assert leased() == []


def test_a_block_releases_and_may_name_its_alias() -> None:
    with auto_close_db(using="other"):
        lease_all("default", "other")
    assert leased() == ["default"]
    with pytest.raises(ValueError, match="own"), auto_close_db():
        raise ValueError("own")
    assert leased() == []


def test_nested_scopes_release_once_at_the_outermost_end() -> None:
    inner = auto_close_db(session_id)
    with auto_close_db():
        first = inner()
        assert leased() == ["default"]
        with auto_close_db():
            assert inner() == first
        assert leased() == ["default"]
    assert leased() == []


def test_nested_scopes_of_different_aliases_release_what_no_open_scope_covers() -> None:
    with auto_close_db(using="default"):
        with auto_close_db():
            lease_all("default", "other")
        assert leased() == ["default"]
        with auto_close_db(using=iter(["default", "other"])):
            lease_all("other")
        assert leased() == ["default"]
    assert leased() == []


def test_one_scope_object_can_be_entered_again_and_by_several_threads() -> None:
    scope = auto_close_db()
    inside, go = threading.Event(), threading.Event()

    def other_thread() -> list[str]:
        with scope:
            session_id()
            inside.set()
            go.wait(HANG)
        return leased()

    with in_thread(other_thread) as result:
        assert inside.wait(HANG)
        with scope:
            with scope:
                session_id()
            assert leased() == ["default"]
        assert leased() == []
        go.set()
    assert result.value == []


def test_a_plain_thread_with_a_decorated_target_gives_back_before_join_returns() -> None:
    pool: Any = None
    for _ in range(20):
        thread = threading.Thread(target=auto_close_db(session_id))
        thread.start()
        thread.join(HANG)
        pool = pool or registry.pools()["default"].pool
        assert pool.checkedout() == 0


@auto_close_db
def numbers(count: int = 3) -> Iterator[int]:
    for number in range(count):
        session_id()
        yield number


def test_a_generator_releases_when_it_is_exhausted() -> None:
    iterator = numbers()
    assert next(iterator) == 0
    assert leased() == ["default"]
    assert list(iterator) == [1, 2]
    assert leased() == []


def test_a_generator_releases_when_it_is_closed_or_collected() -> None:
    iterator: Any = numbers()
    next(iterator)
    iterator.close()
    assert leased() == []
    iterator = numbers()
    next(iterator)
    del iterator
    gc.collect()
    assert leased() == []


def test_a_generator_passes_on_what_is_sent_and_thrown_and_returns_its_value() -> None:
    @auto_close_db
    def talk() -> Any:
        heard = yield session_id()
        try:
            yield heard
        except KeyError:
            yield "caught"
        return "the end"

    iterator = talk()
    next(iterator)
    assert iterator.send("word") == "word"
    assert iterator.throw(KeyError()) == "caught"
    with pytest.raises(StopIteration) as stopped:
        next(iterator)
    assert stopped.value.value == "the end"
    assert leased() == []
    iterator = talk()
    next(iterator)
    with pytest.raises(ValueError, match="thrown"):
        iterator.throw(ValueError("thrown"))
    assert leased() == []


def test_a_scope_inside_a_generators_consumer_does_not_release_under_it() -> None:
    Row.objects.bulk_create(Row(text=str(n)) for n in range(5))

    @auto_close_db
    def rows() -> Iterator[Row]:
        yield from Row.objects.order_by("pk").iterator(chunk_size=2)

    seen = []
    for row in rows():
        with auto_close_db():
            session_id()
        assert leased() == ["default"]
        seen.append(row.text)
    assert seen == list("01234")
    assert leased() == []


def test_a_generator_finished_by_another_thread_does_not_keep_its_first_thread_from_releasing() -> (
    None
):
    iterator = numbers()
    next(iterator)
    with in_thread(lambda: list(iterator)) as result:
        pass
    assert result.value == [1, 2]
    with auto_close_db():
        session_id()
    assert leased() == []


async def orm() -> int:
    return await sync_to_async(session_id)()


async def orm_leased() -> list[str]:
    return await sync_to_async(leased)()


def test_a_generator_that_another_thread_ends_leaves_that_threads_scope_alone() -> None:
    """The garbage collector ends it in whatever thread it runs, which is at work."""

    @auto_close_db
    def numbers() -> Generator[int, None, None]:
        yield session_id()

    generator = numbers()

    def begin() -> None:
        next(generator)
        connections.close_all()

    with in_thread(begin):
        pass
    with auto_close_db():
        lease_all("default")
        generator.close()
        assert leased() == ["default"]
    assert leased() == []


def test_an_async_generator_that_another_task_ends_leaves_that_tasks_scope_alone() -> None:
    @auto_close_db
    async def numbers() -> AsyncGenerator[int, None]:
        yield 1

    async def main() -> None:
        generator = numbers()

        async def begin() -> None:
            await anext(generator)

        await asyncio.create_task(begin())
        async with auto_close_db():
            await sync_to_async(lease_all)("default")
            await generator.aclose()
            assert await sync_to_async(leased)() == ["default"]
        assert await sync_to_async(leased)() == []

    asyncio.run(main())


def test_a_coroutine_releases_in_the_orms_thread() -> None:
    @auto_close_db
    async def work(fail: bool) -> int:
        number = await orm()
        assert await orm_leased() == ["default"]
        if fail:
            raise ValueError("its own")
        return number

    async def main() -> None:
        assert await work(False) > 0
        assert await orm_leased() == []
        with pytest.raises(ValueError, match="its own"):
            await work(True)
        assert await orm_leased() == []

    asyncio.run(main())


def test_a_cancelled_coroutine_releases() -> None:
    async def main() -> None:
        inside = asyncio.Event()

        @auto_close_db
        async def work() -> None:
            await orm()
            inside.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await inside.wait()
        assert await orm_leased() == ["default"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await orm_leased() == []

    asyncio.run(main())


def test_async_with_nests_and_releases_at_the_outermost_end() -> None:
    async def main() -> None:
        async with auto_close_db():
            async with auto_close_db(using="default"):
                await orm()
            assert await orm_leased() == ["default"]
        assert await orm_leased() == []

    asyncio.run(main())


def test_a_task_started_inside_a_scope_has_scopes_of_its_own() -> None:
    """A child task inherits the context, not the depth: it outlives its parent's scope."""

    async def main() -> None:
        parent_done = asyncio.Event()

        @auto_close_db
        async def child() -> None:
            await parent_done.wait()
            await orm()

        async with auto_close_db():
            task = asyncio.create_task(child())
            await asyncio.sleep(0)
        parent_done.set()
        await task
        assert await orm_leased() == []

    asyncio.run(main())


def test_an_async_generator_releases_however_it_ends() -> None:
    @auto_close_db
    async def talk() -> Any:
        heard = yield await orm()
        try:
            yield heard
        except KeyError:
            yield "caught"

    async def main() -> None:
        generator = talk()
        await anext(generator)
        assert await orm_leased() == ["default"]
        assert await generator.asend("word") == "word"
        assert await generator.athrow(KeyError()) == "caught"
        with pytest.raises(StopAsyncIteration):
            await anext(generator)
        assert await orm_leased() == []
        generator = talk()
        await anext(generator)
        await generator.aclose()
        assert await orm_leased() == []
        generator = talk()
        await anext(generator)
        with pytest.raises(ValueError, match="thrown"):
            await generator.athrow(ValueError("thrown"))
        assert await orm_leased() == []

    asyncio.run(main())


def test_a_coroutine_allowed_to_use_the_orm_in_the_loops_thread_releases_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")

    @auto_close_db
    async def work() -> list[str]:
        session_id()
        return leased()

    async def main() -> None:
        assert await work() == ["default"]
        assert leased() == []

    asyncio.run(main())


def test_the_release_error_of_a_scope_never_hides_the_applications_own(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failing = mock.patch.object(connections["default"], "close", side_effect=OSError("close"))
    with failing, pytest.raises(ValueError, match="the application's"), auto_close_db():
        session_id()
        raise ValueError("the application's")
    assert "OSError: close" in caplog.text
