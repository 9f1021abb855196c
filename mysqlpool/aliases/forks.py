"""Forks: a child leaves the parent's sessions alone, and sends nothing over their sockets.

The only mutable globals here:

``_sessions``
    every open session of this process -> its record in the pool (``None`` for
    one outside any pool).  The references are weak.  A signal handler may raise
    between a session's connect and the pool.  Nobody has that session then, and
    it is closed like any other connection object.  Each change is one insertion
    or removal, which is atomic, so there is no lock.
``_forgetting``
    what else is called in a child.
``_forking`` and ``_collecting``
    how many forks are under way, and whether the garbage collector ran before
    the first of them.  Between a fork and the hook that neutralises what the
    child inherited the collector is paused: it could collect a lease whose
    thread does not exist in the child, and with it give a session back, or
    close it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import weakref
from collections.abc import Callable
from typing import Any, Protocol

__all__ = ["any_open", "note_closed", "note_open", "when_forked"]


class _Record(Protocol):
    """What is known of a SQLAlchemy pool's record here."""

    fairy_ref: Any


_sessions: weakref.WeakKeyDictionary[Any, weakref.ref[_Record] | None]
_sessions = weakref.WeakKeyDictionary()
_forgetting: list[Callable[[bool], None]] = []
_forking = 0
_collecting = False


def note_open(session: Any, record: Any = None) -> None:
    """Note a session that was opened, and the record in which a pool keeps it."""
    _sessions[session] = None if record is None else weakref.ref(record)


def note_closed(session: Any) -> None:
    """Strike a session out, after it was closed."""
    _sessions.pop(session, None)


def any_open() -> bool:
    """Whether this process has an open session, in a pool or outside of any."""
    return bool(_sessions)


def when_forked(forget: Callable[[bool], None]) -> None:
    """Have ``forget`` called in each child, with whether it inherited any session.

    By then the inherited ones are neutralised.
    """
    _forgetting.append(forget)


def _before_fork() -> None:
    # Two threads that fork at the same instant may miscount. Then one of them forks
    # without the pause. That is better than a lock, or a collector that stays paused.
    global _forking, _collecting
    _forking += 1
    if gc.isenabled():
        _collecting = True
        gc.disable()


def _after_fork_in_parent() -> None:
    global _forking
    _forking -= 1
    _resume_collecting()


def _resume_collecting() -> None:
    global _collecting
    if _collecting and _forking <= 0:
        _collecting = False
        gc.enable()


def _after_fork_in_child() -> None:
    """Leave the parent's sessions alone, and start with neither pools nor leases.

    mysqlclient says COM_QUIT when a connection object is closed or collected,
    over the socket that the parent still uses.  So each inherited socket is
    replaced by ``/dev/null``, with no network traffic.  No lock is taken: the
    thread that held it may not exist here.
    """
    global _forking
    try:
        inherited = dict(_sessions)
        _neutralise(inherited)
        _sessions.clear()
        for forget in _forgetting:
            forget(bool(inherited))
    finally:
        _forking = 0
        _resume_collecting()


def _neutralise(sessions: dict[Any, weakref.ref[_Record] | None]) -> None:
    devnull = os.open(os.devnull, os.O_RDWR)
    try:
        for session, kept_in in sessions.items():
            # A session that is closed already has no socket to lose.
            with contextlib.suppress(Exception):
                os.dup2(devnull, session.fileno(), inheritable=False)
            record = kept_in() if kept_in is not None else None
            if record is not None:
                # So that the finalizer of a lease whose thread is gone does nothing
                # (sqlalchemy.pool.base._finalize_fairy looks at needs_gc first).
                record.fairy_ref = None
    finally:
        os.close(devnull)


if hasattr(os, "register_at_fork"):  # Where there is none, nobody forks.
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
