"""OpenTelemetry: a span for each statement, COMMIT and ROLLBACK on the aliases of mysqlpool.

The metrics of the pools, which `instrument` begins to tell, too, are in `opentelemetry_metrics`.

The names and values are those of the stable semantic conventions for database clients:
https://opentelemetry.io/docs/specs/semconv/db/mysql/. What they leave to the instrumentation:

- ``db.namespace``, ``server.address`` and ``server.port`` are those of ``DATABASES``. A ``USE``
  does not change them.
- ``db.query.text`` is the statement with its placeholders, and never with its parameters. A
  statement without parameters is given without comments and with ``?`` for each literal, cut to
  4096 characters. If it has a backslash, then the SQL mode decides where a string ends, and no text
  is given.
- ``db.query.summary``, which is the span's name, is the first word and, of SELECT, INSERT, REPLACE,
  UPDATE and DELETE, the first table. The conventions forbid to read ``db.operation.name`` from a
  statement, so only COMMIT and ROLLBACK have one.
- ``db.response.status_code`` and ``error.type`` are the number of the server's or the driver's
  error. Without a number, ``error.type`` is the name of the exception's class. The message is left
  out, because it may quote a value.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import MySQLdb
from django.core.exceptions import ImproperlyConfigured
from django.db import Error

from mysqlpool.backends.mysqlpool.observers import observe

from .opentelemetry_metrics import instrument_metrics, uninstrument_metrics
from .redaction import COMMENT, FLAGS, QUOTED, STRING, without_values

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

__all__ = ["instrument", "instrument_metrics", "uninstrument", "uninstrument_metrics"]

MAX_SUMMARY = 255  # the conventions' limit

_VERB = re.compile(rf"(?: \s | \( | {COMMENT} )*+ ([A-Z]+)", FLAGS)
_TABLE = rf"( (?:{QUOTED} | [\w$]+) (?: \. (?:{QUOTED} | [\w$]+) )? )"
_MODIFIERS = r"(?: \s+ (?:LOW_PRIORITY|DELAYED|HIGH_PRIORITY|QUICK|IGNORE) )*+"
_INTO = re.compile(rf"{_MODIFIERS} (?: \s+ INTO )? \s+ {_TABLE}", FLAGS)
_FROM = re.compile(rf"{COMMENT} | {QUOTED} | {STRING} | [()] | \b FROM \s+ {_TABLE}", FLAGS)
_WITH_INTO = frozenset({"INSERT", "REPLACE", "UPDATE"})
_WITH_FROM = frozenset({"SELECT", "DELETE"})


def instrument(
    tracer_provider: TracerProvider | None = None, meter_provider: MeterProvider | None = None
) -> None:
    """Make spans of all statements, in every thread, on each alias of mysqlpool, and tell metrics.

    Both providers are OpenTelemetry's global ones by default. Call it once a process, such as in
    ``AppConfig.ready()``; a second call replaces the first. Connections that are there already take
    part from their next cursor on. For metrics alone there is
    `mysqlpool.contrib.opentelemetry_metrics.instrument_metrics`.

    Raises ``ImproperlyConfigured`` when OpenTelemetry is not installed.
    """
    observe(_Spans(tracer_provider))
    instrument_metrics(meter_provider)


def uninstrument() -> None:
    """Make no more spans and tell no more metrics. Does nothing without `instrument`."""
    observe(None)
    uninstrument_metrics()


class _Spans:
    """Runs what it is told of in a span."""

    def __init__(self, tracer_provider: TracerProvider | None) -> None:
        try:
            from opentelemetry import context, trace
        except ImportError as error:
            raise ImproperlyConfigured(
                "mysqlpool.contrib.opentelemetry needs OpenTelemetry: "
                "pip install 'mysqlpool[opentelemetry]'"
            ) from error
        self._trace = trace
        self._is_suppressed: Callable[[], Any] = lambda: context.get_value(
            context._SUPPRESS_INSTRUMENTATION_KEY
        )
        self._tracer = trace.get_tracer(
            "mysqlpool", importlib.metadata.version("mysqlpool"), tracer_provider
        )

    def statement(
        self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any
    ) -> Any:
        if self._is_suppressed():
            return execute(sql, params, many, context)
        attributes = _place(context["connection"])
        text = _text(sql, params)
        summary = _summary(text)
        if text:
            attributes["db.query.text"] = text
        if summary:
            attributes["db.query.summary"] = summary
        if many and isinstance(params, Sized) and len(params) > 1:
            attributes["db.operation.batch.size"] = len(params)
        with self._span(summary or attributes["db.system.name"], attributes):
            return execute(sql, params, many, context)

    def ending(self, wrapper: Any, verb: str, end: Callable[[], Any]) -> Any:
        if self._is_suppressed():
            return end()
        with self._span(verb, {**_place(wrapper), "db.operation.name": verb}):
            return end()

    @contextmanager
    def _span(self, name: str, attributes: dict[str, Any]) -> Iterator[None]:
        with self._tracer.start_as_current_span(
            name,
            kind=self._trace.SpanKind.CLIENT,
            attributes=attributes,
            # An exception's message may quote a value: "Duplicate entry 'me@example.com' for key".
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield
            except BaseException as error:
                span.set_status(self._trace.Status(self._trace.StatusCode.ERROR))
                span.set_attributes(_failure(error))
                raise


def _place(wrapper: Any) -> dict[str, Any]:
    """Which server and which database, asked without a round trip.

    A session knows with which parameters it was connected, which an engine may have changed.
    """
    settings = wrapper.settings_dict
    identity = getattr(wrapper.connection, "identity", None)
    options = identity.params if identity is not None else settings["OPTIONS"]
    found = {
        "db.system.name": "mariadb" if _is_mariadb(wrapper.connection) else "mysql",
        "db.namespace": options.get("database") or options.get("db") or settings["NAME"],
        "server.address": options.get("unix_socket") or options.get("host") or settings["HOST"],
    }
    port = options.get("port") or settings["PORT"]
    if isinstance(found["server.address"], (list, tuple)) or "," in found["server.address"]:
        server = getattr(wrapper.connection, "server", "")  # Of several it is the session's.
        found["server.address"], port = (server, 0) if isinstance(server, str) else server
    if port and found["server.address"] and not found["server.address"].startswith("/"):
        found["server.port"] = int(port)
    return {key: value for key, value in found.items() if value}


def _is_mariadb(session: Any) -> bool:
    try:
        return session is not None and "MariaDB" in session.get_server_info()
    except MySQLdb.Error:  # It was closed by hand, of which the statement itself will tell.
        return False


def _failure(error: BaseException) -> dict[str, str]:
    """The number of a database's error, else what the original exception is called."""
    if isinstance(error, Error):
        number = error.args[0] if error.args else None
        if isinstance(number, int) and number:
            return {"db.response.status_code": str(number), "error.type": str(number)}
        error = error.__cause__ or error
    kind = type(error)
    is_builtin = kind.__module__ == "builtins"
    return {
        "error.type": kind.__qualname__ if is_builtin else f"{kind.__module__}.{kind.__qualname__}"
    }


def _text(sql: Any, params: Any) -> str | None:
    """The statement without a value in it; ``None`` where that cannot be told."""
    if isinstance(sql, (bytes, bytearray)):
        sql = sql.decode(errors="replace")
    if not isinstance(sql, str):
        return None
    return sql if params else without_values(sql)


def _summary(text: str | None) -> str | None:
    """The first word of a statement, and its first table where that is easily told."""
    match = _VERB.match(text or "")
    if text is None or match is None:
        return None
    verb, table = match[1], None
    if verb.upper() in _WITH_INTO:
        found = _INTO.match(text, match.end())
        table = found and found[1]
    elif verb.upper() in _WITH_FROM:
        table = _first_from(text, match.end())
    summary = f"{verb} {table.replace('`', '')}" if table else verb
    return summary if len(summary) <= MAX_SUMMARY else verb


def _first_from(text: str, start: int) -> str | None:
    """The table after the first FROM that is in no parentheses, as in EXTRACT(YEAR FROM day)."""
    depth = 0
    for match in _FROM.finditer(text, start):
        if match[0] == "(":
            depth += 1
        elif match[0] == ")":
            depth -= 1
        elif match[1] and depth == 0:
            return match[1]
    return None
