"""Workers: the processes and threads that a project is served by, and who says so."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Workers"]


@dataclass(frozen=True)
class Workers:
    """So many processes with so many threads each, of one program; None where nobody says.

    The sources name the place where each number stands. ``green`` is what makes the threads green,
    where that is known: gevent or eventlet.
    """

    name: str
    processes: int | None = None
    threads: int | None = None
    processes_source: str = ""
    threads_source: str = ""
    green: str | None = None
