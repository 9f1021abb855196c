"""What is said of packages beside mysqlpool: tracers, green threads, task queues."""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any

from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning

from mysqlpool.backends.mysqlpool import observers

from .entries import limit_of, our_aliases, pools_in_order
from .queues import task_queues
from .workers import Workers

__all__ = ["check_green_threads", "check_instrumentation", "check_task_queues"]


def check_instrumentation(**kwargs: Any) -> list[CheckMessage]:
    if observers.present is not None or not any(our_aliases()):
        return []
    package = wrapper_of_connect()
    return [unseen_sessions_warning(package)] if package else []


def check_green_threads(**kwargs: Any) -> list[CheckMessage]:
    package = _who_made_threads_green()
    return [green_threads_warning(package)] if package and any(our_aliases()) else []


def _who_made_threads_green() -> str | None:
    """The package that has patched sockets or threads, if any has. Imports neither."""
    gevent: Any = sys.modules.get("gevent.monkey")
    if gevent and any(map(gevent.is_module_patched, ("socket", "threading", "thread", "_thread"))):
        return "gevent"
    eventlet: Any = sys.modules.get("eventlet.patcher")
    if eventlet and any(map(eventlet.is_monkey_patched, ("socket", "thread"))):
        return "eventlet"
    return None


def check_task_queues(**kwargs: Any) -> list[CheckMessage]:
    queues = list(task_queues())
    return [
        small_pool_warning(pool.alias, limit, queue)
        for pool in pools_in_order()
        if pool.lease == "task" and (limit := limit_of(pool)) is not None
        for queue in queues
        if queue.threads is not None and queue.threads > limit
    ]


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


def unseen_sessions_warning(package: str) -> CheckMessage:
    return CheckWarning(
        f"MySQLdb.connect is wrapped by '{package}', which does not see the sessions of mysqlpool: "
        "their statements will be missing in its traces.",
        hint=(
            "mysqlpool opens its sessions past MySQLdb.connect. With OpenTelemetry call "
            "mysqlpool.contrib.opentelemetry.instrument(). With ddtrace set "
            "DD_DJANGO_INSTRUMENT_DATABASES=true. Any other package sees them if it traces "
            "Django's cursors, as by a middleware that puts an execute wrapper around each "
            "connection. When you have seen to it, or need no traces of these databases, add "
            "'mysqlpool.W003' to SILENCED_SYSTEM_CHECKS."
        ),
        id="mysqlpool.W003",
    )


def green_threads_warning(package: str) -> CheckMessage:
    return CheckWarning(
        f"{package} has made this process's threads or sockets green, and mysqlclient is not: "
        "while one of them waits for the server, none of the others runs.",
        hint=(
            "mysqlclient waits in C, where nothing can switch to another green thread. Serve by "
            "threads (gunicorn's gthread, Celery's --pool threads) or by processes. Green threads "
            "take a driver in pure Python, which mysqlpool has none of."
        ),
        id="mysqlpool.W011",
    )


def small_pool_warning(alias: str, limit: int, queue: Workers) -> CheckMessage:
    return CheckWarning(
        f"A process of {queue.name} has {queue.threads} threads ({queue.threads_source}), and the "
        f"pool of database '{alias}' has {limit} sessions, each of which its task keeps to its end "
        "('lease': 'task').",
        hint=(
            "The other threads wait, and fail after 'timeout' seconds. Leave 'lease' out, or set "
            "it to 'transaction': then a task has a session only while it uses one. Or make "
            "'pool_size' as large as the number of threads."
        ),
        id="mysqlpool.W012",
    )
