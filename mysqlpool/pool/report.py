"""Who holds what, for how long, and where that thread is now: for errors and the log."""

from __future__ import annotations

import gc
import logging
import math
import os
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any, TypeVar

from mysqlpool.errors import HOLDERS_SHOWN, Holder, PoolExhausted
from mysqlpool.events.log import log_event

from .locks import under
from .seldom import Seldom
from .threads import KnownThread, Where, own_frame

__all__ = ["Held", "IsIdle", "describe_holders", "place", "tell_exhausted"]

logger = logging.getLogger("mysqlpool.pool")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as it was when somebody looked: its holder, its age, where it was taken, its pin.

    ``session`` is None while it is being opened.
    """

    thread: KnownThread
    seconds: float
    where: Where
    pinned: str | None
    session: Any = None


# Whether a session is idle while its holder's thread is in this frame.
IsIdle = Callable[[Any, FrameType], bool]


def place(where: Where) -> str:
    code, offset = where
    line = next((n for start, end, n in code.co_lines() if start <= offset < end and n), None)
    return f"{code.co_filename}:{line or code.co_firstlineno} in {code.co_qualname}"


def describe_holders(
    held: Iterable[Held],
    waiting: Iterable[KnownThread] = (),
    is_idle: IsIdle | None = None,
) -> tuple[Holder, ...]:
    """Describe the holders of these leases, the longest first. ``waiting`` wait for one.

    ``is_idle(session, frame)`` is asked of each whose thread is there. Without it none is idle.
    """
    waiters = frozenset(waiting)

    def described() -> list[Holder]:
        frames = sys._current_frames()
        try:
            return [_describe(one, frames, one.thread in waiters, is_idle) for one in held]
        finally:
            # This frame is in there too: the cycle would keep every thread's locals, leases among
            # them, until the garbage collector runs.
            frames.clear()

    return tuple(sorted(_without_collections(described), key=lambda one: -one.held_seconds))


# Only for Python 3.11: held by whoever looks at the frames of other threads.
_looking = threading.RLock()


def _without_collections(function: Callable[[], T]) -> T:
    """Call a function that looks at the frames of other threads.

    Before Python 3.12 the garbage collector has to be off meanwhile. A frame of another thread is
    made an object when somebody asks for it, also by ``f_back``. A collection amid that may let the
    other thread go on, and leaves an object for a frame that is gone: it has no globals, and asking
    for its code crashes. Seen with 3.11.7: tests/unit/pool/test_stress.py. A collection can also
    deadlock with a thread that starts or ends: https://github.com/python/cpython/issues/106883
    """
    if sys.version_info >= (3, 12):
        return function()
    return under(_looking, _call_without_collections, function)


def _call_without_collections(function: Callable[[], T]) -> T:
    enabled = gc.isenabled()
    gc.disable()
    try:
        return function()
    finally:
        if enabled:
            gc.enable()


def _start_afresh() -> None:
    """In a forked child: who had the lock is not here. The collector is as it was."""
    global _looking
    _looking = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


def _describe(
    held: Held, frames: dict[int, FrameType], waits: bool, is_idle: IsIdle | None
) -> Holder:
    thread = held.thread.thread
    frame = None if held.thread.ended else frames.get(thread.ident or 0)
    return Holder(
        thread_name=thread.name,
        thread_id=thread.ident or 0,
        held_seconds=held.seconds,
        location=_location(frame),
        leased_at=place(held.where),
        waits=waits,
        pinned=held.pinned,
        idle=_is_idle(held.session, frame, is_idle),
    )


def _is_idle(session: Any, frame: FrameType | None, is_idle: IsIdle | None) -> bool:
    if is_idle is None or session is None or frame is None:
        return False
    return is_idle(session, frame)


def _location(frame: FrameType | None) -> str:
    if frame is None:
        return "its thread has ended"
    own = own_frame(frame)
    return f"now at {place((own.f_code, own.f_lasti))}"


def tell_exhausted(error: PoolExhausted, seldom: Seldom, thread: KnownThread) -> None:
    """Log that a request of this thread failed because all sessions are in use, once a second at
    most.

    A thread that would not wait is not disappointed. Meanwhile this one is such a thread: a handler
    of the log that leases itself would wait for the whole timeout, and then be called for that.
    """
    left_out = seldom.left_out() if thread.waits else None
    if left_out is None:
        return
    thread.waits = False
    try:
        _log_exhausted(error, left_out)
    finally:
        thread.waits = True


def _log_exhausted(error: PoolExhausted, left_out: int) -> None:
    refusal = error.refusal.args[:1] if error.refusal is not None else ()
    log_event(
        logger,
        logging.WARNING,
        "pool_exhausted",
        error.alias,
        error=type(error).__name__,
        limit=0 if error.limit == math.inf else error.limit,
        in_use=error.in_use,
        waiting=error.waiting,
        seconds=round(error.seconds, 3),
        errno=next(iter(refusal), None),
        holders=[_fields(holder) for holder in error.holders[:HOLDERS_SHOWN]],
        left_out=left_out,
    )


def _fields(holder: Holder) -> dict[str, Any]:
    return {
        "holder": holder.thread_name,
        "held_seconds": round(holder.held_seconds, 3),
        "leased_at": holder.leased_at,
        "location": holder.location,
        "waits": holder.waits,
        "pinned": holder.pinned,
        "idle": holder.idle,
    }
