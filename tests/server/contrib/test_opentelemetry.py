"""Spans of OpenTelemetry's own SDK, for what is sent to the real server."""

from __future__ import annotations

import cProfile
import pstats
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import MySQLdb
import pytest
from django.db import (
    DatabaseError,
    IntegrityError,
    InterfaceError,
    connection,
    connections,
    transaction,
)
from django.db.backends.signals import connection_created
from opentelemetry import context
from opentelemetry.instrumentation.mysqlclient import MySQLClientInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from mysqlpool import auto_close_db, close_pool, release_connections
from mysqlpool.backends.mysqlpool import observers
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from mysqlpool.contrib.opentelemetry import instrument, uninstrument
from mysqlpool.errors import SessionStateError
from tests.helpers import lease_all, run_threads
from tests.rows.models import Row

INSERT = "INSERT INTO rows_row (text, number) VALUES (%s, 1)"

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other", "stock"])


class Spans:
    """What was recorded, in memory."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))

    def take(self) -> list[ReadableSpan]:
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found

    def names(self) -> list[str]:
        return [span.name for span in self.take()]

    def only(self) -> ReadableSpan:
        (span,) = self.take()
        return span


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The session is there already, so its set-up makes no spans."""
    lease_all("default", "other")
    recorded = Spans()
    instrument(recorded.provider)
    yield recorded
    uninstrument()


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def execute(sql: Any, params: Any = None, alias: str = "default") -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, params)


def test_a_statement_has_a_span_by_the_conventions(spans: Spans, flavour: str) -> None:
    assert list(Row.objects.filter(text="s3cret").values_list("id")) == []
    span = spans.only()
    assert span.name == "SELECT rows_row"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    settings = connection.settings_dict
    assert attributes(span) == {
        "db.system.name": flavour,
        "db.namespace": settings["NAME"],
        "db.query.text": (
            "SELECT `rows_row`.`id` AS `id` FROM `rows_row` WHERE `rows_row`.`text` = %s"
        ),
        "db.query.summary": "SELECT rows_row",
        "server.address": settings["HOST"],
        "server.port": int(settings["PORT"]),
    }
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "mysqlpool"


def test_every_attribute_is_one_of_the_stable_conventions(spans: Spans) -> None:
    from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes

    stable = {
        value
        for module in (db_attributes, error_attributes, server_attributes)
        for value in vars(module).values()
        if isinstance(value, str)
    }
    with transaction.atomic():
        Row.objects.bulk_create([Row(text="a"), Row(text="b")])
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, [["a"], ["b"]])
    with pytest.raises(DatabaseError):
        execute("SELECT no_such_column")
    found = {key for span in spans.take() for key in attributes(span)}
    assert found <= stable
    assert {"db.response.status_code", "db.operation.name", "db.operation.batch.size"} <= found


def test_no_value_is_in_a_span(spans: Spans) -> None:
    """Not as a parameter, not as a literal of a bare statement, and not in an error's message."""
    Row.objects.create(text="s3cret")
    Row.objects.filter(text="s3cret").update(text="s3cret2")
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, [["s3cret"], ["s3cret"]])
        cursor.execute("SELECT %(name)s", {"name": "s3cret"})
    execute("SELECT 's3cret', \"s3cret\" -- s3cret")
    execute(b"SELECT 's3cret'")
    execute("SELECT 'it\\'s s3cret'")
    with pytest.raises(DatabaseError, match="s3cret"):
        execute("INSERT INTO rows_row (text, number) VALUES (%s, %s)", ["a", "s3cret"])
    found = spans.take()
    assert len(found) == 8
    for span in found:
        assert "s3cret" not in span.to_json()
        assert not span.events
        assert span.status.description is None


def test_a_literal_beside_a_parameter_is_the_texts_own(spans: Spans) -> None:
    """The conventions say that a statement with parameters is not to be redacted."""
    execute("SELECT 'shown', %s", ["s3cret"])
    assert attributes(spans.only())["db.query.text"] == "SELECT 'shown', %s"


def test_a_failing_statement_has_the_number_of_its_error(spans: Spans) -> None:
    with pytest.raises(DatabaseError):
        execute("SELECT no_such_column")
    span = spans.only()
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["db.response.status_code"] == "1054"
    assert attributes(span)["error.type"] == "1054"
    row = Row.objects.create(text="a")
    spans.take()
    with pytest.raises(IntegrityError):
        Row.objects.create(pk=row.pk, text="b")
    assert attributes(spans.take()[-1])["error.type"] == "1062"


def test_an_error_without_a_number_has_the_name_of_the_original_exception(spans: Spans) -> None:
    with pytest.raises(SessionStateError):
        release_connections()
        execute("SELECT LAST_INSERT_ID()")
    found = attributes(spans.take()[-1])
    assert found["error.type"] == "mysqlpool.errors.SessionStateError"
    assert "db.response.status_code" not in found
    with connection.cursor() as cursor:
        cursor.cursor.close()
        with pytest.raises(DatabaseError):
            cursor.execute("SELECT 1")
    assert attributes(spans.only())["error.type"] == "MySQLdb.ProgrammingError"
    with connection.execute_wrapper(interrupted), pytest.raises(KeyboardInterrupt):
        execute("SELECT 1")
    assert attributes(spans.only())["error.type"] == "KeyboardInterrupt"


def interrupted(*args: Any) -> None:
    raise KeyboardInterrupt


def test_a_dead_cursor_and_a_closed_session_fail_as_without_spans(spans: Spans) -> None:
    cursor = connection.cursor()
    release_connections()
    with pytest.raises(InterfaceError, match="lease"):
        cursor.execute("SELECT 1")
    lease_all("default")
    with connection.cursor() as cursor:
        connection.connection.close()
        with pytest.raises(DatabaseError):
            cursor.execute("SELECT 1")
    assert [span.status.status_code.name for span in spans.take()] == ["ERROR", "UNSET", "ERROR"]


def test_executemany_is_one_span_that_tells_how_many(spans: Spans) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(INSERT, [["a"], ["b"], ["c"]])
        cursor.executemany(INSERT, [["a"]])
    batch, single = spans.take()
    assert batch.name == single.name == "INSERT rows_row"
    assert attributes(batch)["db.operation.batch.size"] == 3
    assert "db.operation.batch.size" not in attributes(single)


def test_atomic_ends_with_a_span_of_commit_or_rollback(spans: Spans, flavour: str) -> None:
    with transaction.atomic():
        Row.objects.create(text="a")
    names = spans.take()
    assert [span.name for span in names] == ["INSERT rows_row", "COMMIT"]
    settings = connection.settings_dict
    assert attributes(names[-1]) == {
        "db.system.name": flavour,
        "db.namespace": settings["NAME"],
        "db.operation.name": "COMMIT",
        "server.address": settings["HOST"],
        "server.port": int(settings["PORT"]),
    }
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        Row.objects.create(text="a")
        raise ZeroDivisionError
    assert spans.names() == ["INSERT rows_row", "ROLLBACK"]


def test_a_lease_that_ends_with_the_transaction_changes_nothing(
    spans: Spans, monkeypatch: pytest.MonkeyPatch
) -> None:
    release_connections()
    monkeypatch.setitem(connection.settings_dict, "OPTIONS", {"pool": {"lease": "transaction"}})
    lease_all("default")
    spans.take()
    with transaction.atomic():
        Row.objects.create(text="a")
    assert connection.connection is None
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        raise ZeroDivisionError
    Row.objects.count()
    # Of the block without a statement nothing was sent.
    assert spans.names() == ["INSERT rows_row", "COMMIT", "SELECT rows_row"]
    release_connections()
    close_pool("default")


def test_savepoints_have_names_of_their_own_only_in_the_text(spans: Spans) -> None:
    with transaction.atomic(), transaction.atomic():
        Row.objects.create(text="a")
    assert spans.names() == ["SAVEPOINT", "INSERT rows_row", "RELEASE", "COMMIT"]


def test_a_commit_that_fails_has_its_error(spans: Spans, observer: Any) -> None:
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT CONNECTION_ID()")
        observer.kill(cursor.fetchone()[0])
    failed = [span for span in spans.take() if span.status.status_code is StatusCode.ERROR]
    assert [span.name for span in failed] == ["COMMIT", "ROLLBACK"]
    assert attributes(failed[0])["error.type"] in ("2006", "2013")


def test_an_iterator_is_one_span(spans: Spans) -> None:
    Row.objects.bulk_create([Row(text=str(number)) for number in range(5)])
    spans.take()
    assert len(list(Row.objects.iterator(chunk_size=2))) == 5
    assert spans.names() == ["SELECT rows_row"]


def test_a_server_side_cursor_of_options_has_spans(spans: Spans) -> None:
    from MySQLdb.cursors import SSCursor

    wrapper = connection.copy("default")
    wrapper.settings_dict["OPTIONS"] = {"cursorclass": SSCursor}
    try:
        with wrapper.cursor() as cursor:
            spans.take()
            cursor.execute("SELECT 1 UNION SELECT 2")
            assert list(cursor) == [(1,), (2,)]
        assert spans.names() == ["SELECT"]
    finally:
        wrapper.close()
        close_pool("default")


@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_spans_are_made_in_every_thread(
    spans: Spans, lease: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Threads that had a connection before, and threads that are new; also where leases rest."""
    options = {"pool": {"pool_size": 2, "timeout": 20, "lease": lease}}
    monkeypatch.setitem(connections.settings["default"], "OPTIONS", options)
    tracer = spans.provider.get_tracer("test")
    ready, told = threading.Barrier(4), threading.Barrier(4)

    @auto_close_db
    def work(number: int, waits: bool) -> int:
        if waits:
            Row.objects.count()
            release_connections()
            ready.wait(20)
            told.wait(20)
        with tracer.start_as_current_span(f"task {number}") as parent:
            for _ in range(5):
                Row.objects.create(text=f"{number}")
            return int(parent.get_span_context().span_id)

    uninstrument()

    def tell() -> None:
        ready.wait(20)
        instrument(spans.provider)
        told.wait(20)

    old = run_threads(tell, *(lambda number=number: work(number, True) for number in range(3)))[1:]
    new = run_threads(*(lambda number=number: work(number, False) for number in range(3, 6)))
    inserts = [span for span in spans.take() if span.name == "INSERT rows_row"]
    parents = [span.parent.span_id for span in inserts if span.parent]
    assert sorted(parents) == sorted([*old, *new] * 5)


def test_each_alias_and_the_wrapper_without_a_database_are_told_apart(spans: Spans) -> None:
    lease_all("default", "other", "stock")
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT 1")
    found = [attributes(span).get("db.namespace") for span in spans.take()]
    assert found[:2] == [connections[alias].settings_dict["NAME"] for alias in ("default", "other")]
    assert found[2:]  # Nothing of "stock", and the set-up and the statement of the last one.
    assert set(found[2:]) == {None}


def test_uninstrument_undoes_it_for_open_cursors_too(spans: Spans) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        uninstrument()
        cursor.execute("SELECT 1")
    with transaction.atomic():
        Row.objects.count()
    assert connection.execute_wrappers == []
    assert spans.names() == ["SELECT"]
    uninstrument()


def test_a_second_instrument_replaces_the_first(spans: Spans) -> None:
    second = Spans()
    instrument(second.provider)
    lease_all("default")
    assert spans.names() == []
    assert second.names() == ["SELECT"]


def test_execute_wrappers_of_the_application_go_on_working(spans: Spans) -> None:
    heard: list[str] = []

    def wrapper(execute: Callable[..., Any], sql: str, *args: Any) -> Any:
        heard.append(sql)
        return execute(sql, *args)

    uninstrument()
    lease_all("default")
    with connection.execute_wrapper(wrapper):
        instrument(spans.provider)
        lease_all("default")
        uninstrument()
        lease_all("default")
        instrument(spans.provider)
        lease_all("default")
    lease_all("default")
    assert heard == ["SELECT 1"] * 3
    assert len(spans.take()) == 3
    assert connection.execute_wrappers == [observers.watched]


def test_nothing_is_recorded_where_instrumentation_is_suppressed(spans: Spans) -> None:
    """As while an exporter is at work, which may use the database itself."""
    token = context.attach(context.set_value(context._SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        with transaction.atomic():
            Row.objects.count()
    finally:
        context.detach(token)
    assert spans.take() == []


def test_no_receiver_listens_for_it(spans: Spans) -> None:
    """A receiver of connection_created would cost each lease a way that is longer."""
    assert connection_created.receivers == []


def test_it_sends_nothing_itself(spans: Spans, observer: Any) -> None:
    def task() -> None:
        with transaction.atomic():
            Row.objects.count()
        release_connections()

    task()
    with observer.counting("Questions") as instrumented:
        task()
    uninstrument()
    task()
    with observer.counting("Questions") as bare:
        task()
    assert instrumented == bare


def test_where_nobody_instruments_a_statement_costs_no_call(spans: Spans) -> None:
    uninstrument()
    lease_all("default")
    assert called(lambda: lease_all("default")) == set()
    instrument(spans.provider)
    lease_all("default")
    assert "watched" in called(lambda: lease_all("default"))


def called(function: Callable[[], object]) -> set[str]:
    """The functions of ours that were called for the sake of instrumentation."""
    profile = cProfile.Profile()
    profile.enable()
    function()
    profile.disable()
    stats: Any = pstats.Stats(profile)
    return {
        name
        for path, _, name in stats.stats
        if path.endswith(("observers.py", "contrib/opentelemetry.py"))
    }


# What OpenTelemetry's own instrumentor of the driver makes of Django's engine


@contextmanager
def instrumented_driver(recorded: Spans) -> Iterator[None]:
    connections["stock"].close()
    instrumentor = MySQLClientInstrumentor()
    instrumentor.instrument(tracer_provider=recorded.provider, skip_dep_check=True)
    try:
        yield
    finally:
        instrumentor.uninstrument()
        connections["stock"].close()


def work(alias: str) -> None:
    rows = Row.objects.using(alias)
    rows.create(text="a")
    with transaction.atomic(using=alias):
        rows.filter(text="a").update(text="b")
        rows.count()
    with pytest.raises(ZeroDivisionError), transaction.atomic(using=alias):
        rows.all().delete()
        raise ZeroDivisionError
    with connections[alias].cursor() as cursor:
        cursor.executemany(INSERT, [["a"], ["b"]])
    with pytest.raises(DatabaseError):
        execute("SELECT no_such_column", alias=alias)


def test_there_are_the_spans_of_the_drivers_instrumentor_on_djangos_engine_and_more() -> None:
    theirs, ours = Spans(), Spans()
    with instrumented_driver(theirs):
        lease_all("stock")
        theirs.take()
        work("stock")
        assert MySQLdb.connect.__wrapped__  # type: ignore[attr-defined]
        stock = theirs.take()
        close_pool()
        lease_all("default")
        assert theirs.take() == []  # It does not see the sessions of mysqlpool.
    instrument(ours.provider)
    try:
        work("default")
    finally:
        uninstrument()
    more = ("COMMIT", "ROLLBACK")
    pooled = ours.take()
    assert [first_word(span) for span in pooled if span.name not in more] == [
        first_word(span) for span in stock
    ]
    assert [span.name for span in pooled if span.name in more] == ["COMMIT", "ROLLBACK"]
    assert [text(span) for span in pooled if text(span)] == [text(span) for span in stock]


def first_word(span: ReadableSpan) -> str:
    return str(span.name).split()[0]


def text(span: ReadableSpan) -> str:
    found = attributes(span)
    return str(found.get("db.query.text", found.get("db.statement", "")))


class Elsewhere(DatabaseWrapper):
    """An engine that chooses the database itself."""

    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "database": "information_schema"}


def test_the_database_is_the_one_that_an_engine_chose(spans: Spans) -> None:
    wrapper = Elsewhere(connection.settings_dict, "elsewhere")
    with wrapper.cursor() as cursor:
        cursor.execute("SELECT 1")
    wrapper.close()
    assert attributes(spans.take()[-1])["db.namespace"] == "information_schema"
