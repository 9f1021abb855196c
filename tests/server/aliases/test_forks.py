"""fork() harms neither side, at any moment, with or without close_pool()."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from mysqlpool import auto_close_db, close_pool, release_connections
from mysqlpool.aliases import forks
from tests.helpers import HANG, leased, session_id
from tests.rows.models import Row

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=["default", "other"]),
    # Python 3.12 warns of any fork in a process with threads; that is what is tested.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def forked(child: Callable[[], Any]) -> int:
    """Run ``child`` in a forked process; its exit status tells whether it raised."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        child()
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def ends_well(pid: int) -> None:
    deadline = time.monotonic() + HANG
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise AssertionError("the child hangs")
        time.sleep(0.005)


def works_on_its_own(parents: set[int]) -> Callable[[], None]:
    """What each child does: the ORM works, on sessions that are none of its parent's."""

    def child() -> None:
        Row.objects.create(text=f"child {os.getpid()}")
        assert session_id() not in parents
        release_connections()
        assert session_id() not in parents
        gc.collect()
        close_pool()

    return child


def test_a_parents_lease_survives_its_child(observer: Any) -> None:
    mine = session_id()
    ends_well(forked(works_on_its_own({mine})))
    assert session_id() == mine
    assert mine in observer.sessions()


def test_a_parents_idle_sessions_survive_its_child(observer: Any) -> None:
    idle = set()

    def hold(barrier: threading.Barrier) -> None:
        idle.add(session_id())
        barrier.wait(HANG)

    barrier = threading.Barrier(4)
    threads = [threading.Thread(target=auto_close_db(hold), args=(barrier,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    ends_well(forked(works_on_its_own(idle)))
    assert idle <= observer.sessions()
    assert session_id() in idle


def test_a_parents_open_transaction_survives_its_child() -> None:
    with transaction.atomic():
        Row.objects.create(text="parent")
        mine = session_id()

        def child() -> None:
            assert not connection.in_atomic_block
            assert not Row.objects.filter(text="parent").exists()
            works_on_its_own({mine})()

        ends_well(forked(child))
        assert session_id() == mine
        assert Row.objects.filter(text="parent").exists()
    assert Row.objects.filter(text="parent").exists()


def test_on_commit_hooks_run_in_the_parent_alone() -> None:
    ran: list[int] = []

    def child() -> None:
        with transaction.atomic():
            Row.objects.create(text="child")
        assert ran == []

    with transaction.atomic():
        transaction.on_commit(lambda: ran.append(os.getpid()))
        ends_well(forked(child))
    assert ran == [os.getpid()]


def test_a_grandchild_starts_afresh_too(observer: Any) -> None:
    mine = session_id()

    def child() -> None:
        childs = session_id()
        ends_well(forked(works_on_its_own({mine, childs})))
        assert session_id() == childs

    ends_well(forked(child))
    assert session_id() == mine


@pytest.mark.long
def test_25_forks_amid_6_churning_threads_never_hang() -> None:
    stop = threading.Event()
    errors: list[BaseException] = []

    @auto_close_db
    def task() -> None:
        with transaction.atomic():
            Row.objects.create(text="churn")

    def churn() -> None:
        try:
            while not stop.is_set():
                task()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=churn) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            ends_well(forked(works_on_its_own(set())))
    finally:
        stop.set()
        for thread in threads:
            thread.join(HANG)
    assert not any(thread.is_alive() for thread in threads)
    for error in errors:
        raise error


def test_close_pool_before_a_fork_leaves_the_child_nothing(observer: Any) -> None:
    mine = session_id()
    release_connections()
    close_pool()
    observer.until(lambda: mine not in observer.sessions())
    assert list(forks._sessions) == []
    ends_well(forked(works_on_its_own({mine})))
    assert session_id() != mine


def test_a_child_started_inside_a_scope_releases_at_its_own_scopes_end() -> None:
    def child() -> None:
        with auto_close_db():
            session_id()
        assert leased() == []

    with auto_close_db():
        ends_well(forked(child))


def process_target(parent: int) -> None:
    assert session_id() != parent
    Row.objects.create(text="process")


def test_multiprocessing_with_the_fork_method_works() -> None:
    mine = session_id()
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=process_target, args=(mine,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(HANG)
        assert process.exitcode == 0
    assert session_id() == mine
    assert Row.objects.filter(text="process").count() == 4


PROGRAM = """
import os, sys, threading
import django
django.setup()
from django.db import connection
from mysqlpool import release_connections

def session():
    with connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        return cursor.fetchone()[0]

mine = session()
other = threading.Thread(target=session)  # a lease whose thread is gone
other.start(); other.join()
if os.fork() == 0:
    session()
    sys.exit(0)  # an ordinary end: finalizers run and everything is collected
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert session() == mine
"""


def test_a_child_that_ends_like_any_program_leaves_its_parents_sessions_open() -> None:
    name = {"DATABASE_NAME": connection.settings_dict["NAME"]}
    # Python 3.12 and newer warn where the system still counts a thread that has just been joined.
    quiet = ["-W", "ignore:This process:DeprecationWarning"]
    done = subprocess.run(
        [sys.executable, *quiet, "-c", PROGRAM],
        env={**os.environ, **name, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        timeout=HANG * 2,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
