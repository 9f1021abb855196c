"""What is said of the settings of pools: what is refused at start, too, and what is warned of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.checks import Error as CheckError
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from mysqlpool.conf.servers import Server
from mysqlpool.conf.settings import PoolSettings, refusals

from .entries import (
    DJANGO_ENGINES,
    limit_of,
    our_aliases,
    pools_in_order,
    servers_of_alias,
    shown_server,
    wrapper_class,
)

__all__ = [
    "check_foreign_engines",
    "check_global_settings",
    "check_pool_classes",
    "check_pool_settings",
    "check_recycle",
    "check_shared_servers",
    "validate_pool_settings",
]

A_DAY = 86_400  # seconds
DEFAULT_MAX_CONNECTIONS = 151  # of both servers

# Django's own engines of MySQL, which hand OPTIONS["pool"] to mysqlclient. What those of other
# databases make of it is not ours to judge.
_STOCK = ("django.db.backends.mysql", "django.contrib.gis.db.backends.mysql")
# Nobody but a pool has these.
_POOL_KEYS = ("pool", "pool_size", "max_overflow")


def validate_pool_settings() -> None:
    """Parse the pool settings of every alias on our engine, and touch no server.

    Raises one ``ImproperlyConfigured`` that tells what is wrong with all of them.
    """
    if errors := list(_refused()):
        raise ImproperlyConfigured("\n".join(map(str, errors))) from errors[0]


def _refused() -> Iterator[ImproperlyConfigured]:
    """Yield what is wrong with any alias. A fault of the global settings is told once."""
    told: set[str] = set()
    for alias in our_aliases():
        for error in refusals(alias, connections.settings[alias]):
            if str(error) not in told:
                told.add(str(error))
                yield error


def check_pool_settings(**kwargs: Any) -> list[CheckMessage]:
    return [refused_setting_error(error) for error in _refused()]


def check_foreign_engines(**kwargs: Any) -> list[CheckMessage]:
    found = ((alias, one["ENGINE"], one) for alias, one in connections.settings.items())
    return [
        foreign_pool_error(alias, engine, keys)
        for alias, engine, one in found
        if (keys := [key for key in _POOL_KEYS if key in (one.get("OPTIONS") or {})])
        and _hands_on_options(engine)
    ]


def _hands_on_options(engine: str) -> bool:
    """Whether an engine hands ``OPTIONS["pool"]`` to mysqlclient, as far as that is certain.

    An engine of somebody else's may be Django's with a pool of its own. It has that in one of the
    two methods.
    """
    if engine in _STOCK or engine.startswith(DJANGO_ENGINES):
        return engine in _STOCK
    wrapper = wrapper_class(engine)
    methods = (getattr(wrapper, n, None) for n in ("get_connection_params", "get_new_connection"))
    return all(getattr(method, "__module__", "") == f"{_STOCK[0]}.base" for method in methods)


def check_global_settings(**kwargs: Any) -> list[CheckMessage]:
    names = [n for n in ("MYSQLPOOL_BACKEND", "MYSQLPOOL_ARGUMENTS") if hasattr(settings, n)]
    return [unused_setting_warning(name) for name in names] if not any(our_aliases()) else []


def check_pool_classes(**kwargs: Any) -> list[CheckMessage]:
    return [
        per_thread_class_warning(pool)
        for pool in pools_in_order()
        if issubclass(pool.pool_class, (StaticPool, SingletonThreadPool))
    ]


def check_recycle(**kwargs: Any) -> list[CheckMessage]:
    return [
        long_life_warning(pool.alias, recycle)
        for pool in pools_in_order()
        if pool.pooled
        and isinstance(recycle := pool.arguments.get("recycle"), (int, float))
        and not 0 < recycle <= A_DAY
    ]


def check_shared_servers(**kwargs: Any) -> list[CheckMessage]:
    by_server: dict[Server, dict[str, int]] = defaultdict(dict)
    for pool in pools_in_order():
        if (limit := limit_of(pool)) is not None:
            for server in servers_of_alias(pool.alias):
                by_server[server][pool.alias] = limit
    return [
        shared_server_warning(server, limits)
        for server, limits in by_server.items()
        if len(limits) > 1 and sum(limits.values()) > DEFAULT_MAX_CONNECTIONS
    ]


def refused_setting_error(error: ImproperlyConfigured) -> CheckMessage:
    return CheckError(
        str(error),
        hint=(
            "Correct it, or leave it out: what is not set has its default. Any program but "
            "'manage.py check' is refused with the same words as it starts."
        ),
        id="mysqlpool.E001",
    )


def foreign_pool_error(alias: str, engine: str, keys: list[str]) -> CheckMessage:
    named = " and ".join(f"'{key}'" for key in keys)
    return CheckError(
        f"Database '{alias}' has {named} in OPTIONS, and its engine '{engine}' has no pool: it "
        "hands that to mysqlclient, which refuses it at the first query.",
        hint=(
            "Set 'ENGINE': 'mysqlpool.backends.mysqlpool' (or 'mysqlpool.backends.gis'), or take "
            "the pool out of OPTIONS."
        ),
        id="mysqlpool.E002",
    )


def unused_setting_warning(name: str) -> CheckMessage:
    return CheckWarning(
        f"{name} is set, but no database uses mysqlpool.",
        hint=(
            "Set 'ENGINE': 'mysqlpool.backends.mysqlpool' in DATABASES (django-mysqlpool's engine "
            f"was 'django_mysqlpool.backends.mysqlpool'), or remove {name}."
        ),
        id="mysqlpool.W001",
    )


def per_thread_class_warning(pool: PoolSettings) -> CheckMessage:
    return CheckWarning(
        f"The pool class of database '{pool.alias}', {pool.pool_class.__name__}, "
        "is not made for several threads.",
        hint=(
            "StaticPool has one session, and a second thread that leases while the first holds "
            "gets an error. SingletonThreadPool keeps one for each thread and closes those of "
            "other threads beyond pool_size, in use or not. Leave 'class' out."
        ),
        id="mysqlpool.W002",
    )


def long_life_warning(alias: str, recycle: float) -> CheckMessage:
    life = f"for {recycle:g} seconds, which is more than a day" if recycle > 0 else "without end"
    return CheckWarning(
        f"Sessions of database '{alias}' live {life} ('recycle').",
        hint=(
            "An old session goes on with what the server was when it was opened: global variables, "
            "grants of roles, a server that the name led to before a failover; and its memory at "
            "the server grows. To open one each half an hour, the default, costs nothing that is "
            "noticed. Set 'recycle' to 86400 seconds or less, or leave it out."
        ),
        id="mysqlpool.W005",
    )


def shared_server_warning(server: Server, limits: dict[str, int]) -> CheckMessage:
    shares = " + ".join(f"{limit} ('{alias}')" for alias, limit in limits.items())
    return CheckWarning(
        f"One process may open {shares} = {sum(limits.values())} sessions on "
        f"{shown_server(server)}, and a server accepts {DEFAULT_MAX_CONNECTIONS} of all clients "
        "unless its max_connections was raised.",
        hint=(
            "Each alias has a pool of its own, also where several are on one server. Make "
            "'pool_size' + 'max_overflow' smaller. 'manage.py mysqlpool check --processes N' "
            "compares them with the server's own limits. When those are high enough, add "
            "'mysqlpool.W008' to SILENCED_SYSTEM_CHECKS."
        ),
        id="mysqlpool.W008",
    )
