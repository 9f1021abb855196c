"""Statistics in the event log: each process's figures, at intervals and at its end.

The only mutable globals here:

``_ticker``
    what has them written now, replaced as a whole.
``_lock``
    is held while they are taken, so that the last figures are the last. The caretaker's thread and
    the exit take it, and the exit does not wait long. They are told afterwards, as a handler of the
    project's may hang.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from typing import Any

from .aliases.ticker import Ticker
from .events.log import event_log, log_event, told_afterwards
from .events.machine import pid_space
from .stats import stats

__all__ = ["write_every"]

logger = logging.getLogger("mysqlpool.pool")

# Of a histogram its buckets are left out, which are most of it.
BUCKETS = frozenset({"bounds", "counts"})
DIGITS = 6  # of what is a fraction: microseconds

# Seconds after which a process tells of itself for the first time, so that it is soon seen.
FIRST = 1.0

# Seconds that the exit waits at most for what is being written.
PATIENCE = 0.5

_ticker: Ticker | None = None
_lock = threading.Lock()


def write_every(interval: float) -> None:
    """Have an event ``statistics`` for each open pool every so many seconds; 0 ends that.

    It is written as long as there is an event log and this process has a session, for the first
    time after a second, and once more at exit. Nothing is written by a process that ends by a
    signal or ``os._exit()``.
    """
    global _ticker
    previous, _ticker = _ticker, _made(interval)
    if previous is not None:
        previous.stop()
    if _ticker is not None:
        _ticker.start()


def _made(interval: float) -> Ticker | None:
    return Ticker(interval, _tick, first=min(FIRST, interval)) if interval else None


def _tick() -> None:
    told_afterwards(_take)


def _take() -> None:
    with _lock:
        if _ticker is not None:
            _write()


def _write(*, ended: bool = False) -> None:
    if event_log() is None:
        return
    for alias, pool in stats().items():
        fields = {name: _short(value) for name, value in pool.as_dict().items()}
        log_event(
            logger,
            logging.INFO,
            "statistics",
            alias,
            program=_program(),
            ended=ended,
            pid_space=pid_space(),
            **fields,
        )


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _short(one) for key, one in value.items() if key not in BUCKETS}
    return round(value, DIGITS) if isinstance(value, float) else value


def _program() -> str:
    """What this process runs, less the folder: ``manage.py``, ``gunicorn``."""
    path = sys.argv[0] if sys.argv else ""
    folder, name = os.path.split(path)
    if name == "__main__.py":  # python -m gunicorn
        name = os.path.basename(folder)
    return name or os.path.basename(sys.executable)


def _write_last() -> None:
    """At exit. Sessions that are out are counted as such: they end with the process."""
    told_afterwards(_take_last)


def _take_last() -> None:
    if _ticker is None or not _lock.acquire(timeout=PATIENCE):
        return
    try:
        _write(ended=True)
        write_every(0)
    finally:
        _lock.release()


def _start_afresh() -> None:
    """In a forked child: who had the lock is not here."""
    global _lock
    _lock = threading.Lock()


atexit.register(_write_last)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)
