"""A check of django-health-check that asks through the pool.

It leases as a request does, asks ``SELECT 1``, and releases. So it fails where requests would: when
no session comes free in time, and when no server answers. It needs django-health-check 4, or 3.24
with its ``HealthCheckView``.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import MySQLdb
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections

from mysqlpool.errors import PoolExhausted, PoolTimeout
from mysqlpool.pool import cannot_connect
from mysqlpool.scopes import auto_close_db

try:
    try:
        from health_check.base import HealthCheck
    except ImportError:  # version 3
        from health_check.backends import HealthCheck
    from health_check.exceptions import ServiceReturnedUnexpectedResult, ServiceUnavailable
except ImportError as error:
    raise ImproperlyConfigured(
        "mysqlpool.contrib.health_check needs django-health-check 3.24 or newer: "
        "pip install 'mysqlpool[health-check]'"
    ) from error

__all__ = ["PoolHealthCheck"]


@dataclasses.dataclass(eq=False)
class PoolHealthCheck(HealthCheck):  # type: ignore[misc]
    """Whether a request would get a session of these databases, and an answer by it.

    ``alias`` is one alias, several, or None for all on mysqlpool's engine, which are asked at the
    same time. ``timeout`` is how long a lease may take, as a ``timedelta`` or in seconds; it is 2
    seconds by default. The pool's own timeout holds where that is shorter.
    """

    alias: str | Iterable[str] | None = None
    timeout: dt.timedelta | float = dataclasses.field(default=dt.timedelta(seconds=2), repr=False)

    def __post_init__(self) -> None:
        self.alias = _aliases(self.alias)
        self.timeout = _duration(self.timeout)

    def run(self) -> None:
        """Version 4's. Raises what the package shows as unavailable, or as unexpected."""
        aliases = self._aliases()
        if len(aliases) == 1:
            self._ask(aliases[0])
            return
        with ThreadPoolExecutor(len(aliases)) as executor:
            asked = [executor.submit(self._ask, alias) for alias in aliases]
            errors: list[Any] = [error for one in asked if (error := one.exception()) is not None]
        for error in errors:
            if not isinstance(error, ServiceUnavailable):
                raise error
        if errors:
            raise ServiceUnavailable("; ".join(str(error.message) for error in errors))

    def check_status(self) -> None:
        """Version 3's."""
        self.run()

    def _aliases(self) -> tuple[str, ...]:
        if isinstance(self.alias, str):
            return (self.alias,)
        if self.alias is not None:
            return tuple(self.alias)
        aliases = tuple(alias for alias in connections if _is_ours(connections[alias]))
        if not aliases:
            raise ServiceUnavailable("no database is on mysqlpool's engine")
        return aliases

    def _ask(self, alias: str) -> None:
        if alias not in connections:
            known = ", ".join(map(repr, connections))
            raise ServiceUnavailable(f"there is no database {alias!r}; DATABASES has {known}")
        # One of its own: what this thread has leased already is neither asked nor released.
        connection: Any = connections.create_connection(alias)
        if not _is_ours(connection):
            raise ServiceUnavailable(f"database {alias!r} is not on mysqlpool's engine")
        try:
            answer = self._answer(connection)
        except PoolExhausted as error:
            raise ServiceUnavailable(_exhausted(error)) from error
        except (Error, MySQLdb.Error) as error:
            raise ServiceUnavailable(_failed(alias, error)) from error
        if answer != "1":
            raise ServiceReturnedUnexpectedResult(f"database {alias!r} answered SELECT 1 otherwise")

    def _answer(self, connection: Any) -> str:
        assert isinstance(self.timeout, dt.timedelta)
        try:
            # The scope says that somebody releases. It has nothing to release itself.
            with auto_close_db(using=()), connection.within(self.timeout.total_seconds()):
                connection.connect()
                return str(connection.tenure.lease.session.ask(b"SELECT 1"))
        finally:
            connection.close()


def _aliases(alias: Any) -> str | tuple[str, ...] | None:
    if isinstance(alias, str | None):
        return alias
    aliases = tuple(alias) if isinstance(alias, Iterable) else ()
    if not aliases or not all(isinstance(one, str) for one in aliases):
        raise ImproperlyConfigured(
            "PoolHealthCheck's alias must be an alias, several aliases, or None for all on "
            f"mysqlpool's engine, not {alias!r}"
        )
    return aliases


def _duration(timeout: Any) -> dt.timedelta:
    given = timeout
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool):
        timeout = dt.timedelta(seconds=timeout)
    if not isinstance(timeout, dt.timedelta) or timeout <= dt.timedelta():
        raise ImproperlyConfigured(
            f"PoolHealthCheck's timeout must be a timedelta or seconds, above 0, not {given!r}"
        )
    return timeout


def _is_ours(connection: Any) -> bool:
    return bool(getattr(connection, "uses_mysqlpool", False))


def _exhausted(error: PoolExhausted) -> str:
    """What `error` tells, without places in the code and the server's own words."""
    within = f" within {error.seconds:.1f} s" if isinstance(error, PoolTimeout) else ""
    waiting = f"{error.waiting} more {'thread waits' if error.waiting == 1 else 'threads wait'}"
    refusal = ""
    if error.refusal is not None:
        refusal = f", and the server refused to open one{_number_of(error.refusal)}"
    return (
        f"pool {error.alias!r} had no session{within}: {error.in_use} of {error.limit} are in use, "
        f"{waiting}{refusal}"
    )


def _failed(alias: str, error: BaseException) -> str:
    """The error's number and class. Its text may name hosts and accounts."""
    if cannot_connect(error):
        return f"no server of database {alias!r} answers{_number_of(error)}"
    return f"database {alias!r} cannot be asked: {type(error).__name__}{_number_of(error)}"


def _number_of(error: BaseException) -> str:
    number = error.args[0] if error.args else None
    return f" (error {number})" if isinstance(number, int) else ""
