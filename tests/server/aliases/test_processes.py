"""A limit over all processes, which the server keeps: MAX_USER_CONNECTIONS of the account."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from tests.helpers import HANG, ROOT, identified, run_threads
from tests.observer import Observer

from .bursts import TASKS

pytestmark = pytest.mark.django_db(transaction=True)

PROCESSES, LIMIT = 4, 12


@pytest.fixture
def account(observer: Observer) -> Iterator[dict[str, Any]]:
    limit = f"WITH MAX_USER_CONNECTIONS {LIMIT}"
    observer.query(f"CREATE USER limited@'%%' {identified('secret')} {limit}")
    observer.query("GRANT ALL ON *.* TO limited@'%%'")
    settings = connections["default"].settings_dict
    address = {name: settings[name] for name in ("NAME", "HOST", "PORT")}
    yield {**address, "USER": "limited", "PASSWORD": "secret"}
    observer.query("DROP USER limited@'%%'")


@contextlib.contextmanager
def process(account: dict[str, Any]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.server.aliases.bursts", json.dumps(account)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as running:  # type: ignore[call-overload]
        try:
            yield running
        finally:
            running.kill()


def burst(running: subprocess.Popen[str]) -> int:
    assert running.stdin is not None
    assert running.stdout is not None
    running.stdin.write(f"{TASKS}\n")
    running.stdin.flush()
    return int(running.stdout.readline())


@contextlib.contextmanager
def peak(observer: Observer) -> Iterator[list[int]]:
    """The most sessions of the account that the server had let in at once.

    It lists those that it is about to refuse, too, while they connect.
    """
    seen, over = [0], threading.Event()

    def watch() -> None:
        while not over.is_set():
            counted = observer.query(
                "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'limited'"
                " AND command IN ('Query', 'Sleep')"
            )
            seen[0] = max(seen[0], counted[0][0])
            over.wait(0.01)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join(HANG)


@pytest.mark.timeout(300)
@pytest.mark.long
def test_four_processes_share_what_the_account_may_have(
    account: dict[str, Any], observer: Observer
) -> None:
    """In turn, when each but one is quiet and gives its sessions up; and all at once."""
    with contextlib.ExitStack() as stack:
        most = stack.enter_context(peak(observer))
        running = [stack.enter_context(process(account)) for _ in range(PROCESSES)]
        for one in running * 2:
            assert burst(one) == TASKS
        for _ in range(3):
            served = run_threads(*[lambda one=one: burst(one) for one in running])
            assert served == [TASKS] * PROCESSES
    assert most[0] <= LIMIT
    assert most[0] > LIMIT / 2, "the limit was never near"


def test_a_quiet_process_gives_up_what_others_wait_for(
    account: dict[str, Any], observer: Observer
) -> None:
    """Two that are quiet have all sessions, and the third finds none, until they are given up."""
    with contextlib.ExitStack() as stack:
        running = [stack.enter_context(process(account)) for _ in range(3)]
        assert burst(running[0]) == burst(running[1]) == TASKS
        assert burst(running[2]) == TASKS
