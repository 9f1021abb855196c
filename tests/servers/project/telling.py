"""A file of JSON lines in which all processes of the site tell the tests what they do.

Each process tells how many of its sessions are leased, whenever that has changed.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

from mysqlpool import stats

from .settings import FOLDER

__all__ = ["tell", "watch"]

PAUSE = 0.02
"""Seconds between two looks. What lasts for less may stay untold."""

_watched_process = 0


def tell(**record: Any) -> None:
    """Add a line; whole, whoever else adds one at that moment."""
    line = json.dumps({"pid": os.getpid(), **record}) + "\n"
    file = os.open(FOLDER / "told", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def watch() -> None:
    """Begin to tell of this process, unless that has begun; a forked one begins anew."""
    global _watched_process
    if _watched_process != os.getpid():
        _watched_process = os.getpid()
        threading.Thread(target=_watch, name="watch", daemon=True).start()


def _watch() -> None:
    before = None
    while True:
        now = sum(pool.in_use for pool in stats().values())
        if now != before:
            tell(in_use=now)
        before = now
        time.sleep(PAUSE)
