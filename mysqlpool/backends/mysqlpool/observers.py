"""Who is told of statements, and who of leases: an instrumentation, and nobody as a rule.

Django calls the functions in ``connection.execute_wrappers`` around each statement. That list is
for the thread that made the connection: another thread must not write into it, because it may be
read at that moment. So `observe` only sets who is told, and each wrapper adjusts its own list when
it opens a cursor. A cursor that was open before is told of from the next one on. Where nobody is
told, a statement costs no call more.

An `Onlooker` is told of the leases of one thread or task, and of what their sessions are not sent,
and it changes neither. `present` and `onlookers` are all that is asked where nobody is told. Each
is changed in one step, and besides them only `_looking_on` is a global that changes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from typing import Any, Protocol

from mysqlpool.aliases.alias_pool import AliasPool
from mysqlpool.pool import Lease

__all__ = [
    *("Observer", "Onlooker", "adjust", "leasing", "look_away", "look_on", "not_sent"),
    *("observe", "watched"),
]


class Observer(Protocol):
    """Who is told. Each method runs what it is told of, once, and lets its outcome through."""

    def statement(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        """Run a statement; an execute wrapper in Django's sense."""

    def ending(self, wrapper: Any, verb: str, end: Callable[[], Any]) -> Any:
        """Run the COMMIT or ROLLBACK of a connected wrapper."""


present: Observer | None = None


def observe(observer: Observer | None) -> None:
    """From now on tell this one, and no other; ``None`` for nobody."""
    global present
    present = observer


def watched(execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
    """What stands in ``execute_wrappers`` while somebody is told, and perhaps a little longer."""
    observer = present
    if observer is None:
        return execute(sql, params, many, context)
    return observer.statement(execute, sql, params, many, context)


def adjust(execute_wrappers: list[Any]) -> None:
    """Put `watched` into a wrapper's list, or take it out. `present` may change meanwhile."""
    if watched in execute_wrappers:
        if present is None:
            execute_wrappers.remove(watched)
    elif present is not None:
        # Django's execute_wrapper() takes the last one out when its block ends.
        execute_wrappers.insert(0, watched)


# Leases


class Onlooker(Protocol):
    """Who looks on at what one thread or task leases."""

    def leasing(self, alias: str, take: Callable[[], Lease | None]) -> Lease | None:
        """Take a lease, once, and let the outcome through."""

    def not_sent(self, alias: str, statements: int) -> None:
        """So many statements were not sent that Django's engine sends, and no lease was needed."""


onlookers: set[Onlooker] = set()

_looking_on: ContextVar[Onlooker | None] = ContextVar("mysqlpool.onlooker", default=None)


def look_on(onlooker: Onlooker) -> None:
    """From now on tell this one of what the present thread or task leases.

    What a task calls in other threads by asgiref or asyncio is its own, too.
    """
    _looking_on.set(onlooker)
    onlookers.add(onlooker)


def look_away(onlooker: Onlooker) -> None:
    """Tell it no more. It may be told still of how leases end that it has seen begin."""
    if _looking_on.get() is onlooker:
        _looking_on.set(None)
    onlookers.discard(onlooker)


def leasing(wrapper: Any, pool: AliasPool) -> Callable[..., Lease | None]:
    """The pool's `lease`, as who looks on here sees it."""
    onlooker = _looking_on.get()
    if onlooker is None:
        return pool.lease
    return lambda *args: onlooker.leasing(wrapper.alias, partial(pool.lease, *args))


def not_sent(wrapper: Any, statements: int) -> None:
    """Tell who looks on here of statements that a wrapper without a lease need not send."""
    onlooker = _looking_on.get()
    if onlooker is not None:
        onlooker.not_sent(wrapper.alias, statements)
