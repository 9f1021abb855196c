"""Something is done at one moment of what runs, as a signal handler or a finalizer does it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import mysqlpool

OURS = Path(mysqlpool.__file__).parent
# Where the pool's lock may be held, for which another thread would wait until the handler is over.
LOCKED = tuple(str(OURS / name) for name in ("pool", "aliases"))


def places(*modules: ModuleType) -> tuple[str, ...]:
    """The folders of these packages."""
    return tuple(str(Path(str(module.__file__)).parent) for module in modules)


def is_locked(frame: FrameType | None) -> bool:
    while frame is not None and not frame.f_code.co_filename.startswith(LOCKED):
        frame = frame.f_back
    return frame is not None


class At:
    """A profile function that does something once, at the ``number``-th call in these folders. If
    it ``spares_locked`` parts, that is the first one after it outside of the pool.

    CPython runs signal handlers as a function of Python begins and as one of C has returned (and in
    loops), which are the moments that profile functions are told of.
    """

    def __init__(
        self,
        number: int,
        do: Callable[[], object],
        where: tuple[str, ...],
        *,
        spares_locked: bool = True,
    ) -> None:
        self.left, self.do, self.where, self.spares_locked = number, do, where, spares_locked
        self.code: CodeType | None = None  # where that was
        self.place: str | None = None
        """The moment, once it was there."""

    def __call__(self, frame: FrameType, event: str, arg: Any) -> None:
        if event in {"call", "c_return"} and frame.f_code.co_filename.startswith(self.where):
            self.left -= 1
            if self.left < 0 and not (self.spares_locked and is_locked(frame)):
                sys.setprofile(None)
                self.code = frame.f_code
                self.place = f"{frame.f_code.co_qualname} ({event})"
                self.do()
