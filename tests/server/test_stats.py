"""The statistics agree with what the server counts, for each pool class and each tenure."""

from __future__ import annotations

import gc
import json
import threading

import pytest
from django.db import connection, connections, transaction
from django.db.utils import OperationalError

from mysqlpool import PoolStats, auto_close_db, close_pool, holders, release_connections, stats
from mysqlpool.aliases import registry
from mysqlpool.errors import PoolTimeout
from tests.helpers import HANG, error_of, run_threads, session_id
from tests.observer import Observer
from tests.server.pointed import alias_with

pytestmark = pytest.mark.django_db(transaction=True)

THREADS, TURNS = 32, 12
OTHERS = ["QueuePool", "NullPool", "StaticPool", "SingletonThreadPool", "AssertionPool"]


def told() -> PoolStats:
    return stats()["default"]


def run(*statements: str) -> None:
    for sql in statements:
        with connection.cursor() as cursor:
            cursor.execute(sql)


@pytest.mark.parametrize("lease", ["task", "transaction"])
@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_under_busy_threads_the_statistics_agree_with_the_servers_counts(
    name: str, lease: str, observer: Observer
) -> None:
    turns = {
        "SELECT": ("SELECT 1",),
        "rolled back": ("BEGIN", "SELECT 1"),
        "discarded": ("CREATE TEMPORARY TABLE leaked (number INT)",),
    }
    pattern = ["SELECT", "rolled back", "SELECT", "discarded", "SELECT", "SELECT"]
    wanted = [pattern[turn % len(pattern)] for turn in range(TURNS)]
    done = {kind: THREADS * wanted.count(kind) for kind in turns}

    @auto_close_db
    def turn(kind: str) -> None:
        run(*turns[kind])

    def work() -> None:
        for kind in wanted:
            turn(kind)

    looks: list[int] = []

    def are_gone() -> bool:
        looks.append(1)  # It is a question itself.
        return len(observer.sessions(connection.settings_dict["NAME"])) == told().idle

    pool = {"class": name, "pool_size": 5, "timeout": HANG, "lease": lease}
    with alias_with(**pool, recycle=None, begin="separate"):
        run_threads(lambda: turn("SELECT"))  # Django asks the server for its version.
        observer.until(are_gone)  # Those of the test before, whose COM_QUIT is a question, too.
        looks.clear()
        before = told()
        with observer.counting("Connections", "Com_rollback", "Questions") as grown:
            run_threads(*[work] * THREADS)
            observer.until(are_gone)
        after = told()
    connects = after.connects - before.connects
    rollbacks = after.rollbacks - before.rollbacks
    assert [connects, rollbacks] == grown[:2]
    assert rollbacks == done["rolled back"]
    sent = sum(done[kind] * len(turns[kind]) for kind in turns)
    # Each session says SET NAMES and its isolation level, and COM_QUIT when it is discarded.
    assert grown[2] - len(looks) == sent + rollbacks + 2 * connects + sum(after.discards.values())
    assert after.discards == {"CREATE": done["discarded"]}
    assert after.connects - sum(after.discards.values()) == after.idle
    assert (after.in_use, after.waiting, after.timeouts, after.connect_errors) == (0, 0, 0, 0)
    assert after.leases - before.leases == THREADS * TURNS
    assert after.lease.count == after.leases
    assert after.connect.count == after.connects
    if name == "FairQueuePool":
        assert after.wait.count == after.leases
        assert 0 < after.wait.count - after.wait.counts[0] <= after.waits
        assert after.wait.p99 > 0
    json.dumps(after.as_dict(), allow_nan=False)


@pytest.mark.parametrize("begin", ["fused", "separate", "autocommit"])
@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_only_a_release_that_sends_a_rollback_is_counted(
    lease: str, begin: str, observer: Observer
) -> None:
    def leave_open(*statements: str) -> None:
        connection.set_autocommit(False)
        run(*statements)
        release_connections()

    with alias_with(pool_size=2, lease=lease, begin=begin):
        run("SELECT 1")
        release_connections()
        with observer.counting("Com_rollback") as grown:
            for _ in range(3):
                leave_open("SELECT 1")
            leave_open()
            with transaction.atomic():
                run("SELECT 1")
            release_connections()
        assert [told().rollbacks] == grown == [3]
        with observer.counting("Com_rollback") as grown:
            with pytest.raises(RuntimeError), transaction.atomic():
                run("SELECT 1")
                raise RuntimeError
            release_connections()
        assert (told().rollbacks, grown) == (3, [1]), "that one was Django's own"


@pytest.mark.parametrize("name", ["FairQueuePool", *OTHERS])
def test_each_class_is_counted_where_it_can_be(name: str, observer: Observer) -> None:
    with alias_with(**{"class": name, "lease": "task"}):
        for _ in range(3):
            session_id()
            release_connections()
        run("CREATE TEMPORARY TABLE leaked (number INT)")
        seen = told()
        [holder] = holders()["default"]
        release_connections()
        after = told()
    assert (seen.leases, seen.in_use, seen.lease.count) == (4, 1, 3)
    assert holder.leased_at.endswith("in run")
    assert holder.location.endswith("in test_each_class_is_counted_where_it_can_be")
    assert holder.thread_id == threading.get_ident()
    assert (after.leases, after.in_use, after.lease.count) == (4, 0, 4)
    assert after.discards["CREATE"] == 1
    assert after.connects == after.connect.count == (4 if name == "NullPool" else 1)
    assert after.connects == sum(after.discards.values())
    assert after.idle == 0


def test_a_timeout_of_sqlalchemys_class_is_counted() -> None:
    with alias_with(**{"class": "QueuePool", "pool_size": 1, "timeout": 0.1, "lease": "task"}):
        session_id()
        [error] = run_threads(lambda: error_of(session_id))
        assert isinstance(error, PoolTimeout)
        assert (told().timeouts, told().utilisation) == (1, 1.0)


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_a_lease_that_was_lost_is_measured_too(name: str) -> None:
    def lose() -> None:
        wrapper = connections["default"].copy()
        wrapper.ensure_connection()

    with alias_with(**{"class": name, "pool_size": 1, "timeout": HANG, "lease": "task"}):
        run_threads(lose)
        gc.collect()  # The wrapper was one of a cycle.
        session_id()
        assert (told().reaped, told().lease.count, told().in_use) == (1, 1, 1)
        assert len(holders()["default"]) == 1


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_sessions_that_an_error_broke_are_counted_by_its_class(
    name: str, lease: str, observer: Observer
) -> None:
    with alias_with(**{"class": name, "pool_size": 2, "lease": lease}):
        with connection.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            [[number]] = cursor.fetchall()
            observer.kill(number)
            with pytest.raises(OperationalError):
                cursor.execute("SELECT 1")
        release_connections()
        run("CREATE TEMPORARY TABLE leaked (number INT)")
        release_connections()
        found = told()
    assert found.failures == {"dead": 1}
    assert sum(found.discards.values()) == 2, "as before, by reason"


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_a_failed_connect_is_counted_and_not_measured(name: str) -> None:
    settings = connections["default"].settings_dict
    with alias_with(**{"class": name, "pool_size": 2}):
        before, settings["PASSWORD"] = settings["PASSWORD"], "wrong"
        try:
            assert isinstance(error_of(session_id), OperationalError)
        finally:
            settings["PASSWORD"] = before
        assert (told().connect_errors, told().connects, told().connect.count) == (1, 0, 0)
        assert (told().leases, told().lease.count) == (0, 0)


@pytest.mark.parametrize("name", ["FairQueuePool", "QueuePool"])
def test_what_pins_a_holder_is_told_of_it(name: str) -> None:
    with alias_with(**{"class": name, "pool_size": 2, "lease": "transaction"}):
        run("SET @kept = 1", "SELECT 1")
        [holder] = holders()["default"]
        assert holder.pinned
        assert told().pinned == {holder.pinned: 1}


def test_a_look_at_the_statistics_opens_nothing(observer: Observer) -> None:
    with alias_with(pool_size=2), observer.counting("Connections", "Questions") as grown:
        close_pool()
        before = set(stats())
        assert holders().keys() == before
        assert told().in_use == told().idle == 0
    assert grown == [0, 0]


def test_who_looks_waits_for_no_connect(observer: Observer) -> None:
    """Also where SQLAlchemy's class has us hold a lock while it connects."""
    with alias_with(**{"class": "StaticPool", "lease": "task"}):
        session_id()
        release_connections()
        with registry.pools()["default"]._lock:
            [seen] = run_threads(lambda: (told().leases, holders()["default"]))
        assert seen == (1, ())
