"""``MYSQLPOOL_LOG``: one event log for all worker processes, in one file that rotates safely.

Every process of the project, forked or started, writes whole lines to the same file. A file lock
beside it (concurrent_log_handler's) orders the writes and the rotations.
"""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from typing import Any

from concurrent_log_handler import ConcurrentRotatingFileHandler
from django.core.exceptions import ImproperlyConfigured

from mysqlpool.conf.rules import LOG_RULES, refuse, refuse_key

from .log import JSONLinesFormatter, event_log, set_event_log

__all__ = ["EventLogHandler", "configure"]

# max_bytes is where the file is rotated; backups is how many rotated files are kept.
DEFAULTS: Mapping[str, Any] = {"max_bytes": 10 * 1024 * 1024, "backups": 5, "level": "DEBUG"}


class EventLogHandler(ConcurrentRotatingFileHandler):
    """Writes records as lines of JSON; safe at any moment of a fork.

    A lock on an inherited file is shared with the parent (flock(2)). So concurrent_log_handler
    (0.9.30 and later) opens the lock file anew in a child. But the child also inherits the stream.
    A buffered one may hold half of the parent's line, which the child would write a second time, or
    a lock of a thread that is not in the child. So the stream has no buffer.
    """

    def __init__(self, filename: str, max_bytes: int, backups: int, level: str) -> None:
        super().__init__(filename, maxBytes=max_bytes, backupCount=backups, encoding="ascii")
        self.settings = (filename, max_bytes, backups, level)
        self.setLevel(level)
        self.setFormatter(JSONLinesFormatter())

    def do_open(self, mode: str | None = None) -> io.TextIOWrapper:
        raw = io.FileIO(self.baseFilename, mode or self.mode)
        return io.TextIOWrapper(raw, encoding=self.encoding, newline="\n", write_through=True)


def configure(setting: Any) -> None:
    """Write the event log as ``MYSQLPOOL_LOG`` says; ``None`` ends it.

    ``setting`` is a path, or a dict of ``filename``, ``max_bytes`` (10 MiB), ``backups`` (5) and
    ``level`` ("DEBUG"). A second call replaces the log, unless the setting is the same. Raises
    ``ImproperlyConfigured`` for a bad setting or a file that cannot be written.
    """
    wanted = None if setting is None else _parse(setting)
    current = event_log()
    if isinstance(current, EventLogHandler) and current.settings == wanted:
        return
    previous = set_event_log(EventLogHandler(*wanted) if wanted else None)
    if previous is not None:
        previous.close()


def _parse(setting: Any) -> tuple[str, int, int, str]:
    values = dict(setting) if isinstance(setting, Mapping) else _from_path(setting)
    for key in values:
        if key not in LOG_RULES:
            refuse_key("MYSQLPOOL_LOG", key, LOG_RULES, "the event log")
    if "filename" not in values:
        raise ImproperlyConfigured("MYSQLPOOL_LOG['filename'] is missing: the path of a file")
    values = {**DEFAULTS, **values}
    checked = {k: rule.apply(f"MYSQLPOOL_LOG[{k!r}]", values[k]) for k, rule in LOG_RULES.items()}
    filename = os.path.abspath(checked["filename"])
    _refuse_unwritable(filename)
    return filename, checked["max_bytes"], checked["backups"], checked["level"]


def _from_path(setting: Any) -> dict[Any, Any]:
    if not isinstance(setting, (str, os.PathLike)):
        refuse("MYSQLPOOL_LOG", "a path or a dict", setting)
    return {"filename": setting}


def _refuse_unwritable(filename: str) -> None:
    """Raise if the file, or the lock file beside it, cannot be written. Makes the file."""
    folder = os.path.dirname(filename)
    if not os.path.isdir(folder):
        raise ImproperlyConfigured(f"MYSQLPOOL_LOG: the folder {folder!r} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"MYSQLPOOL_LOG: the folder {folder!r} cannot be written to")
    try:
        open(filename, "ab").close()
    except OSError as error:
        raise ImproperlyConfigured(f"MYSQLPOOL_LOG: {filename!r}: {error.strerror}") from error
