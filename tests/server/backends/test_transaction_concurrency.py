"""Two hundred threads on eight sessions, and the server's own log of what each session was sent.

Each statement carries its thread, its task and its number in a comment. The threads check their
answers; afterwards the general log is read for what no answer shows: a statement of somebody else
in a transaction, or on a session that is pinned. ``MYSQLPOOL_STRESS_SECONDS`` says for how long a
storm lasts (default 2); each thread does two tasks at least. The dice are seeded, the order in
which threads run is not.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest
from django.db import connection, connections, transaction

from mysqlpool import auto_close_db, close_pool, release_connections, stats
from tests.audit import (
    BEGIN,
    OFF,
    Entry,
    is_about_savepoint,
    mixed_up,
    numbers_by_thread,
    parts_of,
    sent_in_order,
    split_tasks,
    task_of,
)
from tests.helpers import HANG, STRESS_SECONDS, run_threads
from tests.observer import Observer
from tests.rows.models import Row

THREADS = 200
SESSIONS = 8
TASKS = 2  # at least, of each thread
UNFINISHED = 0  # the number of a row until just before its transaction is committed


# The storm


class Undo(Exception):
    """Raised by a thread to have its block rolled back."""


class Client:
    """One thread: tasks of random steps, each of which knows what the answer has to be."""

    def __init__(self, number: int, locks: dict[str, int]) -> None:
        self.number = number
        self.task = 0
        self.sent = 0
        self.savepoints: set[int] = set()  # the numbers of what may be left out
        self.dice = random.Random(number)
        self.rows: set[int] = set()  # the keys of its committed rows
        self.mine: int | None = None  # the user variable @mine
        self.locks = locks  # who has which lock, of all threads
        self.held: set[str] = set()
        self.steps: list[Callable[[], None]] = [
            *[self.read, self.ask_twice, self.transaction] * 4,
            *[self.clear, self.set_variable, self.read_variable, self.lock, self.unlock],
        ]

    @auto_close_db
    def run(self, until: float) -> None:
        with connection.execute_wrapper(self.tag):
            while self.task < TASKS or time.monotonic() < until:
                self.run_task()

    def tag(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        self.sent += 1
        if is_about_savepoint(sql):
            self.savepoints.add(self.sent)
        tag = f"/* t={self.number} k={self.task} n={self.sent} */"
        tagged = f"{tag} {sql}" if self.dice.random() < 0.5 else f"{sql} {tag}"
        return execute(tagged, params, many, context)

    def run_task(self) -> None:
        self.task += 1
        self.mine = None
        try:
            for _ in range(self.dice.randint(4, 12)):
                self.dice.choice(self.steps)()
        finally:
            for name in [*self.held]:
                self.forget(name)
            release_connections()

    def ask(self, *queries: str) -> list[Any]:
        """The single values that answer some queries, which are sent with one cursor."""
        with connection.cursor() as cursor:
            return [self.answer(cursor, query) for query in queries]

    def answer(self, cursor: Any, query: str) -> Any:
        cursor.execute(query)
        ((value,),) = cursor.fetchall()
        return value

    # The steps

    def read(self) -> None:
        """Own rows are there, and nobody's that are not committed."""
        assert set(Row.objects.filter(number=self.number).values_list("pk", flat=True)) == self.rows
        if not connection.in_atomic_block:
            assert unfinished() == set()

    def ask_twice(self) -> None:
        """One cursor has one session, and gets the answers to its own questions."""
        session = "SELECT CONNECTION_ID()"
        question = f"SELECT '{self.number}/{self.task}/{self.sent}'"
        first, text, second = self.ask(session, question, session)
        assert f"SELECT '{text}'" == question
        assert first == second

    def clear(self) -> None:
        """Delete own rows, or all threads would read more and more of them."""
        if not connection.in_atomic_block:
            assert Row.objects.filter(pk__in=self.rows).delete()[0] == len(self.rows)
            self.rows.clear()

    def set_variable(self) -> None:
        self.mine = self.dice.randrange(10**9)
        with connection.cursor() as cursor:
            cursor.execute(f"SET @mine = {self.mine}")

    def read_variable(self) -> None:
        """It is what this task made it, or not there; the DO is what a lease must begin with."""
        with connection.cursor() as cursor:
            cursor.execute("DO 0")
            assert self.answer(cursor, "SELECT @mine") == self.mine

    def lock(self) -> None:
        """A lock that one thread has is had by no other one, as long as it is needed."""
        name = f"lock {self.dice.randrange(SESSIONS)}"
        if name not in self.held and self.ask(f"SELECT GET_LOCK('{name}', 0)") == [1]:
            assert self.locks.setdefault(name, self.number) == self.number
            self.held.add(name)

    def unlock(self) -> None:
        for name in [*self.held]:
            assert self.ask(f"SELECT IS_USED_LOCK('{name}') = CONNECTION_ID()") == [1]
            self.forget(name)
            assert self.ask(f"SELECT RELEASE_LOCK('{name}')") == [1]

    def forget(self, name: str) -> None:
        self.held.remove(name)
        del self.locks[name]

    def transaction(self) -> None:
        """A transaction sees its own rows from the start, and others do so at its end."""
        if connection.in_atomic_block:
            return
        made: set[int] = set()
        keeps = self.dice.random() < 0.7
        with suppress(Undo), transaction.atomic():
            session = self.ask("SELECT CONNECTION_ID()")
            for _ in range(self.dice.randint(1, 3)):
                self.dice.choice([self.make, self.make, self.savepoint])(made)
                self.dice.choice(self.steps)()
                assert unfinished() == made
            assert self.ask("SELECT CONNECTION_ID()") == session
            if not keeps:
                raise Undo
            assert Row.objects.filter(pk__in=made).update(number=self.number) == len(made)
        if keeps:
            self.rows |= made

    def make(self, made: set[int]) -> None:
        made.add(Row.objects.create(text=str(self.number), number=UNFINISHED).pk)

    def savepoint(self, made: set[int]) -> None:
        inner = set(made)
        with suppress(Undo), transaction.atomic():
            self.make(inner)
            assert unfinished() == inner
            if self.dice.random() < 0.5:
                raise Undo
            made |= inner
        assert unfinished() == made


def unfinished() -> set[int]:
    return set(Row.objects.filter(number=UNFINISHED).values_list("pk", flat=True))


def of_clients(log: list[Entry]) -> list[Entry]:
    """Without the sessions of whoever else is on this server."""
    sessions = {entry.session for entry in log if task_of(entry)}
    return [entry for entry in log if entry.session in sessions]


@contextmanager
def general_log(observer: Observer) -> Iterator[list[Entry]]:
    """Yield a list that holds, after the block, what the clients' sessions were sent meanwhile."""
    log: list[Entry] = []
    sent: list[tuple[int, str, str]] = []
    try:
        with observer.general_log() as sent:
            yield log
    finally:
        log[:] = of_clients([Entry(*row) for row in sent])


@pytest.fixture(params=["task", "transaction"])
def lease(request: pytest.FixtureRequest) -> Iterator[str]:
    """Eight sessions for the default alias, in either mode."""
    settings = connections["default"].settings_dict
    before = settings["OPTIONS"]
    pool = {"pool_size": SESSIONS, "max_overflow": 0, "timeout": HANG, "lease": request.param}
    settings["OPTIONS"] = {"pool": pool}
    yield request.param
    release_connections()
    close_pool()
    settings["OPTIONS"] = before


@pytest.mark.django_db(transaction=True)
@pytest.mark.long
def test_no_session_carries_statements_of_two_tasks_where_it_matters(
    lease: str, observer: Observer
) -> None:
    """Every answer is right, and so is the order in which the server saw the statements."""
    locks: dict[str, int] = {}
    clients = [Client(number, locks) for number in range(1, THREADS + 1)]
    until = time.monotonic() + STRESS_SECONDS
    with general_log(observer) as log:
        run_threads(*[partial(client.run, until) for client in clients])
        figures = stats()["default"]
    assert mixed_up(log) == []
    seen = numbers_by_thread(log)
    for client in clients:
        assert sent_in_order(seen[client.number], client.sent, client.savepoints)
    assert figures.in_use == 0
    assert_that_it_was_a_storm(log)
    if lease == "task":
        assert split_tasks(log) == []
    else:
        assert len(split_tasks(log)) > THREADS, "tasks did not wander between sessions"
        assert sum(figures.pinned.values()) > THREADS / 4
    committed = set().union(*(client.rows for client in clients))
    assert set(Row.objects.values_list("pk", flat=True)) == committed


def assert_that_it_was_a_storm(log: list[Entry]) -> None:
    """Were there none of these, the audit would have had nothing to find."""
    sessions = {entry.session for entry in log if task_of(entry)}
    served = {(entry.session, task.thread) for entry in log if (task := task_of(entry))}
    assert len(served) > len(sessions), "no session served two threads"
    sent = [part.sql.lower() for entry in log for part in parts_of(entry)]
    for verb in ("commit", "rollback", BEGIN, OFF):
        assert sent.count(verb) >= THREADS / 16, verb
    for word in ("ROLLBACK TO SAVEPOINT", "SET @mine", "SELECT @mine", "GET_LOCK", "RELEASE_LOCK"):
        assert any(word in entry.sql for entry in log), f"no {word}"
