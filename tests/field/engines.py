"""Engines that others could have written, each over Django's engine and over ours."""

from __future__ import annotations

import copy
import itertools
import sys
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType, TracebackType
from typing import Any, Self

import pytest
from django.db import connections

from mysqlpool import close_pool, release_connections
from tests.server import Server

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Under:
    """What an engine is made of, and with which options."""

    name: str
    engine: str
    lease: str | None = None

    @property
    def is_ours(self) -> bool:
        return self.lease is not None

    def __str__(self) -> str:
        return self.name


STOCK = Under("stock", "django.db.backends.mysql")
TASK = Under("task", "mysqlpool.backends.mysqlpool", "task")
TRANSACTION = Under("transaction", "mysqlpool.backends.mysqlpool", "transaction")

on_all = pytest.mark.parametrize("under", [STOCK, TASK, TRANSACTION], ids=str)
"""The promise is Django's own: its engine is the measure."""

on_ours = pytest.mark.parametrize("under", [TASK, TRANSACTION], ids=str)
"""The promise is that of the pool."""


def make_engine(under: Under, *parts: type) -> str:
    """The dotted path of an engine with these classes before the one that it is made of."""
    path = f"tests.field.made_{next(_numbers)}"
    base = ModuleType(f"{path}.base")
    tested = import_module(f"{under.engine}.base").DatabaseWrapper
    kind = type("DatabaseWrapper", (*parts, tested), {"__module__": base.__name__})
    base.DatabaseWrapper = kind  # type: ignore[attr-defined]
    sys.modules[path], sys.modules[base.__name__] = ModuleType(path), base
    return path


class Field:
    """Aliases on made engines, as if ``DATABASES`` had them."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._aliases: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        release_connections()
        close_pool()
        for alias in self._aliases:
            if hasattr(connections._connections, alias):  # type: ignore[attr-defined]
                del connections[alias]
            del connections.settings[alias]

    def alias(
        self, under: Under, *parts: type, pool: dict[str, Any] | None = None, **settings: Any
    ) -> str:
        """A new alias. ``pool`` is for our engine alone, ``settings`` are for both."""
        name = f"field_{next(_numbers)}"
        values = copy.deepcopy(connections.settings["stock"])
        own = {"lease": under.lease, "timeout": 30, "max_overflow": 0, **(pool or {})}
        values.update(
            ENGINE=make_engine(under, *parts),
            NAME=self.server.name,
            OPTIONS={"pool": own} if under.is_ours else {},
            CONN_MAX_AGE=0,
        )
        values.update(settings)
        connections.settings[name] = values
        self._aliases.append(name)
        return name


def ask(alias: str, sql: str, *args: Any) -> Any:
    """The rows that answer one statement."""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, args or None)
        return cursor.fetchall()
