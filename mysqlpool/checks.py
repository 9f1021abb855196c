"""What is refused at start, and the system checks. A check's ID is never given to another one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import FunctionType
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.db.utils import load_backend
from sqlalchemy.pool import SingletonThreadPool, StaticPool

from .backends.mysqlpool import observers
from .conf.settings import PoolSettings, parse_pool_settings
from .session.tls import verifies_identity, wants_tls

__all__ = [
    "check_global_settings",
    "check_instrumentation",
    "check_pool_classes",
    "check_tls",
    "validate_pool_settings",
]

BACKEND_MODULE = "mysqlpool.backends.mysqlpool.base"
ENGINES = frozenset({"mysqlpool.backends.mysqlpool", "mysqlpool.backends.gis"})
DJANGO_ENGINES = ("django.db.backends.", "django.contrib.gis.db.backends.")


def validate_pool_settings() -> None:
    """Parse the pool settings of every alias on our engine, and touch no server.

    Raises one ``ImproperlyConfigured`` that tells what is wrong with all of them.
    """
    # A fault of the global settings is found at every alias, and told once.
    errors: dict[str, ImproperlyConfigured] = {}
    for alias in our_aliases():
        try:
            pool_settings(alias)
        except ImproperlyConfigured as error:
            errors.setdefault(str(error), error)
    if errors:
        raise ImproperlyConfigured("\n".join(errors)) from next(iter(errors.values()))


def check_global_settings(**kwargs: Any) -> list[CheckMessage]:
    names = [n for n in ("MYSQLPOOL_BACKEND", "MYSQLPOOL_ARGUMENTS") if hasattr(settings, n)]
    return [unused_setting_warning(name) for name in names] if not any(our_aliases()) else []


def check_pool_classes(**kwargs: Any) -> list[CheckMessage]:
    found = [pool_settings(alias) for alias in our_aliases()]
    return [
        per_thread_class_warning(pool)
        for pool in found
        if issubclass(pool.pool_class, (StaticPool, SingletonThreadPool))
    ]


def check_instrumentation(**kwargs: Any) -> list[CheckMessage]:
    if observers.present is not None or not any(our_aliases()):
        return []
    package = wrapper_of_connect()
    return [unseen_sessions_warning(package)] if package else []


def check_tls(**kwargs: Any) -> list[CheckMessage]:
    found = ((alias, connections.settings[alias]) for alias in our_aliases())
    return [
        unverified_server_warning(alias, named)
        for alias, settings_dict in found
        if (named := unverified_tls(settings_dict))
    ]


def unverified_tls(settings_dict: Mapping[str, Any]) -> str | None:
    """What in an alias's settings asks for TLS, where nothing verifies the server.

    A server behind a Unix socket is where the socket is: nobody is between.
    """
    options = settings_dict.get("OPTIONS") or {}
    host = settings_dict.get("HOST") or ""
    if options.get("unix_socket") or str(host).startswith("/"):
        return None
    named = wants_tls(options)
    return None if named is None or verifies_identity(options) else named


def wrapper_of_connect() -> str | None:
    """The package that put something of its own into the place of ``MySQLdb.connect``, if any."""
    import MySQLdb

    connect: Any = MySQLdb.connect
    if type(connect) is FunctionType:
        module = connect.__globals__["__name__"]
    else:  # wrapt keeps there what the package gave it.
        module = getattr(connect, "_self_wrapper", type(connect)).__module__
    package = str(module).partition(".")[0]
    return None if package == "MySQLdb" else package


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


def unseen_sessions_warning(package: str) -> CheckMessage:
    return CheckWarning(
        f"MySQLdb.connect is wrapped by '{package}', which does not see the sessions of mysqlpool: "
        "their statements will be missing in its traces.",
        hint=(
            "mysqlpool opens its sessions past MySQLdb.connect. With OpenTelemetry call "
            "mysqlpool.contrib.opentelemetry.instrument(). With ddtrace set "
            "DD_DJANGO_INSTRUMENT_DATABASES=true. docs/instrumentation.rst tells "
            "which package sees what. When you have seen to it, or need no traces of these "
            "databases, add 'mysqlpool.W003' to SILENCED_SYSTEM_CHECKS."
        ),
        id="mysqlpool.W003",
    )


def unverified_server_warning(alias: str, named: str) -> CheckMessage:
    return CheckWarning(
        f"Database '{alias}' asks for TLS by {named}, and does not verify who the server is: "
        "somebody on the way to it can pass for it, and MariaDB's client library may tell a server "
        "without TLS the password.",
        hint=(
            "Set 'ssl_mode': 'VERIFY_IDENTITY' in OPTIONS, and 'ssl': {'ca': FILE} with the "
            "certificates of the authority that signed the server's, which must name HOST. 'ssl' "
            "alone and 'REQUIRED' verify nothing. 'VERIFY_CA' does not look at the name where "
            "mysqlclient is built on Oracle's library. When the way to the server is safe, add "
            "'mysqlpool.W004' to SILENCED_SYSTEM_CHECKS."
        ),
        id="mysqlpool.W004",
    )


def pool_settings(alias: str) -> PoolSettings:
    return parse_pool_settings(alias, connections.settings[alias])


def our_aliases() -> Iterator[str]:
    """Yield the aliases on our engine, or on an engine made of ours by inheritance."""
    for alias, settings_dict in connections.settings.items():
        if _is_ours(settings_dict["ENGINE"]):
            yield alias


def _is_ours(engine: str) -> bool:
    # To load an engine loads its driver, too. So only one that may be a subclass of ours is loaded.
    if engine in ENGINES or engine.startswith(DJANGO_ENGINES):
        return engine in ENGINES
    try:
        bases = load_backend(engine).DatabaseWrapper.__mro__
    except (ImportError, ImproperlyConfigured):
        return False  # Django says so itself when the engine is used.
    return any(base.__module__ == BACKEND_MODULE for base in bases)
