"""Events: how library modules log, and how an event reads as a line of JSON.

`log_event` is the one way library modules log. An event goes to the ordinary loggers under
``mysqlpool``, which obey the project's ``LOGGING``, and also to the event log of
``MYSQLPOOL_LOG`` (see `mysqlpool.events.file`) when there is one. The two are independent: the
event log has its own level, and no handler of the project sees more or less because of it.

A handler is the project's code: it may raise, be slow, or lease a session itself. So what it raises
is reported as logging reports it, and never raised in the midst of the library's own work. Where
others wait for that work to end, or a lock is held, events are made at once and told afterwards.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from .machine import host

__all__ = [
    *("Event", "JSONLinesFormatter", "event_log", "held_back", "log_event", "set_event_log"),
    *("tell", "told_afterwards"),
]

P = ParamSpec("P")
T = TypeVar("T")

_event_log: logging.Handler | None = None


def event_log() -> logging.Handler | None:
    """Return the handler that writes this process's event log, if there is one."""
    return _event_log


def set_event_log(handler: logging.Handler | None) -> logging.Handler | None:
    """Let ``handler`` write the event log from now on, and return the one it replaces."""
    global _event_log
    previous, _event_log = _event_log, handler
    return previous


def log_event(
    logger: logging.Logger,
    level: int,
    event: str,
    alias: str | None = None,
    *,
    exc_info: BaseException | bool | None = None,
    **fields: Any,
) -> None:
    """Log that ``event`` happened to the pool of ``alias``.

    ``event`` is a name such as ``"session_opened"``; ``fields`` are its particulars, best of types
    that JSON knows. The record carries the three as attributes, and the message is made of them:
    ``session opened: alias=default session=123``. ``exc_info=True`` adds the exception that is
    being handled. Where the level is off this costs two comparisons. No `Exception` is raised: what
    a handler, a filter or a factory of records raises is reported on ``sys.stderr``, as logging's
    own handlers do with their errors.

    What a handler of the project's causes itself is told to the event log alone: one that leases,
    to keep records in a database, would be called for each session that is opened for that.
    """
    sink = _event_log
    to_sink = sink is not None and sink.level <= level > logger.manager.disable
    to_logger = logger.isEnabledFor(level) and not _here.is_telling
    if not (to_sink or to_logger):
        return
    try:
        record = _record(logger, level, event, alias, exc_info, fields)
    except Exception:
        _report(logging.LogRecord(logger.name, level, __file__, 0, event, (), None))
        return
    made = Event(record, logger if to_logger else None, sink if to_sink else None)
    if _here.held_back is None:
        made.tell()
    else:
        _here.held_back.append(made)


@dataclass(frozen=True, slots=True)
class Event:
    """A record of what happened, and whom to tell of it."""

    record: logging.LogRecord
    logger: logging.Logger | None
    sink: logging.Handler | None

    def tell(self) -> None:
        """Tell of it in this thread. The file comes last, as a handler may change the record."""
        if self.logger is not None:
            _here.is_telling = True
            try:
                self.logger.handle(self.record)
            except Exception:
                _report(self.record)
            finally:
                _here.is_telling = False
        if self.sink is not None:
            try:
                self.sink.handle(self.record)
            except Exception:
                _report(self.record)


def tell(events: Iterable[Event]) -> None:
    """Tell of events that were held back, in this thread."""
    for event in events:
        event.tell()


def held_back(events: list[Event], function: Callable[P, T], *args: P.args, **kw: P.kwargs) -> T:
    """Call ``function``; what this thread logs meanwhile is put into ``events``, and not told."""
    before = _here.held_back
    try:
        _here.held_back = events
        return function(*args, **kw)
    finally:
        _here.held_back = before


def told_afterwards(function: Callable[P, T], *args: P.args, **kw: P.kwargs) -> T:
    """Call ``function``; what this thread logs meanwhile is told when that has ended.

    For what others wait for, and for what holds a lock: a handler of the project's may be slow.
    """
    if _here.held_back is not None:
        return function(*args, **kw)
    events: list[Event] = []
    try:
        return held_back(events, function, *args, **kw)
    finally:
        tell(events)


class _Here(threading.local):
    """Whether this thread is in a handler of the project's, and where its events are to wait."""

    is_telling = False
    held_back: list[Event] | None = None


_here = _Here()

# It has what every handler does with an error, which obeys ``logging.raiseExceptions``.
_reporter = logging.NullHandler()


def _report(record: logging.LogRecord) -> None:
    """Report the error that is being handled: it was raised by whoever was told of this record."""
    with contextlib.suppress(Exception):  # Of a standard error that is closed, for instance.
        _reporter.handleError(record)


def _record(
    logger: logging.Logger,
    level: int,
    event: str,
    alias: str | None,
    exc_info: BaseException | bool | None,
    fields: dict[str, Any],
) -> logging.LogRecord:
    path, line, function, _ = logger.findCaller(stacklevel=3)  # the caller of log_event
    shown = fields if alias is None else {"alias": alias, **fields}
    message = event.replace("_", " ") + (":" if shown else "") + "".join(f" {k}=%s" for k in shown)
    record = logger.makeRecord(
        logger.name,
        level,
        path,
        line,
        message,
        tuple(shown.values()),
        _exc_info(exc_info),
        function,
    )
    vars(record).update(alias=alias, event=event, fields=fields)
    return record


def _exc_info(given: BaseException | bool | None) -> Any:
    if isinstance(given, BaseException):
        return (type(given), given, given.__traceback__)
    return sys.exc_info() if given else None


class JSONLinesFormatter(logging.Formatter):
    """Makes one line of JSON, in ASCII, of a record; also of one that `log_event` did not make.

    Keys: ``time`` (ISO 8601, UTC, microseconds), ``level``, ``host`` (the name of the machine, or
    container), ``pid``, ``thread`` (its name), ``logger``, ``alias``, ``event``, ``fields``,
    ``message``, and ``exception`` (the traceback) where there is one. ``alias`` and ``event`` may
    be null. A field that JSON cannot hold, NaN included, is written as its repr.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "host": host(),
            "pid": record.process,
            "thread": record.threadName,
            "logger": record.name,
            "alias": getattr(record, "alias", None),
            "event": getattr(record, "event", None),
            "fields": {k: _jsonable(v) for k, v in getattr(record, "fields", {}).items()},
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # ASCII leaves no character that some reader takes for the end of a line.
        return json.dumps(line, ensure_ascii=True)


def _jsonable(value: Any) -> Any:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return repr(value)
    return value
