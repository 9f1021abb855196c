"""Handlers of the log that are the project's: ones that use the database, and ones that hang."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connections

from mysqlpool import auto_close_db, close_pool, holders, release_connections, stats, stats_log
from mysqlpool.events.log import set_event_log
from tests.fake_driver import until
from tests.helpers import HANG, Handler, in_thread, run_threads, session_id
from tests.server.pointed import pointed

pytestmark = pytest.mark.django_db(transaction=True, databases=["default"])


@contextmanager
def handled_by(emit: Callable[[str], None], level: int = logging.DEBUG) -> Iterator[None]:
    """A handler that does this with the name of each event."""

    class Emitting(Handler):
        def emit(self, record: logging.LogRecord) -> None:
            emit(vars(record).get("event", ""))

    handler, logger = Emitting(), logging.getLogger("mysqlpool")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def pool_of(**pool: Any) -> Iterator[None]:
    options = connections["default"].settings_dict["OPTIONS"]
    with pointed("default", OPTIONS={**options, "pool": pool}):
        yield
        release_connections()
        close_pool()


class Keeps:
    """Writes into the database what it is told of one event, and never gives back."""

    def __init__(self, event: str) -> None:
        self.event = event
        self.threads: list[str] = []

    def __call__(self, event: str) -> None:
        if event == self.event:
            session_id("default")
            self.threads.append(threading.current_thread().name)


@pytest.mark.parametrize("unscoped", [None, "raise"])
@pytest.mark.parametrize("event", ["lease_leaked", "session_discarded", "statistics"])
def test_what_a_handler_leases_in_a_thread_of_ours_is_given_back(
    event: str, unscoped: str | None
) -> None:
    """Nobody else would, and each lease is a session less for the application."""
    keeps = Keeps(event)
    pool = {"lease": "task", "pool_size": 3, "leak_after": 0.2, "max_idle": 0.2}
    with pool_of(**pool, unscoped=unscoped), handled_by(keeps):
        session_id("default")
        run_threads(auto_close_db(lambda: session_id("default")))  # This one is going to be idle.
        if event == "statistics":
            previous = set_event_log(logging.NullHandler())
            stats_log.write_every(0.05)
        try:
            until(lambda: keeps.threads)
        finally:
            stats_log.write_every(0)
            if event == "statistics":
                set_event_log(previous)
        until(lambda: [one.thread_name for one in holders()["default"]] == ["MainThread"])
        assert stats()["default"].unscoped == 0
        assert stats()["default"].reaped == 0
    assert set(keeps.threads) == {"mysqlpool-caretaker"}


CLASSES = ["FairQueuePool", "QueuePool", "NullPool", "SingletonThreadPool"]


@pytest.mark.parametrize("event", ["session_opened", "session_closed", "session_discarded"])
@pytest.mark.parametrize("name", CLASSES)
def test_a_handler_that_hangs_keeps_no_other_thread_from_leasing(name: str, event: str) -> None:
    """No lock of ours is held meanwhile, whatever the class."""
    reached, go_on = threading.Event(), threading.Event()

    def emit(told: str) -> None:
        if told == event and threading.current_thread().name == "hangs":
            reached.set()
            go_on.wait(HANG * 9)

    @auto_close_db
    def works() -> None:
        with connections["default"].cursor() as cursor:
            cursor.execute("SET @left = 1")

    def begin() -> None:
        threading.current_thread().name = "hangs"
        works()
        close_pool()

    with pool_of(**{"class": name, "lease": "task", "reset": "always"}), handled_by(emit):
        with in_thread(begin):
            try:
                assert reached.wait(HANG)
                run_threads(works)
                close_pool()
            finally:
                go_on.set()
        assert holders().get("default", ()) == ()
