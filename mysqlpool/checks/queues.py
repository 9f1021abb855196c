"""Task queues: how many processes and threads they run, as far as Django's settings tell.

The names of the settings are each package's own, as its documentation has them. None of them is
imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from django.apps import apps
from django.conf import settings

from .workers import Workers

__all__ = ["task_queues"]


def task_queues() -> Iterator[Workers]:
    """Yield what is known of each task queue of the project, where something is."""
    for found in (_celery, _huey, _django_huey, _django_q, _dramatiq, _background, _procrastinate):
        yield from found()


def _celery() -> Iterator[Workers]:
    """By the names of ``config_from_object("django.conf:settings", namespace="CELERY")``, or those
    that Celery had before its version 4.
    """
    name, count = _first("CELERY_WORKER_CONCURRENCY", "CELERYD_CONCURRENCY")
    pool_name, pool = _first("CELERY_WORKER_POOL", "CELERYD_POOL")
    if not _is_count(count):
        return
    if pool in (None, "prefork", "processes"):
        yield Workers("Celery", count, 1, name, "prefork")
    elif pool in ("threads", "gevent", "eventlet"):
        green = None if pool == "threads" else pool
        yield Workers(
            "Celery", None, count, "", f"{name}, with {pool_name} = {pool!r}", green=green
        )


def _huey() -> Iterator[Workers]:
    if apps.is_installed("huey.contrib.djhuey"):
        yield from _consumer("Huey", "HUEY", getattr(settings, "HUEY", None))


def _django_huey() -> Iterator[Workers]:
    found = getattr(settings, "DJANGO_HUEY", None)
    queues = found.get("queues") if isinstance(found, Mapping) else None
    if apps.is_installed("django_huey") and isinstance(queues, Mapping):
        for key, queue in queues.items():
            yield from _consumer(f"Huey's queue {key}", f"DJANGO_HUEY['queues'][{key!r}]", queue)


def _consumer(name: str, place: str, queue: Any) -> Iterator[Workers]:
    consumer = queue.get("consumer") if isinstance(queue, Mapping) else None
    workers = consumer.get("workers") if isinstance(consumer, Mapping) else None
    if not isinstance(consumer, Mapping) or not _is_count(workers):
        return
    kind, source = consumer.get("worker_type", "thread"), f"{place}['consumer']['workers']"
    if kind in ("process", "processes"):
        yield Workers(name, workers, 1, source, "worker_type")
    else:
        green = "gevent" if kind in ("greenlet", "greenlets", "gevent") else None
        yield Workers(name, 1, workers, "its one consumer", source, green=green)


def _django_q() -> Iterator[Workers]:
    """Its workers are processes."""
    found = getattr(settings, "Q_CLUSTER", None)
    workers = found.get("workers") if isinstance(found, Mapping) else None
    if apps.is_installed("django_q") and _is_count(workers):
        yield Workers("Django Q", workers, 1, "Q_CLUSTER['workers']", "one a worker")


def _dramatiq() -> Iterator[Workers]:
    """The command ``rundramatiq`` takes its defaults from the environment, or has 8 threads."""
    if not apps.is_installed("django_dramatiq"):
        return
    given = {name: os.environ.get(f"DRAMATIQ_{name}", "") for name in ("NPROCS", "NTHREADS")}
    processes, threads = (int(v) if v.isdecimal() else None for v in given.values())
    yield Workers(
        "Dramatiq",
        processes,
        threads or 8,
        "DRAMATIQ_NPROCS" if processes else "",
        "DRAMATIQ_NTHREADS" if threads else "its default",
    )


def _background() -> Iterator[Workers]:
    if not apps.is_installed("background_task"):
        return
    count = getattr(settings, "BACKGROUND_TASK_ASYNC_THREADS", None)
    if getattr(settings, "BACKGROUND_TASK_RUN_ASYNC", False) and _is_count(count):
        source = "BACKGROUND_TASK_ASYNC_THREADS"
        yield Workers("django-background-tasks", None, count, "", source)


def _procrastinate() -> Iterator[Workers]:
    defaults = getattr(settings, "PROCRASTINATE_WORKER_DEFAULTS", None)
    count = defaults.get("concurrency") if isinstance(defaults, Mapping) else None
    if apps.is_installed("procrastinate.contrib.django") and _is_count(count):
        source = "PROCRASTINATE_WORKER_DEFAULTS['concurrency']"
        yield Workers("Procrastinate", None, count, "", source)


def _first(*names: str) -> tuple[str, Any]:
    """The first of these settings that is there, and its value."""
    found = ((name, getattr(settings, name)) for name in names if hasattr(settings, name))
    return next(found, ("", None))


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
