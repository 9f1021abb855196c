"""``OPTIONS["pool"]`` and ``MYSQLPOOL_*``, parsed once into one frozen `PoolSettings`.

What a single value may be stands in `mysqlpool.conf.rules`. Each pool class is asked itself which
keys it knows: they differ between SQLAlchemy's versions, and a class of your own may have others.

An alias starts from the global ``MYSQLPOOL_BACKEND`` and ``MYSQLPOOL_ARGUMENTS``, and its own
``OPTIONS["pool"]`` wins key by key. The global arguments are written for the global class, and
are checked against that one alone. An alias with another class takes those that its own class
knows, and the others do not concern it.

``lease`` has a default that follows from the rest. It is ``"transaction"`` for classes that keep
several sessions for all threads, FairQueuePool and QueuePool. It is ``"task"`` for those of one
session, or one for each thread, and where each lease opens a session: with a NullPool
(``"pool": False``), and with ``"reset": "always"``. Who says ``"transaction"`` there gets it, but
with ``"reset": "always"`` it is refused.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import sqlalchemy.pool
from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from sqlalchemy.pool import NullPool, Pool

from .misplaced import refuse_misplaced
from .rules import RULES, SESSION_DEFAULTS, did_you_mean, refuse, refuse_key, shown
from .servers import parse_servers

__all__ = ["DEFAULT_POOL_CLASS", "PoolSettings", "parse_pool_settings", "refusals"]

DEFAULT_POOL_CLASS = "FairQueuePool"

POOL_CLASSES = {
    "FairQueuePool": "mysqlpool.pool.FairQueuePool",
    "QueuePool": "sqlalchemy.pool.QueuePool",
    "NullPool": "sqlalchemy.pool.NullPool",
    "StaticPool": "sqlalchemy.pool.StaticPool",
    "AssertionPool": "sqlalchemy.pool.AssertionPool",
    "SingletonThreadPool": "sqlalchemy.pool.SingletonThreadPool",
}
ASYNC_CLASSES = ("AsyncAdaptedQueuePool", "FallbackAsyncAdaptedQueuePool")
CALLABLE_RULE = "the dotted path of a callable"
POOL_CLASS_RULE = f"one of {', '.join(POOL_CLASSES)}, or the dotted path of a sqlalchemy Pool class"

# Seconds, where it is a time. FairQueuePool's further defaults stand in its own signature.
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"pool_size": 10, "max_overflow": 0, "timeout": 30, "recycle": 1800, "use_lifo": True}
)
# The backend gives these itself.
GIVEN = frozenset(
    {"self", "creator", "dialect", "events", "_dispatch", "check", "classify", "is_idle", "renew"}
)
# AssertionPool takes this one out of its **kw, where no signature shows it.
HIDDEN: Mapping[type, frozenset[str]] = {
    sqlalchemy.pool.AssertionPool: frozenset({"store_traceback"}),
}


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How the pool of one alias is made, and how its sessions are kept.

    ``arguments`` is a read-only mapping of keyword arguments for ``pool_class``. ``pooled`` is
    False where each lease opens a session of its own. ``hosts`` is the order in which several
    servers are tried. ``host_retry``, ``tcp_user_timeout``, ``ping_after`` and ``ping_timeout`` are
    seconds. ``connect_args`` is given the connection parameters before each connect, and returns
    them. No parameter is in here, so a repr tells no password.
    """

    alias: str
    pool_class: type[Pool]
    arguments: Mapping[str, Any]
    pooled: bool
    lease: str
    unscoped: str | None
    begin: str
    reset: str
    connect_args: Callable[[dict[str, Any]], Mapping[str, Any]] | None
    hosts: str
    host_retry: float
    tcp_keepalive: bool
    tcp_user_timeout: float | None
    ping_after: float
    ping_timeout: float


def parse_pool_settings(alias: str, settings_dict: Mapping[str, Any]) -> PoolSettings:
    """Return the pool settings of ``alias``, whose entry in ``DATABASES`` is ``settings_dict``.

    An absent ``OPTIONS["pool"]``, ``None``, ``True`` and ``{}`` all mean a pool with the defaults;
    ``False`` means none (SQLAlchemy's NullPool). Raises ``ImproperlyConfigured`` for whatever
    breaks a rule. Warns of ``use_threadlocal``. Changes nothing that it is given.
    """
    place = f"DATABASES[{alias!r}]"
    options = settings_dict.get("OPTIONS", {})
    if not isinstance(options, Mapping):
        # A string of JSON, say, may have a password in it.
        refuse(f"{place}['OPTIONS']", "a dict", options and type(options))
    own = _own_options(f"{place}['OPTIONS']['pool']", settings_dict)
    pool_class, values = _merge(f"{place}['OPTIONS']['pool']", own)
    parse_servers(place, settings_dict)
    refuse_misplaced(place, settings_dict, {"class", *RULES, *_keywords(pool_class)})
    pooled = not issubclass(pool_class, NullPool)
    values["lease"] = values["lease"] or _default_lease(values)
    if pooled:
        _refuse_persistence(place, settings_dict)
        if _wants_pings(place, settings_dict, own):
            values["pre_ping"] = True
    _refuse_idle_above_size(place, values)
    if (values["lease"], values["reset"]) == ("transaction", "always"):
        note = "with 'lease': 'transaction' each statement would open a session"
        refuse(f"{place}['OPTIONS']['pool']['reset']", '"dirty"', "always", note)
    session = {key: values.pop(key) for key in SESSION_DEFAULTS}
    session["connect_args"] = _callable(place, session["connect_args"])
    return PoolSettings(alias, pool_class, MappingProxyType(values), pooled, **session)


def refusals(alias: str, settings_dict: Mapping[str, Any]) -> Iterator[ImproperlyConfigured]:
    """Yield all that `parse_pool_settings` would refuse, which raises only the first of it."""
    found: set[str] = set()
    for part in _parts(settings_dict):
        try:
            parse_pool_settings(alias, part)
        except ImproperlyConfigured as error:
            if str(error) not in found:
                found.add(str(error))
                yield error


def _parts(settings_dict: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The entry without its pool's keys, with each of them alone beside the class, and as it is."""
    options = settings_dict.get("OPTIONS", {})
    own = options.get("pool") if isinstance(options, Mapping) else None
    if isinstance(own, Mapping):
        shared = {key: own[key] for key in ("class",) if key in own}
        yield {**settings_dict, "OPTIONS": {**options, "pool": shared}}
        for key in own:
            yield {**settings_dict, "OPTIONS": {**options, "pool": {**shared, key: own[key]}}}
    yield settings_dict


def _callable(place: str, wanted: Any) -> Any:
    """Return what ``connect_args`` is or names."""
    if not isinstance(wanted, str):
        return wanted
    place = f"{place}['OPTIONS']['pool']['connect_args']"
    found = _imported(place, wanted, wanted, CALLABLE_RULE)
    if not callable(found):
        refuse(place, CALLABLE_RULE, wanted)
    return found


def _default_lease(values: Mapping[str, Any]) -> str:
    """A transaction's, where a class keeps several sessions, and none is opened for each lease."""
    several = "max_overflow" in values and values["reset"] != "always"
    default: str = SESSION_DEFAULTS["lease"] if several else "task"
    return default


def _own_options(place: str, settings_dict: Mapping[str, Any]) -> dict[Any, Any]:
    pool = settings_dict.get("OPTIONS", {}).get("pool")
    if pool is None or pool is True:
        return {}
    if pool is False:
        return {"class": NullPool}
    if not isinstance(pool, Mapping):
        refuse(place, "True, False or a dict", pool)
    return dict(pool)


def _merge(place: str, own: Mapping[Any, Any]) -> tuple[type[Pool], dict[str, Any]]:
    """Return the class and the values of an alias: defaults, then global ones, then its own."""
    backend = getattr(django_settings, "MYSQLPOOL_BACKEND", DEFAULT_POOL_CLASS)
    arguments = getattr(django_settings, "MYSQLPOOL_ARGUMENTS", {})
    if not isinstance(arguments, Mapping):
        refuse("MYSQLPOOL_ARGUMENTS", "a dict", arguments)
    global_class = _pool_class("MYSQLPOOL_BACKEND", backend)
    shared = _checked("MYSQLPOOL_ARGUMENTS", arguments, global_class)
    pool_class = _pool_class(f"{place}['class']", own.get("class", global_class))
    specific = _checked(place, {k: v for k, v in own.items() if k != "class"}, pool_class)
    known = _keywords(pool_class) | SESSION_DEFAULTS.keys()
    base = {**DEFAULTS, **SESSION_DEFAULTS, "lease": None, **shared}
    return pool_class, {k: v for k, v in base.items() if k in known} | specific


def _checked(place: str, values: Mapping[Any, Any], pool_class: type[Pool]) -> dict[str, Any]:
    """Check ``values`` and return them as they are used, without those that have no effect."""
    known = _keywords(pool_class) | SESSION_DEFAULTS.keys()
    checked = {}
    for key, value in values.items():
        if key == "use_threadlocal":
            _warn_of_threadlocal(place)
        elif key not in known:
            _refuse_unknown(place, key, known, pool_class)
        else:
            rule = RULES.get(key)  # A class of your own checks its own keywords.
            checked[key] = rule.apply(f"{place}[{key!r}]", value) if rule else value
    return checked


def _keywords(pool_class: type[Pool]) -> set[str]:
    """Return the keyword arguments of ``pool_class``, following ``**kw`` along its bases."""
    found: set[str] = set()
    for base in pool_class.__mro__:
        found |= HIDDEN.get(base, frozenset())
        if "__init__" not in vars(base):
            continue
        parameters = inspect.signature(vars(base)["__init__"]).parameters.values()
        found |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found - GIVEN


def _refuse_unknown(place: str, key: Any, known: Iterable[str], pool_class: type[Pool]) -> None:
    if key == "class":
        raise ImproperlyConfigured(f"{place} has no 'class'; name the class in MYSQLPOOL_BACKEND")
    if isinstance(key, str) and key in GIVEN:
        raise ImproperlyConfigured(f"{place}[{key!r}] is not yours to give; mysqlpool gives it")
    refuse_key(place, key, known, pool_class.__name__)


def _warn_of_threadlocal(place: str) -> None:
    warnings.warn(
        f"{place}['use_threadlocal'] has no effect: SQLAlchemy dropped it. A thread's lease is "
        "its own in any case. Remove the key.",
        RuntimeWarning,
        stacklevel=2,
    )


def _pool_class(place: str, wanted: Any) -> type[Pool]:
    """Return the class that ``wanted`` is or names."""
    found = _named_class(place, wanted) if isinstance(wanted, str) else wanted
    if not (isinstance(found, type) and issubclass(found, Pool)) or found is Pool:
        refuse(place, POOL_CLASS_RULE, wanted)
    if issubclass(found, sqlalchemy.pool.AsyncAdaptedQueuePool):
        _refuse_async(place, wanted)
    return found


def _named_class(place: str, name: str) -> Any:
    if name.rpartition(".")[2] in ASYNC_CLASSES:
        _refuse_async(place, name)
    note = did_you_mean(name, POOL_CLASSES)
    return _imported(place, name, POOL_CLASSES.get(name, name), POOL_CLASS_RULE, note)


def _imported(place: str, name: str, path: str, rule: str, note: str | None = None) -> Any:
    """Return what stands at a dotted path, which ``name`` is or means."""
    if "." not in path or not all(part.isidentifier() for part in path.split(".")):
        refuse(place, rule, name, note)
    try:
        return import_string(path)
    except ImportError as error:
        raise ImproperlyConfigured(f"{place}: {shown(name)} cannot be imported: {error}") from error


def _refuse_async(place: str, wanted: Any) -> None:
    raise ImproperlyConfigured(
        f"{place} must not be {shown(wanted)}: it is for asyncio drivers, and mysqlclient is none"
    )


def _refuse_persistence(place: str, settings_dict: Mapping[str, Any]) -> None:
    age = settings_dict.get("CONN_MAX_AGE", 0)
    if age != 0:
        raise ImproperlyConfigured(
            f"Pooling doesn't support persistent connections. {place}['CONN_MAX_AGE'] must be 0, "
            f"not {shown(age)}: remove it, or set {place}['OPTIONS']['pool'] to False"
        )


def _wants_pings(place: str, settings_dict: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    checks = settings_dict.get("CONN_HEALTH_CHECKS", False)
    if not isinstance(checks, bool):
        refuse(f"{place}['CONN_HEALTH_CHECKS']", "True or False", checks)
    if checks and own.get("pre_ping") is False:
        raise ImproperlyConfigured(
            f"{place}['CONN_HEALTH_CHECKS'] is True and {place}['OPTIONS']['pool']['pre_ping'] is "
            "False; both mean a ping at every lease, so remove one"
        )
    return checks


def _refuse_idle_above_size(place: str, values: Mapping[str, Any]) -> None:
    """Refuse a ``min_idle`` above ``pool_size``."""
    size, idle = values.get("pool_size"), values.get("min_idle")
    if size is not None and idle is not None and idle > size:
        raise ImproperlyConfigured(
            f"{place}['OPTIONS']['pool']: min_idle ({shown(idle)}) must not be above pool_size "
            f"({shown(size)})"
        )
