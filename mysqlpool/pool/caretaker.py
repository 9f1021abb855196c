"""Caretaker: upkeep without traffic, by one daemon thread for all pools of a process.

Whoever leases or returns looks after the pool when something has come due. Where nobody does, this
thread looks. A connect starts it, because each idle session and each lease begins with one, so that
leasing and returning pay nothing for it. It sleeps until the first thing of all pools is due, and
ends as soon as nothing can become due without another connect.

It knows the pools weakly, and has one only while it looks after it.

What it finds is logged after the look, when a further thread has taken its place: a handler of the
project's may be slow, hang, or lease a session and wait for that, and the pools and the limits of
time in `mysqlpool.aliases.limits` need somebody to look after them meanwhile. So there are two
threads at most, of which one has nothing but the log to do, and ends with it.

It rests, which is to say that it ends, while this process forks, so that it is in the midst of
nothing then and a child inherits no lock that it had. (Python 3.12 also warns of a fork in a
process with threads.) The parent starts it again after the fork, and the child at its first
connect. At exit it ends for good, before logging is shut down and standard error is closed.
Fork and exit wait `PATIENCE` seconds for it at most, because whatever it closes or logs may block.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from mysqlpool.events.log import Event, held_back, log_event, tell

from . import clock
from .locks import under

__all__ = ["Caretaker", "watch", "work_within"]

logger = logging.getLogger("mysqlpool.pool")

# Seconds that a fork and the exit wait at most for the thread to end.
PATIENCE = 1.0

# Seconds between two looks at least, and after one that failed.
PAUSE, AFTER_FAILURE = 0.05, 1.0

# How many events wait for a handler that hangs, at most. The oldest go first.
UNTOLD = 1000

# What is entered by a thread that looks or logs: handlers and listeners of the project's may take
# something in it that nobody else would give back.
_scope: Callable[[], AbstractContextManager[object]] = contextlib.nullcontext


class Watched(Protocol):
    """A pool, as far as the caretaker knows it."""

    @property
    def alias(self) -> str | None:
        """The pool's name in the log."""

    def next_look(self) -> float:
        """When to look though nobody leases or returns; inf if only a connect can change that.

        Takes no lock.
        """

    def tidy(self, now: float) -> None:
        """Look after it."""


class _Thread(threading.Thread):
    """A thread that can be woken. It pauses for so many seconds before its first look."""

    def __init__(self, work: Callable[[_Thread], None], pause: float) -> None:
        super().__init__(target=work, args=(self,), name="mysqlpool-caretaker", daemon=True)
        self.pause = pause
        self._gate = threading.Lock()  # the cheapest event there is
        self._gate.acquire()

    def sleep(self, seconds: float) -> None:
        self._gate.acquire(timeout=min(seconds, threading.TIMEOUT_MAX))

    def wake(self) -> None:
        """End the present or the next sleep."""
        with contextlib.suppress(RuntimeError):  # It was woken already; once is enough.
            self._gate.release()


class Caretaker:
    """Looks after pools, in one thread at most, and logs what it found in another.

    ``_lock`` guards all attributes. It is held for moments, also while the thread is started.
    Nothing is logged, closed or waited for under it, and no other lock of ours is asked for. A
    thread that finds another in its place ends, when it has logged what there is to log.
    """

    def __init__(self) -> None:
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._lock = threading.RLock()
        self._watched: set[weakref.ref[Watched]] = set()
        self._thread: _Thread | None = None
        self._teller: _Thread | None = None  # the one that logs, while it does
        self._untold: deque[Event] = deque(maxlen=UNTOLD)
        self._until = math.inf  # when the thread wakes up by itself
        self._resting = 0  # forks under way; after the exit began it stays above 0
        self._told = False  # that the thread could not be started

    def watch(self, one: Watched) -> None:
        """Look after a pool from now on, until it needs nothing more or is gone."""
        if one.next_look() < math.inf:
            self._tell(under(self._lock, self._watch, one))

    def rest(self) -> None:
        """End the thread, until as many calls of `resume` have been made."""
        until = time.monotonic() + PATIENCE  # The clock that join() goes by.
        for thread in under(self._lock, self._rest):
            if thread is not threading.current_thread() and thread.is_alive():
                thread.join(max(0.0, until - time.monotonic()))

    def resume(self) -> None:
        """Start the thread again, if there is something to look after."""
        self._tell(under(self._lock, self._resume))

    def forget(self) -> None:
        """In a forked child: no thread, no pools, and no lock that somebody had."""
        self._start_afresh()

    def _tell(self, error: RuntimeError | None) -> None:
        """Log once that the thread cannot be started, unless that is because of the exit."""
        if error is None or self._told or not threading.main_thread().is_alive():
            return
        self._told = True
        log_event(logger, logging.WARNING, "no_upkeep_thread", error=str(error))

    # The caller holds the lock.

    def _watch(self, one: Watched) -> RuntimeError | None:
        self._watched.add(weakref.ref(one))
        if self._thread is not None and one.next_look() < self._until:
            self._thread.wake()
        return self._start()

    def _rest(self) -> list[_Thread]:
        self._resting += 1
        if self._thread is not None:
            self._thread.wake()
        return [one for one in (self._thread, self._teller) if one is not None]

    def _resume(self) -> RuntimeError | None:
        self._resting = max(0, self._resting - 1)
        return self._start() if self._watched else None

    def _start(self, pause: float = 0.0) -> RuntimeError | None:
        """Start the thread, if it is not there. Returns why it could not be started.

        A signal handler may raise at any point. A thread that was not started then is not alive,
        so that the next connect starts another.
        """
        if self._resting or (self._thread is not None and self._thread.is_alive()):
            return None
        self._until = -math.inf  # It has to plan first.
        self._thread = thread = _Thread(self._work, pause)
        try:
            thread.start()
        except RuntimeError as error:  # No more threads, or none at exit.
            self._thread = None
            return error
        except KeyError as error:
            # Thread.start() stumbles over what the new thread did, when a signal handler raises in
            # the midst of it. The handler's exception is the one to be seen.
            raise (error.__context__ or error) from None
        return None

    def _plan(self, thread: _Thread) -> float | None:
        """When to wake up; None if this thread is to end."""
        if self._thread is not thread:
            return None
        looks = {ref: one.next_look() for ref in self._watched if (one := ref()) is not None}
        self._watched = {ref for ref, look in looks.items() if look < math.inf}
        if self._resting or not self._watched:
            self._thread, self._until = None, math.inf
            return None
        self._until = min(looks.values())
        return self._until

    def _give_way(self, thread: _Thread, events: list[Event]) -> RuntimeError | None:
        """Let this thread log, and another take its place. Returns why none could be started."""
        self._untold.extend(events)
        if self._teller is not None and self._teller.is_alive():
            return None  # It logs these, too.
        self._teller = thread
        if self._thread is not thread:
            return None
        self._thread, self._until = None, math.inf
        error = self._start(thread.pause) if self._watched else None
        if error is not None:
            self._thread = thread
        return error

    def _next_untold(self, thread: _Thread) -> list[Event]:
        """What this thread has to log now; it is not the one that logs where that is nothing."""
        if self._teller is not thread:
            return []
        events = list(self._untold)
        self._untold.clear()
        if not events:
            self._teller = None
        return events

    # What the thread does

    def _work(self, thread: _Thread) -> None:
        while (look := under(self._lock, self._plan, thread)) is not None:
            thread.sleep(max(look - clock.monotonic(), thread.pause))
            events: list[Event] = []
            well = held_back(events, self._look_after_all)
            thread.pause = PAUSE if well else AFTER_FAILURE
            if events:
                self._tell(under(self._lock, self._give_way, thread, events))
                self._tell_all(thread)

    def _look_after_all(self) -> bool:
        """Look after each pool that needs it; False if that failed for any."""
        return _in_scope(self._look_after_each)

    def _look_after_each(self) -> bool:
        well = True
        for ref in under(self._lock, tuple, self._watched):
            if self._resting:
                break
            well &= _look_after(ref)
        return well

    def _tell_all(self, thread: _Thread) -> None:
        """Log what was found, also what others find meanwhile, if this is the one that logs."""
        while events := under(self._lock, self._next_untold, thread):
            _in_scope(tell, events)


def work_within(scope: Callable[[], AbstractContextManager[object]]) -> None:
    """Have each look, and whatever is logged of it, be in such a scope. For who knows of scopes."""
    global _scope
    _scope = scope


def _in_scope(function: Callable[..., bool | None], *args: Any) -> bool:
    """Call a function in a scope; False where that, or the end of the scope, failed."""
    try:
        with _scope():
            return function(*args) is not False
    except Exception:
        log_event(logger, logging.ERROR, "upkeep_failed", exc_info=True)
        return False


def _look_after(ref: weakref.ref[Watched]) -> bool:
    one = ref()
    try:
        if one is not None and one.next_look() <= (now := clock.monotonic()):
            one.tidy(now)
    except Exception:
        alias = None if one is None else one.alias
        log_event(logger, logging.ERROR, "upkeep_failed", alias, exc_info=True)
        return False
    return True


# The one of this process.
_caretaker = Caretaker()
watch = _caretaker.watch

atexit.register(_caretaker.rest)
if hasattr(os, "register_at_fork"):  # Where there is none, nobody forks.
    os.register_at_fork(
        before=_caretaker.rest,
        after_in_parent=_caretaker.resume,
        after_in_child=_caretaker.forget,
    )
