"""The pools of this process by alias, and close_pool.

The only mutable globals here:

``_pools``
    alias -> its AliasPool, which may be closed by now.  Changed under ``_lock``;
    read without it, since one ``dict.get`` is atomic.

``_lock`` is held for moments: no session is opened or closed under it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections

from mysqlpool.pool.locks import under
from mysqlpool.release import Using, aliases_from

from . import forks

if TYPE_CHECKING:
    from .alias_pool import AliasPool

__all__ = ["close_pool", "current", "pool_for", "pools", "without_waiting"]

_lock = threading.RLock()
_pools: dict[str, AliasPool] = {}


def pools() -> dict[str, AliasPool]:
    """The open pools by alias; opens none.

    One whose alias the settings have lost is open as long as it has a session. Then it is forgotten
    here, when no wrapper knows it any more.
    """
    found: dict[str, AliasPool] = {}
    for alias, pool in list(_pools.items()):
        if pool.is_over():
            under(_lock, _forget, alias, pool)
        elif pool.serves(pool.key):
            found[alias] = pool
    return found


def _forget(alias: str, pool: AliasPool) -> None:
    if _pools.get(alias) is pool and not pool.has_users():
        del _pools[alias]


@contextmanager
def without_waiting() -> Iterator[None]:
    """Within the block this thread is no waiter of the pools that are open when it begins.

    A request for a lease fails at once that would have to wait for a session: with a
    ``PoolExhausted``.  It is in none of the counters of waiting.
    """
    threads = [pool.this_thread() for pool in pools().values()]
    before = [thread.waits for thread in threads]
    for thread in threads:
        thread.waits = False
    try:
        yield
    finally:
        for thread, waits in zip(threads, before, strict=True):
            thread.waits = waits


def current(alias: str) -> AliasPool | None:
    """The alias's pool, which may be closed by now, or have been made from other settings."""
    return _pools.get(alias)


def pool_for(alias: str, key: object, make: Callable[[], AliasPool]) -> AliasPool:
    """The alias's pool, opened if there is none.

    A pool that was made from other settings of the pool (another ``pool_size``,
    another class) is closed, as by :func:`close_pool`, and replaced.
    """
    pool = _pools.get(alias)
    if pool is not None and pool.serves(key):
        return pool
    made = make()
    former = under(_lock, _replace, alias, key, made)
    if former is not None and former.serves(key):
        return former
    if former is not None:
        former.close()
    return made


def _replace(alias: str, key: object, made: AliasPool) -> AliasPool | None:
    """Put the new pool into its place, unless there is one for the same settings by now."""
    former = _pools.get(alias)
    if former is None or not former.serves(key):
        _pools[alias] = made
    return former


def close_pool(using: Using = None) -> None:
    """Close the pools of all aliases, or of those named by ``using``.

    Idle sessions are closed now, leased ones when they come back.  A pool opens
    again by itself at the next use.  Call it before ``os.fork()`` if the child
    should start without the parent's sockets (a fork without it is safe, too).
    You do not need it at exit, nor for changed settings: sessions that were
    opened with former ones are not leased any more.

    Raises ``ConnectionDoesNotExist`` for an alias that is not in ``DATABASES``.
    """
    wanted = aliases_from(using)
    for alias, pool in pools().items():
        if wanted is None or alias in wanted:
            pool.close()


def _start_afresh(inherited: bool) -> None:
    """In a forked child: neither pools nor leases. The lock's owner may not exist here."""
    global _lock
    _lock = threading.RLock()
    _pools.clear()
    if inherited:
        wrappers: Iterable[Any] = connections.all(initialized_only=True)
        for wrapper in wrappers:
            if getattr(wrapper, "uses_mysqlpool", False):
                wrapper.forget_session()


forks.when_forked(_start_afresh)
