"""The vigils of one alias: whether the server, whose answer is awaited, still works on it.

Nothing is sent and no clock is read for a wait that is short. The caretaker looks once a second
while there are any. For one that it sees again, the server is asked, by another session, whether
the connection is asleep there. That is not asked in the caretaker's thread, which has others'
limits of time to keep.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

from mysqlpool.pool import caretaker, clock
from mysqlpool.scopes import auto_close_db
from mysqlpool.session.vigil import Vigil

__all__ = ["Inquiry", "KeptVigils"]

# Seconds between two looks.
INTERVAL = 1.0

# How often the server has to say so. What it sent before it fell asleep may be under way the first
# time.
ENOUGH = 2

Inquiry = Callable[[Any, int], bool]
"""Whether the server says that this session, of this port on our side, is asleep."""


class KeptVigils:
    """Those that are kept now. The caretaker knows this weakly.

    Threads add and take away without a lock. ``_look`` is finite as long as there are any: who adds
    one looks at it afterwards, and who makes it inf looks at the vigils afterwards.
    """

    def __init__(self, alias: str, inquire: Inquiry) -> None:
        self.alias = alias
        self._inquire = inquire
        self._kept: dict[Vigil, None] = {}
        self._look = math.inf
        self._inquiring = False

    def begin(self, vigil: Vigil) -> None:
        self._kept[vigil] = None
        if self._look == math.inf:
            self._look = clock.monotonic() + INTERVAL
            caretaker.watch(self)

    def end(self, vigil: Vigil) -> None:
        self._kept.pop(vigil, None)
        with vigil.lock:
            pass

    def next_look(self) -> float:
        """For the caretaker."""
        return self._look

    def tidy(self, now: float) -> None:
        """Begin to ask for those that were there at the last look, too; for the caretaker."""
        self._look = math.inf
        kept = list(self._kept)
        if kept:
            self._look = now + INTERVAL
        for vigil in kept:
            vigil.looks += 1
            if vigil.is_over:  # A signal handler raised as it ended.
                self._kept.pop(vigil, None)
        silent = [vigil for vigil in kept if vigil.looks > 1]
        if silent and not self._inquiring:
            self._ask_aside(silent)

    def _ask_aside(self, silent: list[Vigil]) -> None:
        name = f"mysqlpool-vigil-{self.alias}"
        thread = threading.Thread(target=self._ask, args=(silent,), name=name, daemon=True)
        self._inquiring = True
        try:
            thread.start()
        except RuntimeError:  # No more threads; the caretaker logs it, and looks again.
            self._inquiring = False
            raise

    @auto_close_db  # A handler of the project's may lease to keep what is logged here.
    def _ask(self, silent: list[Vigil]) -> None:
        try:
            with auto_close_db():  # Who inquires gives back what it leases: that is no leak.
                for vigil in silent:
                    port = vigil.port()
                    asleep = port is not None and self._inquire(vigil.link, port)
                    vigil.asleep = vigil.asleep + 1 if asleep else 0
                    if vigil.asleep >= ENOUGH:
                        vigil.end_connection()
        finally:
            self._inquiring = False
