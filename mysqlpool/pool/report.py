"""Who holds what, for how long, and where that thread is now: for errors and the log."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from mysqlpool.errors import Holder

from .threads import KnownThread, Where, own_frame

__all__ = ["Held", "IsIdle", "describe_holders", "place"]


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
    frames = _current_frames()
    try:
        holders = [_describe(one, frames, one.thread in waiters, is_idle) for one in held]
    finally:
        # This frame is in there too: the cycle would keep every thread's locals, leases among
        # them, until the garbage collector runs.
        frames.clear()
    return tuple(sorted(holders, key=lambda holder: -holder.held_seconds))


def _current_frames() -> dict[int, FrameType]:
    """``sys._current_frames()`` with the garbage collector off.

    Before Python 3.12 a collection inside of it can deadlock with a thread that starts or ends:
    https://github.com/python/cpython/issues/106883
    """
    if sys.version_info >= (3, 12) or not gc.isenabled():
        return sys._current_frames()
    gc.disable()
    try:
        return sys._current_frames()
    finally:
        gc.enable()


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
