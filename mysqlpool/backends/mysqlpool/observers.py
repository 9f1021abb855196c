"""Who is told of each statement, COMMIT and ROLLBACK: an instrumentation, and nobody as a rule.

Django calls the functions in ``connection.execute_wrappers`` around each statement. That list is
for the thread that made the connection: another thread must not write into it, because it may be
read at that moment. So `observe` only sets who is told, and each wrapper adjusts its own list when
it opens a cursor. A cursor that was open before is told of from the next one on. Where nobody is
told, a statement costs no call more.

`present` is the only mutable global here. It is changed by one assignment.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["Observer", "adjust", "observe", "watched"]


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
