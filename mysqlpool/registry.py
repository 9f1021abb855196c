"""The pools of this process by alias, close_pool, and what happens to them at a fork.

The only module with mutable globals:

``_pools``
    alias -> its AliasPool, which may be closed by now.  Changed under ``_lock``;
    read without it, since one ``dict.get`` is atomic.
``_sessions``
    every open session of this process -> its record in the pool (``None`` for
    one outside any pool).  Weak references: a session that nobody has any more,
    because a signal handler raised between its connect and the pool, is closed
    like any other connection object.  A forked child neutralises what is here
    before anything is collected.

``_lock`` is held for moments: no session is opened or closed under it.

Between a fork and the hook that neutralises what the child inherited, the
garbage collector is paused: it could collect a lease whose thread does not
exist in the child, and with it give a session back, or close it.
"""

from __future__ import annotations

import contextlib
import gc
import os
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol

from django.db import connections

from .locks import under
from .release import Using, aliases_from

if TYPE_CHECKING:
    from .leasing import AliasPool

__all__ = ["close_pool", "current", "note_closed", "note_open", "pool_for", "pools"]


class _Record(Protocol):
    """What is known of a SQLAlchemy pool's record here."""

    fairy_ref: Any


_lock = threading.RLock()
_pools: dict[str, AliasPool] = {}
_sessions: weakref.WeakKeyDictionary[Any, weakref.ref[_Record] | None]
_sessions = weakref.WeakKeyDictionary()


def pools() -> dict[str, AliasPool]:
    """The open pools by alias; opens none."""
    return {alias: pool for alias, pool in list(_pools.items()) if pool.serves(pool.identity)}


def note_open(session: Any, record: Any = None) -> None:
    """Note a session that was opened, and the record in which a pool keeps it."""
    _sessions[session] = None if record is None else weakref.ref(record)


def note_closed(session: Any) -> None:
    """Strike a session out, after it was closed."""
    _sessions.pop(session, None)


def current(alias: str) -> AliasPool | None:
    """The alias's pool, which may be closed by now, or be one for other parameters."""
    return _pools.get(alias)


def pool_for(alias: str, identity: object, make: Callable[[], AliasPool]) -> AliasPool:
    """The alias's pool for these connection parameters, opened if there is none.

    A pool that was opened with other parameters (another database, a changed
    password) is closed, as by :func:`close_pool`, and replaced.
    """
    pool = _pools.get(alias)
    if pool is not None and pool.serves(identity):
        return pool
    made = make()
    former = under(_lock, _replace, alias, identity, made)
    if former is not None and former.serves(identity):
        return former
    if former is not None:
        former.close()
    return made


def _replace(alias: str, identity: object, made: AliasPool) -> AliasPool | None:
    """Put the new pool into its place, unless there is one for the same parameters by now."""
    former = _pools.get(alias)
    if former is None or not former.serves(identity):
        _pools[alias] = made
    return former


def close_pool(using: Using = None) -> None:
    """Close the pools of all aliases, or of those named by ``using``.

    Idle sessions are closed now, leased ones when they come back.  A pool opens
    again by itself at the next use.  Call it before ``os.fork()`` if the child
    should start without the parent's sockets (a fork without it is safe, too),
    and to pick up new credentials; you do not need it at exit.

    Raises ``ConnectionDoesNotExist`` for an alias that is not in ``DATABASES``.
    """
    wanted = aliases_from(using)
    for alias, pool in pools().items():
        if wanted is None or alias in wanted:
            pool.close()


_forking = 0
_collecting = False  # whether the garbage collector ran before the first of these forks


def _before_fork() -> None:
    # A count that goes wrong where two threads fork at the same instant costs the
    # pause of one of them, and neither a lock nor a collector that stays paused.
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
    global _lock, _forking
    _lock = threading.RLock()
    try:
        inherited = dict(_sessions)
        _neutralise(inherited)
        _sessions.clear()
        _pools.clear()
        if inherited:
            _forget_leases()
    finally:
        _forking = 0
        _resume_collecting()


def _forget_leases() -> None:
    wrappers: Iterable[Any] = connections.all(initialized_only=True)
    for wrapper in wrappers:
        if getattr(wrapper, "uses_mysqlpool", False):
            wrapper.forget_session()


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
