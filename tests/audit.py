"""What the server's general log shows, and no answer does: statements of two tasks in one place."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple


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

_VARIABLE = "@mine"
_LOCK = re.compile(r"(?P<verb>GET|RELEASE)_LOCK\('(?P<name>[^']*)'")

BEGIN, OFF, _ON = "start transaction", "set autocommit=0", "set autocommit=1"
_ENDS = frozenset({"commit", "rollback"})

# What travels ahead of a statement. MariaDB logs that together, and MySQL one by one.
_COMMENT = r"\s*(?:/\*(?:(?!\*/).)*\*/\s*)*"
_AHEAD = re.compile(
    rf"(?:START TRANSACTION|{_COMMENT}(?:RELEASE )?SAVEPOINT `\w+`{_COMMENT});", re.IGNORECASE
)


def parts_of(entry: Entry) -> Iterator[Entry]:
    """The statements that were sent together."""
    start = 0
    while match := _AHEAD.match(entry.sql, start):
        yield entry._replace(sql=match[0][:-1])
        start = match.end()
    if start < len(entry.sql) or not start:
        yield entry._replace(sql=entry.sql[start:])


def task_of(entry: Entry) -> Task | None:
    tag = _TAG.search(entry.sql)
    return Task(int(tag[1]), int(tag[2])) if tag else None


@dataclass
class Track:
    """What the log has told about one session so far."""

    begun: bool = False  # a transaction
    off: bool = False  # autocommit, which ends with the transaction only when it is switched on
    ended: bool = False  # and it was committed or rolled back
    has_variable: bool = False
    locks: Counter[str] = field(default_factory=Counter)  # how often each was perhaps taken
    task: Task | None = None  # the only one that may send anything while begun or pinned

    @property
    def pinned(self) -> bool:
        return self.has_variable or bool(self.locks)

    def note(self, sql: str) -> None:
        """Note what a statement leaves in the session, or takes back."""
        self.has_variable = self.has_variable or _VARIABLE in sql
        if lock := _LOCK.search(sql):
            self.locks[lock["name"]] += 1 if lock["verb"] == "GET" else -1
            self.locks += Counter()  # which drops what is released

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
        if entry.command in ("Quit", "Change user"):  # The pool's renewal ends what pinned it.
            self._quit(entry, track)
        elif task := task_of(entry):
            self._statement(entry, track, task)
        elif verb == BEGIN:
            self._begin(entry, track)
        elif verb == OFF:
            track.begun = track.off = True
        elif verb == _ON:
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
        track.note(entry.sql)
        if track.bound and track.task is None:
            track.task = task
            self._places[task] = entry.session
        elif not track.bound:
            self._free(track)

    def _begin(self, entry: Entry, track: Track) -> None:
        if track.begun:
            self._note(entry, "begins inside a transaction")
        track.begun = True

    def _end(self, entry: Entry, track: Track) -> None:
        if track.ended or not track.begun:
            self._note(entry, "ends a transaction where there is none")
        track.ended = track.begun
        if not track.off:
            self._over(track)

    def _resume(self, entry: Entry, track: Track) -> None:
        if track.begun and not track.ended:
            self._note(entry, "commits a transaction by the way")
        self._over(track)

    def _over(self, track: Track) -> None:
        track.begun = track.off = track.ended = False
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

    From START TRANSACTION to its end, from SET autocommit=0 to SET autocommit=1, and from the first
    statement that pins to the end of its session or its renewal, a session gets the statements of
    one task; meanwhile that task sends none to any other session. A transaction is committed or
    rolled back once, and nothing comes after that. It may go on with autocommit off.
    """
    audit = Audit()
    for entry in log:
        for part in parts_of(entry):
            audit.read(part)
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
        for thread, _, number in _TAG.findall(entry.sql):
            numbers[int(thread)].append(int(number))
    return dict(numbers)


def is_about_savepoint(sql: str) -> bool:
    """Whether a statement need not be sent, if nothing happens in its savepoint."""
    return "SAVEPOINT" in sql and "ROLLBACK" not in sql


def sent_in_order(seen: list[int], number: int, may_be_missing: Collection[int]) -> bool:
    """Whether the statements from 1 to ``number`` were sent once each, in their order."""
    return [*range(1, number + 1)] == sorted({*seen, *may_be_missing}) and seen == sorted(set(seen))
