"""A job, which each queue runs in its own way."""

from __future__ import annotations

import threading

from django.db import connections

from .telling import tell, watch
from .work import Wanted, do

__all__ = ["run"]


def run(kind: str, n: int) -> None:
    """Do it, and tell the answer, and whether the thread had a lease from before."""
    watch()
    kept = connections["default"].connection is not None
    told = {"kind": kind, "n": n, "kept": kept, "thread": threading.current_thread().name}
    try:
        answer = do(kind, n)
    except Wanted:
        tell(answer="failed", **told)
        raise
    except Exception as error:
        tell(answer=repr(error), **told)
        raise
    tell(answer=answer, **told)
