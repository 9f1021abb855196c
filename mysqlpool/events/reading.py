"""Reading the event log: the newest statistics of each process, from the end of the file.

Only what is young enough is read, however long the file is, and nothing is locked. The files are
those of `mysqlpool.events.file`: one that is written, and its rotated ones beside it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from .machine import host, pid_space

__all__ = ["ProcessStatistics", "latest_statistics"]

BLOCK = 64 * 1024  # bytes that are read at a time

# How a line begins and what one of statistics holds, as `mysqlpool.events.log` writes them.
BEGINNING = b'{"time": "'
STAMP = slice(len(BEGINNING), len(BEGINNING) + len("2026-01-31T12:00:00.000000+00:00"))
MARK = b'"event": "statistics"'

# Seconds by which lines of several processes may be out of order: who writes waits for the others.
DISORDER = 10.0


@dataclass(frozen=True, slots=True)
class ProcessStatistics:
    """What one process said of its pool of one alias.

    ``host`` is the name of its machine, or container, and ``pid_space`` tells among whom its number
    is its own; either is empty where the line does not tell. ``program`` is what runs there, such
    as ``manage.py``. ``fields`` are those of `mysqlpool.PoolStats.as_dict`, of the histograms
    without their buckets. ``ended`` tells that these are the last figures of a process that has
    come to its end.
    """

    time: datetime
    host: str
    pid_space: str
    pid: int
    program: str
    alias: str
    ended: bool
    fields: Mapping[str, Any]

    @property
    def is_numbered_here(self) -> bool:
        """Whether ``pid`` means to this process what it means to that one."""
        return (self.host, self.pid_space) == (host(), pid_space() or "")


def latest_statistics(
    filename: str | os.PathLike[str], since_seconds: float = 180.0
) -> list[ProcessStatistics]:
    """The newest statistics of each process and alias, by alias and process.

    What is older than ``since_seconds`` is not told: the process is gone, or has no session. The
    default is three times that of ``stats_interval``. Where there is no such file the list is
    empty. What is no whole line of statistics is passed over. Raises ``OSError`` for a file that
    cannot be read.
    """
    oldest = time.time() - since_seconds
    found: dict[tuple[str, str, str, int], ProcessStatistics] = {}
    for line in _younger(os.fspath(filename), _stamp(oldest - DISORDER)):
        told = _parsed(line) if MARK in line else None
        if told is not None and told.time.timestamp() >= oldest:
            found.setdefault((told.alias, told.host, told.pid_space, told.pid), told)
    return [found[key] for key in sorted(found)]


def _stamp(seconds: float) -> bytes:
    moment = datetime.fromtimestamp(max(0.0, seconds), UTC)
    return moment.isoformat(timespec="microseconds").encode("ascii")


def _younger(filename: str, oldest: bytes) -> Iterator[bytes]:
    """The lines of the log and its rotated files, the last one first, until one is too old.

    A rotation meanwhile may show lines twice.
    """
    for path in _files(filename):
        for line in _backwards(path):
            if line.startswith(BEGINNING) and line[STAMP] < oldest:
                return
            yield line


def _files(filename: str) -> Iterator[str]:
    """The log and its rotated files, the youngest first.

    While they are rotated one at a time is missing, for a moment.
    """
    missing, number = 0, 0
    while missing < 2:
        path = f"{filename}.{number}" if number else filename
        number += 1
        if os.path.exists(path):
            missing = 0
            yield path
        else:
            missing += 1


def _backwards(path: str) -> Iterator[bytes]:
    """The lines of a file, the last one first; none where it has just been rotated away."""
    with contextlib.suppress(FileNotFoundError), open(path, "rb") as file:
        end, rest = file.seek(0, os.SEEK_END), b""
        while end:
            begin = max(0, end - BLOCK)
            file.seek(begin)
            rest, *lines = (file.read(end - begin) + rest).split(b"\n")
            yield from reversed(lines)
            end = begin
        yield rest


def _parsed(line: bytes) -> ProcessStatistics | None:
    """What a line says, unless it is broken or somebody else's."""
    try:
        said = json.loads(line)
        fields = dict(said["fields"])
        program, ended = fields.pop("program"), fields.pop("ended")
        moment, pid, alias = datetime.fromisoformat(said["time"]), said["pid"], said["alias"]
        where = str(said.get("host") or ""), str(fields.pop("pid_space", "") or "")
    except (ValueError, KeyError, TypeError):
        return None
    if not (isinstance(pid, int) and isinstance(alias, str) and moment.tzinfo is not None):
        return None
    return ProcessStatistics(moment, *where, pid, str(program), alias, bool(ended), fields)
