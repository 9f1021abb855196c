"""Who holds what, for how long, and where that thread is now: for errors and the log."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import FrameType

from mysqlpool.errors import Holder

from .threads import KnownThread, Where, own_frame

__all__ = ["Held", "describe_holders", "place"]


@dataclass(frozen=True, slots=True)
class Held:
    """A lease as it was when somebody looked: its holder, its age, where it was taken, its pin."""

    thread: KnownThread
    seconds: float
    where: Where
    pinned: str | None


def place(where: Where) -> str:
    code, offset = where
    line = next((n for start, end, n in code.co_lines() if start <= offset < end and n), None)
    return f"{code.co_filename}:{line or code.co_firstlineno} in {code.co_qualname}"


def describe_holders(
    held: Iterable[Held], waiting: Iterable[KnownThread] = ()
) -> tuple[Holder, ...]:
    """Describe the holders of these leases, the longest first. ``waiting`` wait for one."""
    waiters = frozenset(waiting)
    frames = _current_frames()
    try:
        holders = [_describe(one, frames, one.thread in waiters) for one in held]
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


def _describe(held: Held, frames: dict[int, FrameType], waits: bool) -> Holder:
    thread = held.thread.thread
    return Holder(
        thread_name=thread.name,
        thread_id=thread.ident or 0,
        held_seconds=held.seconds,
        location=_location(held.thread, frames),
        leased_at=place(held.where),
        waits=waits,
        pinned=held.pinned,
    )


def _location(known: KnownThread, frames: dict[int, FrameType]) -> str:
    frame = frames.get(known.thread.ident or 0)
    if known.ended or frame is None:
        return "its thread has ended"
    own = own_frame(frame)
    return f"now at {place((own.f_code, own.f_lasti))}"
