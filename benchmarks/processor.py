"""One processor for both sides of a benchmark that never has two things to do at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.server import PrivateServer, Server

__all__ = ["one_processor", "processor_seconds"]


@contextmanager
def one_processor(server: Server) -> Iterator[None]:
    """In this block this thread, those that it starts, and the server are on one processor.

    That is so where the system can, and where the server is a private one. Else each session's
    thread of the server may run on the client's processor or on another one, for minutes: a round
    trip takes 25 microseconds in the first case and 70 in the other, and which contestant is lucky
    is a matter of chance.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    _stay(server, {min(before)})
    try:
        yield
    finally:
        _stay(server, before)


def _stay(server: Server, processors: set[int]) -> None:
    os.sched_setaffinity(0, processors)
    if isinstance(server, PrivateServer):
        for thread in Path(f"/proc/{server.pid}/task").iterdir():
            with suppress(ProcessLookupError):  # It has ended meanwhile.
                os.sched_setaffinity(int(thread.name), processors)


def processor_seconds(process: int) -> float | None:
    """What a process and its children have used of processors; None where there is no ``/proc``.

    https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html: fields 14 and 15, in ticks.
    """
    if not Path("/proc/self/stat").exists():
        return None
    parents = {}
    used = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            # The name in parentheses may have spaces and parentheses.
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
            number = int(stat.parent.name)
            parents[number], used[number] = int(fields[1]), int(fields[11]) + int(fields[12])
    mine = {process} | {number for number, parent in parents.items() if parent == process}
    return sum(used.get(number, 0) for number in mine) / os.sysconf("SC_CLK_TCK")
