"""Who holds what, and where that thread is now."""

from __future__ import annotations

import gc
import sys
import threading
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Protocol

__all__ = ["Held", "Holder", "Owner", "Sentinel", "Where", "describe_holders", "own_frame", "place"]

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
        "django",
        "mysqlpool",
        "queue",
        "sqlalchemy",
        "threading",
    ]
)


@dataclass(frozen=True, slots=True)
class Holder:
    """A thread that had a lease when the pool was asked.

    ``location`` is where the thread was at that time, and ``leased_at`` where it took its lease:
    file, line and function of the innermost frame that is neither Django's nor mysqlpool's.
    ``waits`` is true for a thread that waited for a second lease of the same pool. ``pinned`` tells
    why ``lease="transaction"`` could not end the lease before the release.
    """

    thread_name: str
    thread_id: int
    held_seconds: float
    location: str
    leased_at: str
    waits: bool
    pinned: str | None = None

    def __str__(self) -> str:
        text = f"{self.thread_name} has held one for {self.held_seconds:.1f} s: {self.location}"
        if self.pinned:
            text += f"; pinned by {self.pinned}"
        return f"{text}; it waits for a second one" if self.waits else text


class Owner:
    """A thread, as one pool knows it. Made at its first lease, and lasts as long as the thread.

    ``deadline`` is that of the thread's present request while it connects (monotonic seconds), and
    ``where`` the place of its last one.
    """

    __slots__ = ("deadline", "ended", "ident", "thread", "where")

    def __init__(self) -> None:
        self.thread = threading.current_thread()
        self.ident = threading.get_ident()
        self.ended = False
        self.deadline: float | None = None
        self.where: Where | None = None

    def gone(self) -> bool:
        """Whether the thread, which has ended as far as the pool knows, is through with it.

        Finalizers of other thread-locals may run after the pool's own, and use a session still.
        Of a thread that threading did not start no more than ``ended`` is known.
        """
        thread = self.thread
        return isinstance(thread, threading._DummyThread) or not thread.is_alive()


# A holder, for how many seconds, where it took its lease, and what pinned it
Held = tuple[Owner, float, Where, str | None]


class _Alarmed(Protocol):
    def alarm(self) -> None: ...


class Sentinel:
    """Lives in a ``threading.local`` of the pool, and so is destroyed when its thread ends.

    Reference counting does that, with the garbage collector off too, and whoever started the
    thread. An ident is no proof of life: the next thread may get the same one.
    """

    __slots__ = ("owner", "pool")

    def __init__(self, owner: Owner, pool: _Alarmed) -> None:
        self.owner = owner
        # A strong reference would keep the pool for as long as the thread lives.
        self.pool = weakref.ref(pool)

    def __del__(self) -> None:
        self.owner.ended = True
        pool = self.pool()
        if pool is not None:
            pool.alarm()


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


def place(where: Where) -> str:
    code, offset = where
    line = next((n for start, end, n in code.co_lines() if start <= offset < end and n), None)
    return f"{code.co_filename}:{line or code.co_firstlineno} in {code.co_qualname}"


def describe_holders(held: Iterable[Held], waiting: Iterable[Owner] = ()) -> tuple[Holder, ...]:
    """Describe each (thread, seconds held, where leased), the longest first."""
    waiters = frozenset(waiting)
    frames = _current_frames()
    try:
        holders = [_describe(one, frames, one[0] in waiters) for one in held]
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
    owner, seconds, where, pinned = held
    return Holder(
        thread_name=owner.thread.name,
        thread_id=owner.thread.ident or 0,
        held_seconds=seconds,
        location=_location(owner, frames),
        leased_at=place(where),
        waits=waits,
        pinned=pinned,
    )


def _location(owner: Owner, frames: dict[int, FrameType]) -> str:
    frame = frames.get(owner.thread.ident or 0)
    if owner.ended or frame is None:
        return "its thread has ended"
    own = own_frame(frame)
    return f"now at {place((own.f_code, own.f_lasti))}"
