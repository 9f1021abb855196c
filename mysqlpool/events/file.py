"""``MYSQLPOOL_LOG``: one event log for all worker processes, in one file that rotates safely.

Every process of the project, forked or started, writes whole lines to the same file. A file lock
beside it (concurrent_log_handler's) orders the writes and the rotations.
"""

from __future__ import annotations

import io
import logging
import os
from typing import Any

from concurrent_log_handler import ConcurrentRotatingFileHandler
from django.core.exceptions import ImproperlyConfigured

from mysqlpool.conf.event_log import EventLogSettings, parse_event_log

from .log import JSONLinesFormatter, event_log, set_event_log

__all__ = ["EventLogHandler", "configure"]


class EventLogHandler(ConcurrentRotatingFileHandler):
    """Writes records as lines of JSON; safe at any moment of a fork.

    A lock on an inherited file is shared with the parent (flock(2)). So concurrent_log_handler
    (0.9.30 and later) opens the lock file anew in a child. But the child also inherits the stream.
    A buffered one may hold half of the parent's line, which the child would write a second time, or
    a lock of a thread that is not in the child. So the stream has no buffer.
    """

    def __init__(self, settings: EventLogSettings) -> None:
        self.settings = settings
        self._is_over = False  # The handler's lock guards it.
        super().__init__(
            settings.filename,
            maxBytes=settings.max_bytes,
            backupCount=settings.backups,
            encoding="ascii",
        )
        self.setLevel(settings.level)
        self.setFormatter(JSONLinesFormatter())

    def do_open(self, mode: str | None = None) -> io.TextIOWrapper:
        raw = io.FileIO(self.baseFilename, mode or self.mode)
        return io.TextIOWrapper(raw, encoding=self.encoding, newline="\n", write_through=True)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802
        """Whether the file is long enough. Root leaves that of another user to that one.

        A cron job of root's would make a new file that the workers cannot write.
        """
        return bool(super().shouldRollover(record)) and not _is_roots_guest(self.baseFilename)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record. The files are opened for it, also after `close`, and closed again then.

        A thread that logs while another replaces the event log may come here last.
        """
        super().emit(record)
        if self._is_over:
            super().close()

    def close(self) -> None:
        """Close the files, when the record that is being written is."""
        self.acquire()
        try:
            self._is_over = True
            super().close()
        finally:
            self.release()


def configure(setting: Any) -> EventLogSettings | None:
    """Write the event log as ``MYSQLPOOL_LOG`` says, which is returned; ``None`` ends it.

    A second call replaces the log, unless the setting is the same. Raises ``ImproperlyConfigured``
    for a bad setting or a file that cannot be written.
    """
    wanted = None if setting is None else parse_event_log(setting)
    current = event_log()
    if isinstance(current, EventLogHandler) and current.settings == wanted:
        return wanted
    if wanted is not None:
        _refuse_unwritable(wanted.filename)
    handler = EventLogHandler(wanted) if wanted else None
    if handler is not None:
        _refuse_locked_out(handler.lockFilename)
    previous = set_event_log(handler)
    if previous is not None:
        previous.close()
    return wanted


def _refuse_unwritable(filename: str) -> None:
    """Raise if the file, or its folder, cannot be written. Makes the file."""
    folder = os.path.dirname(filename)
    if not os.path.isdir(folder):
        raise ImproperlyConfigured(f"MYSQLPOOL_LOG: the folder {folder!r} does not exist")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise ImproperlyConfigured(f"MYSQLPOOL_LOG: the folder {folder!r} cannot be written to")
    try:
        open(filename, "ab").close()
    except OSError as error:
        raise ImproperlyConfigured(f"MYSQLPOOL_LOG: {filename!r}: {error.strerror}") from error


def _refuse_locked_out(filename: str) -> None:
    """Raise if there is a lock file already that cannot be opened, such as one of root's."""
    if os.path.exists(filename) and not os.access(filename, os.R_OK | os.W_OK):
        raise ImproperlyConfigured(f"MYSQLPOOL_LOG: the lock file {filename!r} cannot be written")


def _is_roots_guest(filename: str) -> bool:
    """Whether this is a process of root's, and the file another user's."""
    return hasattr(os, "geteuid") and os.geteuid() == 0 != os.stat(filename).st_uid
