"""What is said of how requests are served: the middleware, and streams after a transaction."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import CodeType, FunctionType
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage
from django.core.checks import Info as CheckInfo
from django.core.checks import Warning as CheckWarning
from django.db import connections
from django.http import FileResponse, StreamingHttpResponse
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.module_loading import import_string

from .entries import our_aliases, pools_in_order

__all__ = ["check_atomic_streams", "check_middleware"]

MIDDLEWARE = "mysqlpool.middleware.ReleaseConnectionsMiddleware"

# Agents whose middleware puts itself first, as the process starts, and uses no database.
_TRACERS = frozenset(["elasticapm", "opentelemetry", "scout_apm"])


def check_middleware(**kwargs: Any) -> list[CheckMessage]:
    if not _serves_requests() or not settings.MIDDLEWARE:
        return []
    pools = list(pools_in_order())
    by_task = [pool.alias for pool in pools if pool.lease == "task"]
    place = _place_of_middleware(settings.MIDDLEWARE)
    if not pools:
        return []
    if place is None:
        return [missing_warning(by_task) if by_task else missing_info()]
    before = [path for path in settings.MIDDLEWARE[:place] if not _is_a_tracers(path)]
    if not before:
        return []
    return [late_warning(by_task, before) if by_task else late_info(before)]


def _serves_requests() -> bool:
    return bool(getattr(settings, "ROOT_URLCONF", None))


def _is_a_tracers(path: str) -> bool:
    return path.partition(".")[0] in _TRACERS


def _place_of_middleware(paths: Sequence[str]) -> int | None:
    """Where ours stands, or one that is made of it by inheritance."""
    if MIDDLEWARE in paths:
        return list(paths).index(MIDDLEWARE)
    ours = import_string(MIDDLEWARE)
    for place, path in enumerate(paths):
        try:
            found = import_string(path)
        except Exception:  # Its module may raise anything, and Django says so as it serves.
            continue
        if inspect.isclass(found) and issubclass(found, ours):
            return place
    return None


def check_atomic_streams(**kwargs: Any) -> list[CheckMessage]:
    atomic = {a for a in our_aliases() if connections.settings[a].get("ATOMIC_REQUESTS")}
    if not atomic or not _serves_requests():
        return []
    return [
        late_stream_warning(name, sorted(aliases))
        for name, aliases in sorted(_streaming_views(atomic).items())
    ]


def _streaming_views(atomic: set[str]) -> dict[str, set[str]]:
    """The names of views that make streams, and the aliases whose transaction is around them."""
    found = {}
    for view in _views(get_resolver().url_patterns):
        aliases = atomic - getattr(view, "_non_atomic_requests", set())
        if aliases and any(map(_makes_a_stream, _functions(view))):
            found[_name(view)] = aliases
    return found


def _views(patterns: Sequence[Any]) -> Iterator[Callable[..., Any]]:
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            yield from _views(pattern.url_patterns)
        elif isinstance(pattern, URLPattern):
            yield pattern.callback


def _class_of(view: Callable[..., Any]) -> type | None:
    """That of a view of Django's, or of Django REST framework's."""
    return getattr(view, "view_class", None) or getattr(view, "cls", None)


def _bare(view: Callable[..., Any]) -> Any:
    """The function that a project wrote, without decorators and ``partial``."""
    while True:
        view = _unwrapped(view)
        if not isinstance(view, partial):
            return view
        view = view.func


def _unwrapped(function: Callable[..., Any]) -> Any:
    """Without decorators; as it is where any attribute is there that is asked for, as of a mock."""
    try:
        return inspect.unwrap(function)
    except ValueError:  # It goes on for ever.
        return function


def _name(view: Callable[..., Any]) -> str:
    target: Any = _class_of(view) or _bare(view)
    return f"{target.__module__}.{getattr(target, '__qualname__', type(target).__qualname__)}"


def _functions(view: Callable[..., Any]) -> Iterator[FunctionType]:
    """The view's own, and those of its module which it names."""
    view_class = _class_of(view)
    members = [_bare(view)] if view_class is None else _methods(view_class)
    for function in members:
        if isinstance(function, FunctionType):
            yield function
            for name in _names(function.__code__):
                helper = function.__globals__.get(name)
                if isinstance(helper, FunctionType) and helper.__module__ == function.__module__:
                    yield helper


def _methods(view_class: type) -> list[Any]:
    return [
        _unwrapped(member) if callable(member) else member
        for base in view_class.__mro__
        if not base.__module__.startswith(("builtins", "django.", "rest_framework."))
        for member in vars(base).values()
    ]


def _makes_a_stream(function: FunctionType) -> bool:
    return any(_is_stream(function, name) for name in _names(function.__code__))


def _is_stream(function: FunctionType, name: str) -> bool:
    """A file's does not count: nobody asks the database for its chunks."""
    named = function.__globals__.get(name)
    if inspect.isclass(named) and issubclass(named, StreamingHttpResponse):
        return not issubclass(named, FileResponse)
    return named is None and name == StreamingHttpResponse.__name__


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function looks up, and those that functions inside of it do."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def missing_warning(aliases: Sequence[str]) -> CheckMessage:
    return CheckWarning(
        f"ReleaseConnectionsMiddleware is not in MIDDLEWARE: a request keeps its session of "
        f"{_named(aliases)} until the last byte of its response was sent.",
        hint=f"Put '{MIDDLEWARE}' first in MIDDLEWARE, so that no slow client keeps a session.",
        id="mysqlpool.W006",
    )


def missing_info() -> CheckMessage:
    return CheckInfo(
        "ReleaseConnectionsMiddleware is not in MIDDLEWARE. With 'lease': 'transaction' leases end "
        "by themselves, but what pins a session (a temporary table, SET, an open cursor) keeps it "
        "until the last byte of the response was sent.",
        hint=f"Put '{MIDDLEWARE}' first in MIDDLEWARE.",
        id="mysqlpool.I001",
    )


def late_warning(aliases: Sequence[str], before: Sequence[str]) -> CheckMessage:
    return CheckWarning(
        f"ReleaseConnectionsMiddleware stands behind {_listed(before)} in MIDDLEWARE: a session of "
        f"{_named(aliases)} that one of these leases after it is kept until the last byte of the "
        "response was sent.",
        hint=(
            f"Put '{MIDDLEWARE}' first. When those before it use no database, add "
            "'mysqlpool.W007' to SILENCED_SYSTEM_CHECKS."
        ),
        id="mysqlpool.W007",
    )


def late_info(before: Sequence[str]) -> CheckMessage:
    return CheckInfo(
        f"ReleaseConnectionsMiddleware stands behind {_listed(before)} in MIDDLEWARE. With "
        "'lease': 'transaction' that matters only where one of these pins a session.",
        hint=f"Put '{MIDDLEWARE}' first.",
        id="mysqlpool.I002",
    )


def late_stream_warning(view: str, aliases: Sequence[str]) -> CheckMessage:
    return CheckWarning(
        f"The view {view} makes a StreamingHttpResponse, and ATOMIC_REQUESTS of {_named(aliases)} "
        "ends its transaction before the stream begins: each query in the stream is on its own, "
        "sees what others changed meanwhile, and is not rolled back with the view.",
        hint=(
            "Put transaction.atomic() into the generator of the stream, or read what it needs "
            "before. If its body asks no database, decorate the view with "
            "transaction.non_atomic_requests, or add 'mysqlpool.W010' to SILENCED_SYSTEM_CHECKS."
        ),
        id="mysqlpool.W010",
    )


def _named(aliases: Sequence[str]) -> str:
    return ", ".join(f"'{alias}'" for alias in aliases)


def _listed(paths: Sequence[str]) -> str:
    return ", ".join(path.rpartition(".")[2] for path in paths)
