"""auto_close_db: scopes at whose end a thread's or a task's leases are released."""

from __future__ import annotations

import asyncio
import functools
import inspect
import os
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextvars import ContextVar
from types import TracebackType
from typing import Any, TypeVar, cast, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.core.signals import request_finished, request_started
from django.db import connections

from .release import Using, aliases_from, release_connections

__all__ = ["Scope", "auto_close_db", "is_scoped"]

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@overload
def auto_close_db(function: Decorated, /) -> Decorated: ...
@overload
def auto_close_db(*, using: Using = None) -> Scope: ...
def auto_close_db(
    function: Callable[..., Any] | None = None, /, *, using: Using = None
) -> Callable[..., Any] | Scope:
    """Release connections at the end of a function or a block, however it ends.

    ``@auto_close_db`` and ``@auto_close_db(using="default")`` decorate
    functions, methods, coroutine functions, generators and asynchronous
    generators.  A generator releases when it is exhausted, closed or ended by an
    exception.  ``with auto_close_db():`` and ``async with auto_close_db():`` do
    the same for a block.  ``using`` is an alias, several aliases, or ``None`` for
    all.

    Nested scopes of one thread, or of one asyncio task, release once: at the
    end of the outermost.  Asynchronous scopes release in the thread in which
    ``sync_to_async`` runs Django's ORM for this context.  What the release may
    raise is told at :func:`release_connections`.

    Raises ``TypeError`` for what cannot be decorated, and
    ``ConnectionDoesNotExist`` on entering a scope whose alias is unknown.
    """
    scope = Scope(using)
    return scope if function is None else scope(function)


# Django's autoreloader runs the command there, and keeps the main thread for itself.
_MAIN_OF_AUTORELOADER = "django-main-thread"


class _ThreadScopes(threading.local):
    """The scopes open in this thread, outermost first; and what else ends its leases.

    A request's are ended by `ReleaseConnectionsMiddleware`, or by Django as the request finishes.
    The main thread's end with a command or a script, and are nobody else's business.
    """

    def __init__(self) -> None:
        self.open: list[Scope] = []
        self.in_request = False
        thread = threading.current_thread()
        self.is_main = thread is threading.main_thread() or thread.name == _MAIN_OF_AUTORELOADER


_thread = _ThreadScopes()
# The same for a coroutine: its task, and that task's open scopes.  Child tasks inherit
# the context, and so do new threads on free-threaded Python, but their scopes are their
# own.  So the task is compared before the list is used.
_task: ContextVar[tuple[object, list[Scope]] | None] = ContextVar("mysqlpool_scopes", default=None)


def _task_scopes() -> list[Scope]:
    task = asyncio.current_task()
    entry = _task.get()
    if entry is None or entry[0] is not task:
        entry = (task, [])
        _task.set(entry)
    return entry[1]


def is_scoped() -> bool:
    """Whether somebody is going to end a lease that this thread takes now.

    It is asked at each lease. An asynchronous scope counts in each thread that runs in its context,
    though it releases only in that of ``sync_to_async``.
    """
    here = _thread
    if here.open or here.in_request or here.is_main:
        return True
    entry = _task.get()
    return entry is not None and bool(entry[1])


def _begin_request(**kwargs: Any) -> None:
    """Django tells in the thread in which the request's ORM calls run, under ASGI, too."""
    _thread.in_request = True


def _end_request(**kwargs: Any) -> None:
    _thread.in_request = False


request_started.connect(_begin_request)
request_finished.connect(_end_request)


def _forget_scopes() -> None:
    """In a forked child: the scopes around the fork end in the parent, never here."""
    _thread.open.clear()
    _thread.in_request, _thread.is_main = False, True
    _task.set(None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_scopes)


class Scope:
    """What ``auto_close_db()`` returns: a decorator, a ``with`` and an ``async with`` block.

    One object may be entered again while it is open, and by several threads at
    once: what is open is kept by the thread or task, not by the object.
    """

    def __init__(self, using: Using = None) -> None:
        # It may be an iterator, so it is read once.  Decorators run before Django's settings
        # are there, so it is checked when a scope is entered.
        self.using = using if using is None or isinstance(using, str) else tuple(using)

    def __repr__(self) -> str:
        return f"auto_close_db(using={self.using!r})"

    def __call__(self, function: Decorated, /) -> Decorated:
        return cast(Decorated, _decorated(self, function))

    def __enter__(self) -> Scope:
        return self._enter(_thread.open)

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        scopes, depth = _thread.open, -1
        try:
            depth = len(scopes) - 1
            self._leave(scopes)
        except BaseException:
            _forget(scopes, self, depth)
            raise

    async def __aenter__(self) -> Scope:
        return self._enter(_task_scopes())

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._aleave(_task_scopes())

    def _enter(self, scopes: list[Scope]) -> Scope:
        # An unknown alias is refused here: at the end it would hide the application's error.
        aliases_from(self.using)
        scopes += [self]  # No call: a signal handler that raised after it would leave it there.
        return self

    def _leave(self, scopes: list[Scope]) -> None:
        ended = self._close(scopes, _thread.open)
        if ended is None or ended:
            release_connections(ended)

    async def _aleave(self, scopes: list[Scope]) -> None:
        ended = self._close(scopes, _task_scopes())
        if ended is not None and not ended:
            return
        if os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
            # Only then can a coroutine have leased in the event loop's own thread.
            release_connections(ended)
        await sync_to_async(release_connections, thread_sensitive=True)(ended)

    def _close(self, scopes: list[Scope], here: list[Scope]) -> frozenset[str] | None:
        """Take this scope off its list. Returns its aliases that no scope has which is open where
        it ends (None: all).

        That is the same list, unless a generator ends in another thread or task.
        """
        _remove_last(scopes, self)
        mine = aliases_from(self.using)
        covered: frozenset[str] = frozenset()
        for scope in here:
            aliases = aliases_from(scope.using)
            if aliases is None:
                return frozenset()
            covered |= aliases
        if not covered:
            return mine
        return frozenset(connections if mine is None else mine) - covered


def _forget(scopes: list[Scope], scope: Scope, depth: int) -> None:
    """Take a scope off the list that is still there, at this depth or above, as it should not be.

    A signal handler raised as it ended. Were it left there, no later scope of the thread would be
    the outermost, and none would release.
    """
    if any(each is scope for each in scopes[depth:]):
        _remove_last(scopes, scope)


def _remove_last(scopes: list[Scope], scope: Scope) -> None:
    for index in reversed(range(len(scopes))):
        if scopes[index] is scope:
            del scopes[index]
            return


def _decorated(scope: Scope, function: Any) -> Any:
    if isinstance(function, (classmethod, staticmethod)):
        return type(function)(_decorated(scope, function.__func__))
    if not callable(function) or isinstance(function, type):
        raise TypeError(
            f"auto_close_db decorates functions and methods, not {function!r}; "
            "aliases are named by keyword: auto_close_db(using=...)"
        )
    return functools.wraps(function)(_wrapper_for(function)(scope, function))


def _wrapper_for(function: Any) -> Callable[[Scope, Any], Callable[..., Any]]:
    # An object is as asynchronous as its __call__ is.
    call = type(function).__call__ if not inspect.isroutine(function) else function
    for test, wrap in (
        (inspect.isasyncgenfunction, _around_async_generator),
        (inspect.isgeneratorfunction, _around_generator),
        (iscoroutinefunction, _around_coroutine),
    ):
        if test(function) or test(call):
            return wrap
    return _around_function


def _around_function(scope: Scope, function: Any) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        scopes = _thread.open
        depth = len(scopes)
        try:
            with scope:
                return function(*args, **kwargs)
        except BaseException:
            _forget(scopes, scope, depth)
            raise

    return wrapper


def _around_coroutine(scope: Scope, function: Any) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        async with scope:
            return await function(*args, **kwargs)

    return wrapper


# A generator may be ended by another thread or task than the one that began it
# (the garbage collector's, say), so it keeps the list of scopes that it entered.


def _around_generator(scope: Scope, function: Any) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        scopes = _thread.open
        scope._enter(scopes)
        try:
            return (yield from function(*args, **kwargs))
        finally:
            scope._leave(scopes)

    return wrapper


def _around_async_generator(scope: Scope, function: Any) -> Callable[..., Any]:
    async def wrapper(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        scopes = _task_scopes()
        scope._enter(scopes)
        generator = function(*args, **kwargs)
        try:
            value = await anext(generator)
            while True:
                # What ``yield from`` does, which asynchronous generators lack (PEP 525).
                try:
                    sent = yield value
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:
                    value = await generator.athrow(error)
                else:
                    value = await generator.asend(sent)
        except StopAsyncIteration:
            return
        finally:
            await scope._aleave(scopes)

    return wrapper
