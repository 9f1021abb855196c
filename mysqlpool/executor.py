"""PooledThreadPoolExecutor: the standard library's, giving back after each task."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from .scopes import auto_close_db

P = ParamSpec("P")
T = TypeVar("T")

__all__ = ["PooledThreadPoolExecutor"]


class PooledThreadPoolExecutor(ThreadPoolExecutor):
    """A ``ThreadPoolExecutor`` whose tasks leave no lease behind.

    After each task, whatever it returned or raised (``SystemExit`` and
    ``KeyboardInterrupt`` included), the worker's database connections are
    released *before* the future's result becomes visible: who has the result
    can count on the session being back in the pool.  The same holds after the
    ``initializer``.  Everything else is the base class's, so it can also serve
    ``loop.run_in_executor()`` and ``loop.set_default_executor()`` (for
    ``asyncio.to_thread()``).

    An error of the release itself becomes the task's exception only when the
    task had none of its own.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        thread_name_prefix: str = "",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        **kwargs: Any,
    ) -> None:
        # The base class refuses an initializer that is not callable.
        if callable(initializer):
            initializer = auto_close_db(initializer)
        super().__init__(max_workers, thread_name_prefix, initializer, initargs, **kwargs)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Schedule ``fn(*args, **kwargs)`` and return its future, as the base class does."""
        return super().submit(_run_and_release, fn, *args, **kwargs)


def _run_and_release(fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    with auto_close_db():
        return fn(*args, **kwargs)
