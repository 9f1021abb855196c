"""release_connections: the one function that ends a thread's leases.

Everything else (scopes, executor, middleware, the user's own code) decides
*when* to call it, never *how* a lease ends.  This module knows ``django.db``
only: a connection of another engine is closed the same way, by its ``close()``.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.utils.connection import ConnectionDoesNotExist

from .events.log import log_event

if TYPE_CHECKING:
    from django.db.backends.base.base import BaseDatabaseWrapper

__all__ = ["Using", "aliases_from", "release_connections", "release_pooled", "released"]

Using = str | Iterable[str] | None

logger = logging.getLogger("mysqlpool.release")


def release_connections(using: Using = None) -> None:
    """Release this thread's connections on every alias, or on those named by ``using``.

    A session of a mysqlpool alias goes back to its pool; a connection of any
    other engine is closed.  An alias inside ``atomic`` is left alone, which the
    log tells: a release there would break the transaction.  Where nothing is
    held, nothing happens, so it may be called as often as you like.

    An error on one alias does not keep the others from being released.  The
    first error is raised at the end, unless an exception is being handled
    already (the call stands in a ``finally``, an ``except`` or the exit of a
    ``with``): then it is logged, so that it never hides the application's own.

    Raises ``django.utils.connection.ConnectionDoesNotExist`` for an alias that
    is not in ``DATABASES``.
    """
    wanted = aliases_from(using)
    made = connections.all(initialized_only=True)
    _release_all(made if wanted is None else [one for one in made if one.alias in wanted])


def release_pooled() -> None:
    """The same for the aliases of mysqlpool's engines, and for no other connection."""
    made = connections.all(initialized_only=True)
    _release_all([one for one in made if getattr(one, "uses_mysqlpool", False)])


@contextmanager
def released(using: Using = None) -> Iterator[None]:
    """For the one slow call in a task: release before the block, as `release_connections` does.

    The task leases again at its next statement; cursors and iterators from before
    the block are dead.  Inside ``atomic`` this does nothing but log a warning.
    """
    release_connections(using)
    yield


def aliases_from(using: Using) -> frozenset[str] | None:
    """The aliases that ``using`` names; ``None`` stands for all there are.

    Raises ``ConnectionDoesNotExist`` for one that is not in ``DATABASES`` and
    ``TypeError`` for what cannot name an alias.
    """
    if using is None:
        return None
    if not isinstance(using, Iterable):
        raise TypeError(f"using must be an alias, several aliases or None, not {using!r}")
    aliases = frozenset({using} if isinstance(using, str) else using)
    for alias in aliases.difference(connections):
        known = ", ".join(map(repr, connections))
        raise ConnectionDoesNotExist(
            f"The connection {alias!r} doesn't exist; DATABASES has {known}."
        )
    return aliases


def _release_all(wanted: Sequence[BaseDatabaseWrapper]) -> None:
    """Release these, and raise the first error, unless another is being handled."""
    errors = [error for one in wanted if (error := _release(one)) is not None]
    if not errors:
        return
    raised = _report(errors, sys.exc_info()[1])
    try:
        if raised is not None:
            raise raised
    finally:
        # Its traceback leads to this frame. Had it a name here, it would keep all its frames,
        # and a lease in them, until the garbage collector comes.
        del raised, errors, error


def _release(connection: BaseDatabaseWrapper) -> BaseException | None:
    """Close one connection. Its error is returned, and not raised."""
    if connection.connection is None and not getattr(connection, "is_suspended", False):
        return None
    if not _is_own(connection):
        return None
    if connection.in_atomic_block:
        _log_left_in_atomic(connection)
        return None
    try:
        connection.close()
    except BaseException as error:
        error.add_note(f"raised while releasing the connection {connection.alias!r}")
        return error
    return None


def _is_own(connection: Any) -> bool:
    """Whether this thread made the wrapper. The thread that made it also releases it."""
    return bool(connection._thread_ident == threading.get_ident())


def _log_left_in_atomic(connection: BaseDatabaseWrapper) -> None:
    # Django's own TestCase puts atomic blocks around each test, which is nothing to warn of.
    blocks: list[Any] = connection.atomic_blocks
    from_testcase = all(getattr(block, "_from_testcase", False) for block in blocks)
    level = logging.DEBUG if from_testcase else logging.WARNING
    log_event(logger, level, "release_in_atomic", connection.alias)


def _report(errors: list[BaseException], in_flight: BaseException | None) -> BaseException | None:
    """Log the errors but the one that is to be raised, which is returned."""
    # What asks the thread to stop (KeyboardInterrupt, SystemExit) is raised in any case.
    raised = next((error for error in errors if not isinstance(error, Exception)), None)
    if raised is None and in_flight is None and errors:
        raised = errors[0]
    for error in errors:
        if error is not raised:
            log_event(logger, logging.WARNING, "release_failed", exc_info=error)
    return raised
