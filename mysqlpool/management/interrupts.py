"""Ctrl-C as something that is asked for, so that it interrupts nothing in the midst."""

from __future__ import annotations

import signal
import threading
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Any

__all__ = ["Interrupt"]


class Interrupt:
    """Whether Ctrl-C was pressed in the ``with`` block.

    A KeyboardInterrupt may be raised between a statement and its answer. What the driver raises as
    the cursor is closed would then take its place, and it would be lost. The second Ctrl-C is
    raised as ever. Outside of the main thread, and where SIGINT is ignored, nothing is changed.
    """

    def __init__(self) -> None:
        # Unlike threading.Event it may be used by a handler that interrupts its own use.
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._before: Any = None

    def __enter__(self) -> Interrupt:
        is_main = threading.current_thread() is threading.main_thread()
        if is_main and signal.getsignal(signal.SIGINT) not in (signal.SIG_IGN, None):
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signals.put(number)
        self._restore()

    def _restore(self) -> None:
        before, self._before = self._before, None
        if before is not None:
            signal.signal(signal.SIGINT, before)

    @property
    def came(self) -> bool:
        return not self._signals.empty()

    def comes_within(self, seconds: float) -> bool:
        """Wait for so long, or until it comes. Tell whether it has come."""
        try:
            self._signals.put(self._signals.get(timeout=seconds))
        except Empty:
            return False
        return True
