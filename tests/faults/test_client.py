"""Faults of the application's own process: its signals, its limits, its clock, its end."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import transaction

from mysqlpool import PooledThreadPoolExecutor, auto_close_db, release_connections, stats
from tests.faults.campaign import DATABASE, OURS, Fault, ask, write, written
from tests.helpers import HANG, ROOT, endless
from tests.observer import Observer
from tests.server import Server

any_lease = pytest.mark.parametrize("lease", ["transaction"])

# What each program of a test begins with: the two aliases under their own names.
PROGRAM = """
import json, os, signal, sys, threading, time
import django
from django.conf import settings
settings.configure(DATABASES=json.loads(sys.argv[1]), USE_TZ=True)
django.setup()
from django.db import connection, connections, transaction
from mysqlpool import PooledThreadPoolExecutor, auto_close_db, release_connections, stats

def ask(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()[0][0]

def say(*words):
    print(*words, flush=True)
"""


@contextmanager
def program(server: Server, lease: str | None, text: str) -> Iterator[subprocess.Popen[str]]:
    """A process on our engine, or on Django's where there is no lease mode."""
    import json

    ours = "mysqlpool.backends.mysqlpool"
    alias = {
        "ENGINE": ours if lease else "django.db.backends.mysql",
        "HOST": server.host,
        "PORT": str(server.port),
        "USER": server.user,
        "PASSWORD": server.password,
        "NAME": DATABASE,
        "OPTIONS": {"pool": {"pool_size": 2, "timeout": 5, "lease": lease}} if lease else {},
    }
    command = [sys.executable, "-c", PROGRAM + text, json.dumps({"default": alias})]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environ, stdout=-1, stderr=-1, stdin=-1, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def is_busy(observer: Observer) -> bool:
    busy = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%%counted'"
    return bool(observer.query(busy)[0][0])


EXIT = """
def hold():
    with transaction.atomic():
        ask("SELECT 1")
        held.set()
        threading.Event().wait()

held = threading.Event()
threading.Thread(target=hold, daemon=True).start()
held.wait()
connection.set_autocommit(False)
ask("SELECT 1")
for name in ("waits", "waits too"):
    threading.Thread(target=lambda: ask("SELECT 1"), daemon=True).start()
say("end")
"""


@pytest.mark.fault("the interpreter exits with leases out, and threads in line", long=True)
def test_the_interpreter_exits_at_once_and_without_a_traceback(
    fault: Fault, database: Server, lease: str, observer: Observer
) -> None:
    fault.aim(database)
    with program(database, lease, EXIT) as process:
        assert line(process) == "end"
        started = time.monotonic()
        _, errors = process.communicate(timeout=HANG)
        assert time.monotonic() - started < HANG / 3
        assert process.returncode == 0
        assert errors == ""
    observer.until(lambda: not observer.sessions(DATABASE))
    fault.note("nothing")
    fault.recovers()


@pytest.mark.fault("the interpreter exits while the server is frozen", long=True)
def test_the_interpreter_exits_at_once_from_a_frozen_server(
    fault: Fault, victim: Any, lease: str
) -> None:
    fault.aim(victim)
    with program(victim, lease, EXIT + "sys.stdin.readline()\n") as process:
        assert line(process) == "end"
        os.kill(victim.pid, signal.SIGSTOP)
        try:
            started = time.monotonic()
            _, errors = process.communicate("\n", timeout=HANG)
            assert time.monotonic() - started < HANG / 3
        finally:
            os.kill(victim.pid, signal.SIGCONT)
        assert (process.returncode, errors) == (0, "")
    with Observer(victim) as observer:
        observer.until(lambda: not observer.sessions(DATABASE))
    fault.note("nothing")
    fault.recovers()


QUERY = """
try:
    with transaction.atomic():
        say(ask("SELECT CONNECTION_ID()"))
        ask(%r)
except BaseException as error:
    seen = type(error).__name__, *error.args[:1]
    try:
        say(*seen, ask("SELECT 'next'"))
    finally:
        release_connections()
"""


@pytest.mark.fault("SIGINT in a query", long=True)
def test_an_interrupt_in_a_query_is_what_it_is_on_djangos_engine(
    fault: Fault, database: Server, lease: str, observer: Observer
) -> None:
    """mysqlclient goes on with its query; Python raises when that ends."""
    fault.aim(database)
    seen = []
    for mode in (None, lease):
        with program(database, mode, QUERY % f"SELECT {endless()}") as process:
            number = line(process)
            observer.until(lambda: is_busy(observer))
            process.send_signal(signal.SIGINT)
            observer.query(f"KILL QUERY {number}")
            seen.append(line(process))
            process.communicate(timeout=HANG)
            seen[-1] += f" {process.returncode}"
    assert seen[0] == seen[1]
    assert seen[0].startswith("KeyboardInterrupt"), seen
    fault.note("KeyboardInterrupt")
    observer.until(lambda: not observer.sessions(DATABASE))
    fault.recovers()


@pytest.mark.fault("SIGTERM in a query", long=True)
@pytest.mark.parametrize("handled", [False, True], ids=["default", "handled"])
def test_a_terminated_process_leaves_no_session(
    fault: Fault, database: Server, lease: str, observer: Observer, handled: bool
) -> None:
    fault.aim(database)
    handler = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))\n" if handled else ""
    codes = []
    for mode in (None, lease):
        with program(database, mode, handler + QUERY % f"SELECT {endless()}") as process:
            number = line(process)
            observer.until(lambda: is_busy(observer))
            process.terminate()
            if handled:
                observer.query(f"KILL QUERY {number}")
            process.communicate(timeout=HANG)
            codes.append(process.returncode)
            # Of a client that is gone, a server hears when it answers.
            observer.query(f"KILL {number}") if not handled else None
        observer.until(lambda: not observer.sessions(DATABASE))
    assert codes == [0, 0] if handled else [-signal.SIGTERM] * 2
    fault.note("the end, or what the handler raises")
    fault.recovers()


STOPPED = """
connection.cursor()
say(ask("SELECT CONNECTION_ID()"))
release_connections()
sys.stdin.readline()
say(ask("SELECT CONNECTION_ID()"))
"""


@pytest.mark.fault("the client is stopped for longer than wait_timeout", long=True)
def test_a_client_that_was_stopped_finds_its_idle_sessions_gone(
    fault: Fault, victim: Any, lease: str
) -> None:
    fault.aim(victim)
    with Observer(victim) as observer:
        observer.query("SET GLOBAL wait_timeout = 1")
        try:
            with program(victim, lease, STOPPED) as process:
                before = line(process)
                process.send_signal(signal.SIGSTOP)
                observer.until(lambda: not observer.sessions(DATABASE))
                process.send_signal(signal.SIGCONT)
                assert process.stdin is not None
                process.stdin.write("\n")
                process.stdin.flush()
                after = line(process)
                _, errors = process.communicate(timeout=HANG)
                assert errors == ""
                assert int(after) > int(before)
        finally:
            observer.query("SET GLOBAL wait_timeout = 28800")
    fault.note("nothing")
    fault.recovers()


@any_lease
@pytest.mark.fault("no descriptor is left (EMFILE)")
def test_a_process_without_descriptors_gets_an_error_and_recovers(
    fault: Fault, database: Server
) -> None:
    fault.aim(database)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def without(alias: str) -> None:
        highest = max(map(int, os.listdir("/proc/self/fd")))
        fillers = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, before[1]))
        try:
            while True:
                try:
                    fillers.append(os.open("/dev/null", os.O_RDONLY))
                except OSError as error:
                    if error.errno != errno.EMFILE:
                        raise
                    break
            ask(alias)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            for filler in fillers:
                os.close(filler)

    for _ in range(fault.size + 1):
        assert fault.sees(without).startswith("OperationalError 200")
    fault.recovers()


@any_lease
@pytest.mark.fault("the clock is moved")
@pytest.mark.parametrize("jump", [-1e6, 1e6], ids=["back", "ahead"])
def test_a_moved_clock_changes_nothing(
    fault: Fault, database: Server, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    fault.aim(database, pool={"recycle": 600, "max_idle": 60})
    number = ask(OURS)
    release_connections(OURS)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)
    assert ask(OURS) == number
    assert fault.sees(ask) == "nothing"
    fault.recovers()
    assert fault.lost == 0


@pytest.mark.fault("asyncio tasks are cancelled")
def test_cancelled_tasks_leave_no_lease(fault: Fault, database: Server) -> None:
    """A cancelled await ends at once; its thread goes on to its end, and releases there."""
    fault.aim(database)
    started = 0

    @auto_close_db
    def work() -> None:
        nonlocal started
        started += 1
        with transaction.atomic(using=OURS):
            ask(OURS, "SELECT SLEEP(0.02)")
            write(OURS, "done")

    async def cancelled() -> int:
        executor = PooledThreadPoolExecutor(4)
        call = sync_to_async(work, thread_sensitive=False, executor=executor)
        tasks = [asyncio.create_task(call()) for _ in range(20)]
        await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(executor.shutdown)
        return sum(isinstance(one, asyncio.CancelledError) for one in ended)

    assert asyncio.run(cancelled())
    fault.note("CancelledError")
    assert written(database) == ["done"] * started
    assert stats()[OURS].in_use == 0
    fault.recovers()
