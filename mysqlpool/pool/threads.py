"""Threads as a pool knows them: which one asks, where it is in its code, and whether it is over.

The main thread is over when it has left the script. Python then waits for the other threads, and
only after that runs the functions of ``atexit``, in the main thread. These may still use its lease.
So that is taken back only for a thread that Python waits for: as long as there is one, the main
thread does nothing.

The only mutable global here is ``_mains``, by which the pools are told that. Only the main thread
changes it.
"""

from __future__ import annotations

import concurrent.futures.thread  # noqa: F401 - see _main_leaves
import contextlib
import threading
import weakref
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

__all__ = ["KnownThread", "Threads", "Where", "own_frame"]

# A code object and an offset into its bytecode. The line is looked up only when somebody asks:
# at each lease that would cost more than the rest of the lease.
Where = tuple[CodeType, int]

# Frames of these packages never say what a thread is busy with.
_PLUMBING = frozenset(
    [
        "MySQLdb",
        "asgiref",
        "concurrent",
        "contextlib",
        "debug_toolbar",  # whose SQL panel puts itself around each cursor
        "django",
        "mysqlpool",
        "queue",
        "sqlalchemy",
        "threading",
    ]
)


class KnownThread:
    """A thread, as one pool knows it. Made at its first request, and lasts as long as the thread.

    ``deadline`` is that of the thread's present request while it connects (monotonic seconds).
    ``identity`` is that of the session which it asks for while it connects, or asks by way of
    SQLAlchemy. ``where`` is the place of its last request. ``proxied`` keeps the handle of the
    lease that it took last by way of SQLAlchemy, which has no handle of ours. ``terms`` are those
    of its requests, where they are others than the pool's. ``leaving`` is true
    of the main thread once it has left the script. Where ``waits`` is false, a request fails that
    would have to wait for a session.
    """

    __slots__ = (
        *("deadline", "ended", "ident", "identity", "leaving", "proxied", "thread", "waits"),
        *("terms", "where"),
    )

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.ident = threading.get_ident()
        self.ended = self.leaving = False
        self.waits = True
        self.deadline: float | None = None
        self.identity: Any = None
        self.where: Where | None = None
        self.proxied: Any = None
        self.terms: Any = None

    def is_gone(self) -> bool:
        """Whether a thread that is ending cannot use a session any more.

        Finalizers of other thread-locals may run after the pool's own, and still use one. So the
        thread must be over. Of one that threading did not start, only ``ended`` is known.
        """
        thread = self.thread
        if self.leaving or not self.ended:
            return self.leaving
        return isinstance(thread, threading._DummyThread) or not thread.is_alive()


class _Sentinel:
    """Lives in a ``threading.local``, and so is destroyed when its thread ends.

    Reference counting does that, with the garbage collector off too, and whoever started the
    thread. An ident is no proof of life: the next thread may get the same one.
    """

    __slots__ = ("__weakref__", "alarm", "known")

    def __init__(self, known: KnownThread, alarm: weakref.WeakMethod[Callable[[], None]]) -> None:
        self.known = known
        self.alarm = alarm

    def __del__(self) -> None:
        self.tell()

    def tell(self) -> None:
        """Tell the pool that the thread has ended."""
        self.known.ended = True
        alarm = self.alarm()
        if alarm is not None:
            alarm()


class Threads:
    """The threads that have asked one pool for a lease. ``alarm`` is called when one of them ends.

    It is kept weakly: else each thread would keep the pool for as long as it lives.
    """

    def __init__(self, alarm: Callable[[], None]) -> None:
        self._alarm = weakref.WeakMethod(alarm)
        self._here = threading.local()

    def present(self) -> KnownThread:
        """This thread."""
        try:
            known: KnownThread = self._here.known
            return known
        except AttributeError:
            known = KnownThread()
            self._here.sentinel = sentinel = _Sentinel(known, self._alarm)
            self._here.known = known
            if known.thread is threading.main_thread():
                _mains.add(sentinel)
            return known


_mains: weakref.WeakSet[_Sentinel] = weakref.WeakSet()


def _main_leaves() -> None:
    """The main thread has left the script, and waits for the threads that are no daemons.

    It waits for the workers of concurrent.futures by a hook like this one. What is registered last
    is called first, so that module is imported before: a worker may wait for our lease.
    """
    for sentinel in tuple(_mains):
        sentinel.known.leaving = True
        sentinel.tell()


# Private, and there since Python 3.9. Without it a thread waits for its whole timeout then.
_register: Callable[[Callable[[], None]], None] | None
_register = getattr(threading, "_register_atexit", None)
if _register is not None:
    with contextlib.suppress(RuntimeError):  # That is happening already.
        _register(_main_leaves)


class _Plumbing(dict[str, bool]):
    """Module name -> whether it belongs to plumbing; asked many times a lease, so a mere lookup."""

    def __missing__(self, module: str) -> bool:
        found = self[module] = module.partition(".")[0] in _PLUMBING
        return found


_is_plumbing = _Plumbing()


def own_frame(frame: FrameType) -> FrameType:
    """The innermost frame that is not plumbing; ``frame`` itself when there is none."""
    inner: FrameType | None = frame
    try:
        while inner is not None and _is_plumbing[inner.f_globals["__name__"]]:
            inner = inner.f_back
    except KeyError:  # Code run by exec() with globals of its own: the application's.
        pass
    return frame if inner is None else inner
