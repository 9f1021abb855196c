"""Who takes part: six ways to have connections, each as its users set it up.

A contestant is bound to a server. While it is on stage, Django knows its alias and no other, as in
a project of its own: what ends a request looks at every alias, and would else pay for the others.
All are without TLS, which would add to what opening a session costs. All pools have `SESSIONS`.
"""

from __future__ import annotations

import importlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import MySQLdb
from django.db import close_old_connections, connections
from django.db.utils import ConnectionHandler

from mysqlpool import close_pool, release_connections
from tests.server import Server

__all__ = [
    "CLOSED",
    "DRIVER",
    "HELD",
    "PATIENCE",
    "PLAIN",
    "POOLED",
    "REFERENCE",
    "SESSIONS",
    "TASK",
    "TRANSACTION",
    "BareDriver",
    "Contestant",
    "ThroughDjango",
    "alone",
    "contestant",
    "contestants",
    "ours",
]

STOCK = "django.db.backends.mysql"
PEER = "dj_db_conn_pool.backends.mysql"
OURS = "mysqlpool.backends.mysqlpool"
MIDDLEWARE = "mysqlpool.middleware.ReleaseConnectionsMiddleware"

DRIVER, HELD, CLOSED = (
    "mysqlclient, held open",
    "Django, CONN_MAX_AGE=None",
    "Django, CONN_MAX_AGE=0",
)
POOLED = "django-db-connection-pool"
TRANSACTION, TASK = "mysqlpool, transaction", "mysqlpool, task"
REFERENCE = HELD  # what the others are compared with

SESSIONS = 10
PATIENCE = 600  # seconds; a pool's timeout that no thread reaches, however unfair its turns are
SIZES = {"pool_size": SESSIONS, "max_overflow": 0, "timeout": PATIENCE}
PLAIN = {"ssl_mode": "DISABLED"}


@dataclass(frozen=True)
class Contestant(ABC):
    """A way to have connections. ``key`` names it in commands and files, ``name`` in tables."""

    key: str
    name: str
    server: Server

    @abstractmethod
    def lease(self) -> None:
        """Have a connection, without a query."""

    @abstractmethod
    def query(self, sql: str = "SELECT 1") -> Any:
        """Ask it something; returns the answer's first value."""

    @abstractmethod
    def release(self) -> None:
        """What its users have done at the end of a task."""

    @abstractmethod
    def leave(self) -> None:
        """This thread needs its connection no more."""

    @abstractmethod
    def close(self) -> None:
        """Leave no session open, of this thread or of a pool."""

    @contextmanager
    def on_stage(self) -> Iterator[None]:
        """In this block this process has no other contestant."""
        yield

    def databases(self) -> dict[str, dict[str, Any]]:
        """What ``DATABASES`` says."""
        return {}

    @property
    def middleware(self) -> Sequence[str]:
        return []


@dataclass(frozen=True)
class ThroughDjango(Contestant):
    """An engine of Django. ``settings`` is what ``DATABASES`` says of it besides the address."""

    settings: Mapping[str, Any]
    give_back: Callable[[], object]
    close_all: Callable[[str], object]
    first_middleware: str = ""
    alias: str = "default"

    def lease(self) -> None:
        connections[self.alias].ensure_connection()

    def query(self, sql: str = "SELECT 1") -> Any:
        with connections[self.alias].cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    def release(self) -> None:
        self.give_back()

    def leave(self) -> None:
        connections[self.alias].close()
        del connections[self.alias]  # The alias may come again with another address.

    def close(self) -> None:
        self.leave()
        self.close_all(self.alias)

    @contextmanager
    def on_stage(self) -> Iterator[None]:
        before = connections.settings
        connections.settings = ConnectionHandler(self.databases()).settings
        try:
            yield
        finally:
            connections.settings = before

    def databases(self) -> dict[str, dict[str, Any]]:
        address = {
            "HOST": self.server.host,
            "PORT": self.server.port,
            "USER": self.server.user,
            "PASSWORD": self.server.password,
            "NAME": self.server.name,
        }
        # Where there are several databases, Django wants one that is called so.
        return {"default": {}, self.alias: {**address, **self.settings}}

    @property
    def middleware(self) -> Sequence[str]:
        return [self.first_middleware] if self.first_middleware else []


@dataclass(frozen=True)
class BareDriver(Contestant):
    """mysqlclient alone, with a connection for each thread that is held open."""

    kept: threading.local = field(default_factory=threading.local, compare=False, repr=False)

    def lease(self) -> None:
        self._connection()

    def query(self, sql: str = "SELECT 1") -> Any:
        try:
            cursor = self._connection().cursor()
            cursor.execute(sql)
            value = cursor.fetchone()[0]
            cursor.close()
        except MySQLdb.OperationalError:
            self.leave()  # The next query connects.
            raise
        return value

    def release(self) -> None: ...

    def leave(self) -> None:
        if (connection := vars(self.kept).pop("connection", None)) is not None:
            connection.close()

    def close(self) -> None:
        self.leave()

    def _connection(self) -> Any:
        kept = vars(self.kept)
        if "connection" not in kept:
            kept["connection"] = MySQLdb.connect(
                host=self.server.host,
                port=self.server.port,
                user=self.server.user,
                password=self.server.password,
                database=self.server.name,
                autocommit=True,
                **PLAIN,
            )
        return kept["connection"]


def contestants(server: Server) -> list[Contestant]:
    """All of them, on this server."""
    return [
        BareDriver("driver", DRIVER, server),
        stock("held", HELD, server, None),
        stock("closed", CLOSED, server, 0),
        peer(server),
        ours("transaction", TRANSACTION, server, {"lease": "transaction"}),
        ours("task", TASK, server, {"lease": "task"}),
    ]


def contestant(key: str, server: Server) -> Contestant:
    """The one of this key."""
    return next(one for one in contestants(server) if one.key == key)


def alone(key: str, server: Server) -> Contestant:
    """The same in a process of its own, where its alias is the default one, as in most projects."""
    one = contestant(key, server)
    return replace(one, alias="default") if isinstance(one, ThroughDjango) else one


def stock(key: str, name: str, server: Server, max_age: int | None) -> ThroughDjango:
    settings = {"ENGINE": STOCK, "CONN_MAX_AGE": max_age, "OPTIONS": PLAIN}
    return ThroughDjango(
        key, name, server, settings, close_old_connections, lambda alias: None, alias=key
    )


def peer(server: Server) -> ThroughDjango:
    options = {name.upper(): value for name, value in SIZES.items()}
    settings = {"ENGINE": PEER, "OPTIONS": PLAIN, "POOL_OPTIONS": options}
    return ThroughDjango(
        "peer", POOLED, server, settings, close_old_connections, dispose_peers_pool, alias="peer"
    )


def ours(key: str, name: str, server: Server, options: Mapping[str, Any]) -> ThroughDjango:
    settings = {"ENGINE": OURS, "OPTIONS": {**PLAIN, "pool": {**SIZES, **options}}}
    return ThroughDjango(
        key, name, server, settings, release_connections, close_pool, MIDDLEWARE, alias=key
    )


def dispose_peers_pool(alias: str) -> None:
    core: Any = importlib.import_module("dj_db_conn_pool.core")
    if (pool := core.pool_container.pop(alias, None)) is not None:
        pool.dispose()
