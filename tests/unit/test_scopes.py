"""auto_close_db: what it makes of a function, and what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.utils.connection import ConnectionDoesNotExist

from mysqlpool import PooledThreadPoolExecutor, auto_close_db
from mysqlpool.scopes import Scope, is_scoped
from tests.helpers import run_threads


class Owner:
    async def __call__(self) -> int:
        return 1


def test_names_signatures_and_documentation_are_kept() -> None:
    def work(a: int, *, b: str = "b") -> str:
        """What it does."""
        return f"{a}{b}"

    wrapped = auto_close_db(work)
    assert (wrapped.__name__, wrapped.__doc__) == ("work", "What it does.")
    assert inspect.signature(wrapped) == inspect.signature(work)
    assert wrapped(1, b="x") == "1x"


def test_kinds_of_functions_stay_what_they_are() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def coroutine() -> int:
        return 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    assert inspect.isgeneratorfunction(auto_close_db(generator))
    assert inspect.iscoroutinefunction(auto_close_db(coroutine))
    assert inspect.isasyncgenfunction(auto_close_db(async_generator))
    assert inspect.iscoroutinefunction(auto_close_db(Owner()))


@pytest.mark.parametrize("bad", [5, "default", Owner])
def test_what_cannot_be_decorated_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="decorates functions and methods"):
        auto_close_db(bad)


def test_an_unknown_alias_is_refused_before_the_work_begins() -> None:
    ran = []

    @auto_close_db(using="missing")
    def work() -> None:
        ran.append(1)

    with pytest.raises(ConnectionDoesNotExist, match="missing"):
        work()
    assert ran == []


# Whether a lease would have somebody who ends it


def test_the_main_thread_is_in_a_scope_and_another_one_is_not() -> None:
    assert is_scoped()
    assert run_threads(is_scoped) == [False]


def test_the_thread_that_the_autoreloader_runs_the_command_in_is_a_main_one() -> None:
    seen = []
    thread = threading.Thread(target=lambda: seen.append(is_scoped()), name="django-main-thread")
    thread.start()
    thread.join()
    assert seen == [True]


def test_a_thread_is_in_a_scope_until_the_outermost_one_ends() -> None:
    def ask() -> list[bool]:
        with auto_close_db():
            with auto_close_db():
                inside = is_scoped()
            return [inside, is_scoped()]

    def ask_behind() -> bool:
        ask()
        return is_scoped()

    assert run_threads(ask, ask_behind, auto_close_db(is_scoped)) == [[True, True], False, True]


def test_a_task_of_the_executor_is_in_a_scope() -> None:
    with PooledThreadPoolExecutor(1) as executor:
        assert executor.submit(is_scoped).result()


@pytest.fixture
def requests_alone() -> Iterator[None]:
    """The signals of a request without what Django does at them, which is about connections."""
    signals = (request_started, request_finished)
    was = [signal.disconnect(close_old_connections) for signal in signals]
    yield
    for signal, connected in zip(signals, was, strict=True):
        if connected:
            signal.connect(close_old_connections)


@pytest.mark.usefixtures("requests_alone")
def test_a_thread_is_in_a_request_from_the_one_signal_to_the_other() -> None:
    def ask() -> list[bool]:
        request_started.send(None)
        inside = is_scoped()
        request_finished.send(None)
        return [inside, is_scoped()]

    request_started.send(None)  # That one is in this thread, and nobody else's.
    assert run_threads(ask, is_scoped) == [[True, False], False]
    request_finished.send(None)


@pytest.mark.usefixtures("requests_alone")
def test_under_asgi_the_thread_of_a_requests_orm_calls_is_in_it_and_no_other_thread() -> None:
    async def ask() -> list[bool]:
        async with ThreadSensitiveContext():  # As ASGIHandler does.
            await request_started.asend(None)
            inside = await sync_to_async(is_scoped)()
            beside = await asyncio.to_thread(is_scoped)
            await request_finished.asend(None)
            return [inside, beside, await sync_to_async(is_scoped)()]

    assert asyncio.run(ask()) == [True, False, False]


def test_a_coroutines_scope_is_that_of_its_orm_calls() -> None:
    async def ask() -> list[bool]:
        async with ThreadSensitiveContext():  # In a thread that no request was ever in.
            before = await sync_to_async(is_scoped)()
            async with auto_close_db():
                inside = await sync_to_async(is_scoped)()
            return [before, inside, await sync_to_async(is_scoped)()]

    assert asyncio.run(ask()) == [False, True, False]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_thread_that_forks_is_the_childs_main_one() -> None:
    def fork() -> int:
        child = os.fork()
        if child == 0:
            os._exit(0 if is_scoped() else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    assert run_threads(fork) == [0]


class Interruption(BaseException):
    """What a signal handler raises."""


def test_a_scope_says_which_aliases_are_its_own() -> None:
    assert repr(auto_close_db()) == "auto_close_db(using=None)"
    assert repr(auto_close_db(using=["default"])) == "auto_close_db(using=('default',))"


def test_scopes_that_end_in_another_order_each_end_once() -> None:
    def work() -> None:
        first, second = auto_close_db(), auto_close_db()
        with contextlib.ExitStack() as one, contextlib.ExitStack() as other:
            one.enter_context(first)
            other.enter_context(second)
            one.close()
            assert is_scoped()
            other.close()
            assert not is_scoped()
            second.__exit__(None, None, None)
            assert not is_scoped()

    run_threads(work)


def test_a_scope_whose_end_is_interrupted_is_left_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*args: Any) -> None:
        raise Interruption

    def work() -> None:
        with pytest.raises(Interruption), auto_close_db():
            monkeypatch.setattr(Scope, "_close", interrupt)
        assert not is_scoped()

    run_threads(work)
