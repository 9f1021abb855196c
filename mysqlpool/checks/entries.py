"""The aliases of the project, as its settings have them. Nothing here connects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.utils import load_backend
from sqlalchemy.pool import AssertionPool, NullPool, StaticPool

from mysqlpool.conf.servers import DEFAULT_PORT, Server, parse_servers
from mysqlpool.conf.settings import PoolSettings, parse_pool_settings

__all__ = [
    "BACKEND_MODULE",
    "DJANGO_ENGINES",
    "limit_of",
    "our_aliases",
    "pools_in_order",
    "servers_of_alias",
    "shown_server",
    "wrapper_class",
]

BACKEND_MODULE = "mysqlpool.backends.mysqlpool.base"
ENGINES = frozenset({"mysqlpool.backends.mysqlpool", "mysqlpool.backends.gis"})
DJANGO_ENGINES = ("django.db.backends.", "django.contrib.gis.db.backends.")


def our_aliases() -> Iterator[str]:
    """Yield the aliases on our engine, or on an engine made of ours by inheritance."""
    for alias, settings_dict in connections.settings.items():
        if _is_ours(settings_dict["ENGINE"]):
            yield alias


def _is_ours(engine: str) -> bool:
    # To load an engine loads its driver, too. So only one that may be a subclass of ours is loaded.
    if engine in ENGINES or engine.startswith(DJANGO_ENGINES):
        return engine in ENGINES
    wrapper = wrapper_class(engine)
    return wrapper is not None and any(c.__module__ == BACKEND_MODULE for c in wrapper.__mro__)


def wrapper_class(engine: str) -> type | None:
    """The class of an engine; None where it cannot be loaded, which Django says itself at use."""
    try:
        return getattr(load_backend(engine), "DatabaseWrapper", None)
    except (ImportError, ImproperlyConfigured):
        return None


def pools_in_order() -> Iterator[PoolSettings]:
    """Yield the settings of our aliases, without those that are refused, which is told by E001."""
    for alias in our_aliases():
        try:
            yield parse_pool_settings(alias, connections.settings[alias])
        except ImproperlyConfigured:
            continue


def limit_of(pool: PoolSettings) -> int | None:
    """How many sessions a process may have of this alias; None where there is no such number."""
    if issubclass(pool.pool_class, (StaticPool, AssertionPool)):
        return 1
    size = pool.arguments.get("pool_size")
    if issubclass(pool.pool_class, NullPool) or "max_overflow" not in pool.arguments:
        return None
    return None if size is None else int(size + pool.arguments["max_overflow"])


def servers_of_alias(alias: str) -> tuple[Server, ...]:
    """The addresses that an alias has in its settings; none where they are refused."""
    settings_dict = connections.settings[alias]
    try:
        several = parse_servers(f"DATABASES[{alias!r}]", settings_dict)
    except ImproperlyConfigured:
        return ()
    return several or (_one_server(settings_dict),)


def _one_server(settings_dict: Mapping[str, Any]) -> Server:
    """As Django makes parameters of it. For mysqlclient ``localhost`` is a Unix socket."""
    options = settings_dict.get("OPTIONS", {})
    host = str(options.get("host") or settings_dict.get("HOST") or "localhost")
    socket = options.get("unix_socket") or (host if host.startswith("/") else None)
    if socket:
        return str(socket)
    port = options.get("port") or settings_dict.get("PORT") or DEFAULT_PORT
    return host, int(port) if str(port).isdecimal() else DEFAULT_PORT


def shown_server(server: Server) -> str:
    return server if isinstance(server, str) else f"{server[0]}:{server[1]}"
