"""Two hundred threads on eight sessions, and the server's own log of what each session was sent.

Each statement carries its thread, its task and its number in a comment. The threads check their
answers; afterwards the general log is read for what no answer shows: a statement of somebody else
in a transaction, or on a session that is pinned. ``MYSQLPOOL_STRESS_SECONDS`` says for how long a
storm lasts (default 2); each thread does two tasks at least. The dice are seeded, the order in
which threads run is not.
"""

from __future__ import annotations

import os
import random
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import pytest
from django.db import connection, connections, transaction

from mysqlpool import auto_close_db, close_pool, release_connections, stats
from tests.helpers import HANG, run_threads
from tests.observer import Observer
from tests.rows.models import Row

SECONDS = float(os.environ.get("MYSQLPOOL_STRESS_SECONDS", "2"))
THREADS = 200
SESSIONS = 8
TASKS = 2  # at least, of each thread
UNFINISHED = 0  # the number of a row until just before its transaction is committed


# The log


class Entry(NamedTuple):
    """A row of the server's general log."""

    session: int
    command: str
    sql: str


class Task(NamedTuple):
    """Who sent a statement: a thread, and which of its tasks. Between two tasks it releases."""

    thread: int
    number: int

    def __str__(self) -> str:
        return f"thread {self.thread}, task {self.number}"


_TAG = re.compile(r"/\* t=(\d+) k=(\d+) n=(\d+) \*/")
_PINS = re.compile(r"@mine|GET_LOCK")
_BEGIN, _RESUME = "set autocommit=0", "set autocommit=1"
_ENDS = frozenset({"commit", "rollback"})


def task_of(entry: Entry) -> Task | None:
    tag = _TAG.search(entry.sql)
    return Task(int(tag[1]), int(tag[2])) if tag else None


@dataclass
class Track:
    """What the log has told about one session so far."""

    begun: bool = False  # a transaction, from switching autocommit off to switching it on
    ended: bool = False  # and it was committed or rolled back
    pinned: bool = False
    task: Task | None = None  # the only one that may send anything while begun or pinned

    @property
    def bound(self) -> bool:
        return self.begun or self.pinned


class Audit:
    """Reads a log in its order, and notes what no sound pool would have sent."""

    def __init__(self) -> None:
        self.flaws: list[str] = []
        self._tracks: defaultdict[int, Track] = defaultdict(Track)
        self._places: dict[Task, int] = {}  # the session that a task may not leave now

    def read(self, entry: Entry) -> None:
        track = self._tracks[entry.session]
        verb = entry.sql.strip().lower()
        if entry.command == "Quit":
            self._quit(entry, track)
        elif task := task_of(entry):
            self._statement(entry, track, task)
        elif verb == _BEGIN:
            self._begin(entry, track)
        elif verb == _RESUME:
            self._resume(entry, track)
        elif verb in _ENDS:
            self._end(entry, track)
        elif track.bound:
            self._note(entry, "nobody's statement where only one task may send any")

    def _statement(self, entry: Entry, track: Track, task: Task) -> None:
        if track.bound and track.task not in (None, task):
            self._note(entry, f"sent to a session that {track.task} needs")
        if track.ended:
            self._note(entry, "sent between the end of a transaction and autocommit")
        if self._places.get(task, entry.session) != entry.session:
            self._note(entry, f"this task is bound to session {self._places[task]}")
        track.pinned = track.pinned or bool(_PINS.search(entry.sql))
        if track.bound and track.task is None:
            track.task = task
            self._places[task] = entry.session

    def _begin(self, entry: Entry, track: Track) -> None:
        if track.begun:
            self._note(entry, "begins inside a transaction")
        track.begun = True

    def _end(self, entry: Entry, track: Track) -> None:
        if track.ended or not track.begun:
            self._note(entry, "ends a transaction where there is none")
        track.ended = track.begun

    def _resume(self, entry: Entry, track: Track) -> None:
        if track.begun and not track.ended:
            self._note(entry, "commits a transaction by the way")
        track.begun = track.ended = False
        if not track.pinned:
            self._free(track)

    def _quit(self, entry: Entry, track: Track) -> None:
        if track.begun:
            self._note(entry, "ends inside a transaction")
        self._free(self._tracks.pop(entry.session))

    def _free(self, track: Track) -> None:
        if track.task is not None:
            self._places.pop(track.task, None)
            track.task = None

    def _note(self, entry: Entry, flaw: str) -> None:
        self.flaws.append(f"session {entry.session}: {entry.sql or entry.command!r}: {flaw}")


def mixed_up(log: Iterable[Entry]) -> list[str]:
    """What is wrong in a log: one line each, none for a sound one.

    From SET autocommit=0 to SET autocommit=1, and from the first statement that pins to the end of
    its session, a session gets the statements of one task; meanwhile that task sends none to any
    other session. A transaction is committed or rolled back once, and nothing comes after that.
    """
    audit = Audit()
    for entry in log:
        audit.read(entry)
    return audit.flaws


def split_tasks(log: Iterable[Entry]) -> list[str]:
    """The tasks that had more than one lease: on two sessions, or on one with others in between."""
    flaws: list[str] = []
    latest: dict[int, Task] = {}
    begun: set[Task] = set()
    for entry in log:
        task = task_of(entry)
        if task is None or latest.get(entry.session) == task:
            continue
        if task in begun:
            flaws.append(f"session {entry.session}: {entry.sql}: {task} began elsewhere")
        begun.add(task)
        latest[entry.session] = task
    return flaws


def numbers_by_thread(log: Iterable[Entry]) -> dict[int, list[int]]:
    """The numbers of each thread's statements, in the order in which the server got them."""
    numbers: defaultdict[int, list[int]] = defaultdict(list)
    for entry in log:
        if tag := _TAG.search(entry.sql):
            numbers[int(tag[1])].append(int(tag[3]))
    return dict(numbers)


def parsed(text: str) -> list[Entry]:
    """A log written by hand: ``SESSION THREAD.TASK SQL``, with - for a statement without a tag."""
    entries = []
    for number, line in enumerate(text.strip().splitlines()):
        session, who, sql = line.split(maxsplit=2)
        if who != "-":
            thread, task = who.split(".")
            sql = f"{sql} /* t={thread} k={task} n={number} */"
        command = "Quit" if sql == "Quit" else "Query"
        entries.append(Entry(int(session), command, "" if command == "Quit" else sql))
    return entries


SOUND = {
    "single statements of many threads": "7 1.1 SELECT 1\n7 2.1 SELECT 2\n8 1.1 SELECT 3",
    "one transaction after another": """
        7 - SET autocommit=0
        7 1.1 INSERT
        8 2.1 SELECT 1
        7 1.1 SAVEPOINT s
        7 - COMMIT
        7 - SET autocommit=1
        7 2.1 SELECT 2
        7 - SET autocommit=0
        7 2.1 INSERT
        7 - ROLLBACK
        7 - SET autocommit=1
        8 1.1 SELECT 1""",
    "a task that is pinned until its session ends": """
        7 1.1 SELECT 1
        7 2.1 SET @mine = 5
        7 - SET autocommit=0
        7 2.1 INSERT
        7 - COMMIT
        7 - SET autocommit=1
        7 2.1 SELECT @mine
        7 - Quit
        8 2.2 SELECT 1
        9 1.1 SELECT 1""",
    "the spelling of MySQL's library": """
        7 - set autocommit=0
        7 1.1 INSERT
        7 - commit
        7 - set autocommit=1
        7 2.1 SELECT 1""",
}

MIXED_UP = {
    "another thread inside a transaction": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 2.1 SELECT 1\n7 - COMMIT\n7 - SET autocommit=1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "another task of the same thread inside a transaction": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 1.2 SELECT 1\n7 - COMMIT\n7 - SET autocommit=1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "a transaction that goes on on another session": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n8 1.1 INSERT\n7 - COMMIT\n7 - SET autocommit=1",
        "this task is bound to session 7",
    ),
    "two transactions at once": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - SET autocommit=0",
        "begins inside a transaction",
    ),
    "somebody else's commit": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - COMMIT\n7 - COMMIT\n7 - SET autocommit=1",
        "ends a transaction where there is none",
    ),
    "a commit on a session without a transaction": (
        "7 1.1 INSERT\n7 - COMMIT",
        "ends a transaction where there is none",
    ),
    "a statement after the commit": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - COMMIT\n7 1.1 INSERT\n7 - SET autocommit=1",
        "sent between the end of a transaction and autocommit",
    ),
    "autocommit for the next holder with a transaction open": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - SET autocommit=1",
        "commits a transaction by the way",
    ),
    "a set-up for the next holder inside a transaction": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - SET SESSION wait_timeout = 3",
        "nobody's statement",
    ),
    "a session that ends inside a transaction": (
        "7 - SET autocommit=0\n7 1.1 INSERT\n7 - Quit",
        "ends inside a transaction",
    ),
    "another thread on a session with a variable": (
        "7 1.1 SET @mine = 5\n7 2.1 SELECT 1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "another thread on a session with a lock": (
        "7 1.1 SELECT GET_LOCK('a', 0)\n7 1.1 SELECT RELEASE_LOCK('a')\n7 2.1 SELECT 1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "a pinned session that survives the release": (
        "7 1.1 SET @mine = 5\n7 1.2 SELECT 1",
        "sent to a session that thread 1, task 1 needs",
    ),
    "a pinned session after its transaction": (
        "7 - SET autocommit=0\n7 1.1 SET @mine = 5\n7 - COMMIT\n7 - SET autocommit=1\n7 2.1 X",
        "sent to a session that thread 1, task 1 needs",
    ),
    "a pinned task on another session": (
        "7 1.1 SET @mine = 5\n8 1.1 SELECT @mine",
        "this task is bound to session 7",
    ),
}


@pytest.mark.parametrize("log", SOUND.values(), ids=SOUND)
def test_the_audit_finds_nothing_in_a_sound_log(log: str) -> None:
    assert mixed_up(parsed(log)) == []


@pytest.mark.parametrize(("log", "flaw"), MIXED_UP.values(), ids=MIXED_UP)
def test_the_audit_catches_a_mixed_up_log(log: str, flaw: str) -> None:
    flaws = mixed_up(parsed(log))
    assert len(flaws) == 1
    assert flaw in flaws[0]


@pytest.mark.parametrize(
    ("log", "count"),
    [
        ("7 1.1 A\n7 1.1 B\n7 2.1 C\n8 1.2 D\n7 1.3 E", 0),
        ("7 1.1 A\n7 2.1 B\n7 1.1 C", 1),
        ("7 1.1 A\n8 1.1 B", 1),
    ],
)
def test_the_audit_catches_a_task_with_two_leases(log: str, count: int) -> None:
    assert len(split_tasks(parsed(log))) == count


def test_the_audit_tells_in_which_order_a_threads_statements_came() -> None:
    assert numbers_by_thread(parsed("7 1.1 A\n8 2.1 B\n7 - COMMIT\n8 1.1 C")) == {1: [0, 3], 2: [1]}


# The storm


class Undo(Exception):
    """Raised by a thread to have its block rolled back."""


class Client:
    """One thread: tasks of random steps, each of which knows what the answer has to be."""

    def __init__(self, number: int, locks: dict[str, int]) -> None:
        self.number = number
        self.task = 0
        self.sent = 0
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
    ((output,),) = observer.query("SELECT @@GLOBAL.log_output")
    observer.query("TRUNCATE mysql.general_log")
    observer.query("SET GLOBAL log_output = 'TABLE'")
    observer.query("SET GLOBAL general_log = ON")
    log: list[Entry] = []
    try:
        yield log
    finally:
        observer.query("SET GLOBAL general_log = OFF")
        rows = observer.query(
            "SELECT thread_id, command_type, CONVERT(argument USING utf8mb4) FROM mysql.general_log"
        )
        log[:] = of_clients([Entry(*row) for row in rows])
        observer.query("TRUNCATE mysql.general_log")
        observer.query("SET GLOBAL log_output = %s", output)


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
def test_no_session_carries_statements_of_two_tasks_where_it_matters(
    lease: str, observer: Observer
) -> None:
    """Every answer is right, and so is the order in which the server saw the statements."""
    locks: dict[str, int] = {}
    clients = [Client(number, locks) for number in range(1, THREADS + 1)]
    until = time.monotonic() + SECONDS
    with general_log(observer) as log:
        run_threads(*[partial(client.run, until) for client in clients])
        figures = stats()["default"]
    assert mixed_up(log) == []
    every_statement_once = {c.number: [*range(1, c.sent + 1)] for c in clients}
    assert numbers_by_thread(log) == every_statement_once
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
    for verb in ("COMMIT", "ROLLBACK", _BEGIN):
        assert sum(entry.sql.lower() == verb.lower() for entry in log) >= THREADS / 4
    for word in ("ROLLBACK TO SAVEPOINT", "SET @mine", "SELECT @mine", "GET_LOCK", "RELEASE_LOCK"):
        assert any(word in entry.sql for entry in log), f"no {word}"
