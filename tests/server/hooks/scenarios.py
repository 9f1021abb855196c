"""Long-lived threads that take turns in an order that is forced, on one engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from types import MappingProxyType
from typing import Any

from django.db import connections, transaction

from mysqlpool import release_connections
from tests.helpers import HANG
from tests.observer import Observer

from . import world
from .looks import Look, differences, look
from .says import Say
from .ways import Way, speaker

TENURES = ("task", "transaction")
JOURNALS = ("audit", "logins")

Voices = Sequence[str]

_EVERYTHING = {
    # Turn by turn, so that each kind of change follows on each other one.
    "a": (["a"], ["a"], [], ["a", "b"], ["b"]),
    "b": (["b"], ["b"], ["b"], ["b", "a"], []),
    "c": ([], ["a"], []),
}

WHO_SPEAKS: Mapping[str, Callable[[str, int], Voices]] = MappingProxyType(
    {
        # In which voices a thread speaks, by its name and the number of its turn, from 0.
        "the same for all": lambda thread, turn: ["a"],
        "each for itself": lambda thread, turn: [thread],
        "only some": lambda thread, turn: ["a"] if thread == "a" else [],
        "silent after having spoken": lambda thread, turn: [thread] if turn == 0 else [],
        "in another order": lambda thread, turn: ["a", "b"] if thread == "a" else ["b", "a"],
        "now this, now that": lambda thread, turn: ["ab"[turn % 2]],
        "all of that": lambda thread, turn: _EVERYTHING[thread][turn],
    }
)


@dataclass(frozen=True)
class Scenario:
    """Whose turns come in which order, what is around a turn, and how it ends.

    What is said of ``ends`` and ``around`` holds for all turns, or is a sequence with an item each.
    """

    order: str = "abab"
    ends: str | Sequence[str] = "release"  # or "close", or "" for nothing
    around: str | Sequence[str] = ""  # or "atomic", or "cursor" for one that is open
    pool_size: int = 1
    hindered: bool = False  # somebody else has the session that was used last, during each turn

    def end(self, turn: int) -> str:
        return self.ends if isinstance(self.ends, str) else self.ends[turn]

    def frame(self, turn: int) -> str:
        return self.around if isinstance(self.around, str) else self.around[turn]


@dataclass(frozen=True)
class Case:
    way: Way
    who: Callable[[str, int], Voices]
    say: Say | None = None
    change_params: Callable[[Any, dict[str, Any], str], None] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


class Threads:
    """A long-lived thread for each name; one of them runs at a time."""

    def __init__(self) -> None:
        self._executors: dict[str, ThreadPoolExecutor] = {}

    def run(self, thread: str, function: Callable[[], Any]) -> Any:
        if thread not in self._executors:
            self._executors[thread] = ThreadPoolExecutor(1, f"hooks-{thread}")
        return self._executors[thread].submit(function).result(HANG)

    def __iter__(self) -> Iterator[str]:
        return iter(self._executors)

    def end(self) -> None:
        for executor in self._executors.values():
            executor.shutdown()


def run(
    server: Any,
    observer: Observer,
    kind: str,
    case: Case,
    scenario: Scenario,
    pool: dict[str, Any] | None = None,
) -> list[Look]:
    """What the threads see in their turns."""
    world.begin_anew(observer)
    threads, turns = Threads(), Counter[str]()
    seen: list[Look] = []
    settings = {**case.settings, **(case.say.settings if case.say else {})}
    with ExitStack() as stack:
        alias = stack.enter_context(
            world.alias(server, kind, mixin=case.way.mixin, pool=pool, **settings)
        )
        stack.callback(threads.end)
        stack.callback(_forget_all, threads, alias)
        stack.enter_context(case.way.listening(alias))
        for number, thread in enumerate(scenario.order):
            nth = turns[thread]
            turns[thread] += 1
            observer.query(f"INSERT INTO {world.MAIN}.arrivals VALUES ()")

            voices = case.who(thread, nth)
            frame, end = scenario.frame(number), scenario.end(number)
            turn = partial(_turn, alias, case, voices, frame, end, first=nth == 0)
            before = _last_keys(observer)
            with _hindrance(threads, alias, number if scenario.hindered else 0):
                seen.append(threads.run(thread, turn) | _written(observer, before))
    return seen


@contextmanager
def _hindrance(threads: Threads, alias: str, number: int) -> Iterator[None]:
    """Another thread, new to the pool, has the session that was used last. The first turn has none.

    It says nothing, and leaves nothing.
    """
    cursors: list[Any] = []

    def hold() -> None:
        cursors.append(connections[alias].cursor())
        cursors[0].execute("SELECT 1")

    def let_go() -> None:
        cursors[0].close()
        release_connections()

    if number:
        threads.run(f"hindrance {number}", hold)
    try:
        yield
    finally:
        if number:
            threads.run(f"hindrance {number}", let_go)


def _forget_all(threads: Threads, alias: str) -> None:
    def forget() -> None:
        speaker.speech = None  # Whoever hooks into close() has said everything.
        world.forget(alias)

    for thread in threads:
        threads.run(thread, forget)


def _turn(alias: str, case: Case, voices: Voices, frame: str, end: str, *, first: bool) -> Look:
    say = case.say or Say()
    speaker.seen = []
    _listen(case, voices)
    if first:
        case.way.meet(alias)
    with _around(alias, frame):
        seen = look(alias, say)
        if case.way.probes:
            seen["usable"] = connections[alias].is_usable()
            seen |= {f"{name}, then": value for name, value in look(alias, say).items()}
    if say.commits:
        transaction.commit(using=alias)
    if end == "release":
        release_connections()
    elif end == "close":
        connections[alias].close()
    seen["seen by instrumentation"] = [
        s for s in speaker.seen if s.startswith(("SELECT", "INSERT"))
    ]
    return seen


def _listen(case: Case, voices: Voices) -> None:
    """What this thread is going to say when a hook asks for it."""
    say, change_params = case.say, case.change_params

    def speech(raw: Any, execute: Callable[[str, Any], object]) -> None:
        for voice in voices:
            if say is not None:
                say.speak(raw, execute, voice)

    def change(wrapper: Any, params: dict[str, Any]) -> None:
        for voice in voices:
            if change_params is not None:
                change_params(wrapper, params, voice)

    speaker.speech, speaker.change_params = speech, change


@contextmanager
def _around(alias: str, around: str) -> Iterator[None]:
    with ExitStack() as stack:
        if around == "atomic":
            stack.enter_context(transaction.atomic(using=alias))
        elif around == "cursor":
            stack.enter_context(connections[alias].cursor())
        yield


def _last_keys(observer: Observer) -> list[int]:
    question = "SELECT COALESCE(MAX(id), 0) FROM {}.{}"
    return [observer.query(question.format(world.MAIN, j))[0][0] for j in JOURNALS]


def _written(observer: Observer, before: Sequence[int]) -> Look:
    """What a turn has left in the database for everybody."""
    question = "SELECT who FROM {}.{} WHERE id > %s ORDER BY id"
    return {
        journal: [who for (who,) in observer.query(question.format(world.MAIN, journal), key)]
        for journal, key in zip(JOURNALS, before, strict=True)
    }


def assert_same(
    server: Any,
    observer: Observer,
    case: Case,
    scenario: Scenario,
    leases: Sequence[str] = TENURES,
) -> None:
    """A scenario shows on our engine, in each tenure, what it shows on Django's, in each turn."""
    stock = run(server, observer, "stock", case, scenario)
    found = []
    for lease in leases:
        pool = {"pool_size": scenario.pool_size, "timeout": 5, "lease": lease}
        ours = run(server, observer, "ours", case, scenario, pool)
        found += [
            f"{lease}, turn {number} ({thread}): {difference}"
            for number, thread, a, b in zip(count(1), scenario.order, stock, ours, strict=False)
            for difference in differences(a, b, scenario.frame(number - 1))
        ]
    assert not found, "\n".join(["not as on Django's engine:", *found])
