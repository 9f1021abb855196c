"""``python -m tests.field.agent AGENT ENGINE``: two requests in a process that an agent looks at.

Agents patch a whole process, so each has its own. It prints what the agent saw of the second
request, and what became of the pool, as JSON.
"""

# These packages are in tox's environment "field", and not where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped,misc"
# ruff: noqa: T201 - it speaks by print.

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

seen: list[str] = []


class Agent:
    """How an agent is switched on: before Django's engines are imported, or after django.setup()"""

    def before(self) -> None: ...

    def after(self) -> None: ...

    def wrap(self, app: Any) -> Any:
        return app

    def flush(self) -> None: ...

    middleware: Any = ()


class Sentry(Agent):
    """As its documentation has it: in the settings."""

    def before(self) -> None:
        import sentry_sdk
        from sentry_sdk.integrations.django import DjangoIntegration
        from sentry_sdk.transport import Transport

        class Kept(Transport):
            def capture_envelope(self, envelope: Any) -> None:
                event = envelope.get_transaction_event() or {"spans": []}
                seen.extend(span["description"] for span in event["spans"] if span["op"] == "db")

        sentry_sdk.init(
            dsn="http://key@127.0.0.1:9/1",
            transport=Kept,
            traces_sample_rate=1.0,
            integrations=[DjangoIntegration(db_transaction_spans=True)],
        )

    def flush(self) -> None:
        import sentry_sdk

        sentry_sdk.flush()


class LateSentry(Sentry):
    def before(self) -> None: ...

    def after(self) -> None:
        super().before()


class Ddtrace(Agent):
    def before(self) -> None:
        os.environ["DD_DJANGO_INSTRUMENT_DATABASES"] = "true"
        os.environ["DD_INSTRUMENTATION_TELEMETRY_ENABLED"] = "false"
        os.environ["DD_REMOTE_CONFIGURATION_ENABLED"] = "false"
        import ddtrace
        from ddtrace.trace import TraceFilter, tracer

        class Kept(TraceFilter):
            def process_trace(self, trace: Any) -> None:
                seen.extend(span.resource for span in trace if span.span_type == "sql")

        tracer.configure(trace_processors=[Kept()])
        ddtrace.patch(django=True)


class OpenTelemetry(Agent):
    """Comments by OpenTelemetry's instrumentation of Django, and spans by our own."""

    def after(self) -> None:
        os.environ["DJANGO_SETTINGS_MODULE"] = "configured"  # It looks whether there is one.
        from opentelemetry.instrumentation.django import DjangoInstrumentor

        DjangoInstrumentor().instrument(is_sql_commentor_enabled=True)

        def note(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
            seen.append(sql.partition("/*")[0] + ("commented" if "route='" in sql else ""))
            return execute(sql, params, many, context)

        from django.db import connection

        connection.execute_wrappers.insert(0, note)


class NewRelic(Agent):
    """On Django's engine as it is, and on ours with the middleware of docs/instrumentation.rst."""

    middleware = ("tests.field.agent.trace_statements",)

    def before(self) -> None:
        os.environ["NEW_RELIC_DEVELOPER_MODE"] = "true"
        os.environ["NEW_RELIC_LICENSE_KEY"] = "0" * 40
        import newrelic.agent

        newrelic.agent.initialize()
        from newrelic.api.database_trace import DatabaseTrace

        self.application = newrelic.agent.register_application(timeout=10)
        real = DatabaseTrace.__exit__

        def leave(trace: Any, *args: Any) -> Any:
            seen.append(trace.sql)
            return real(trace, *args)

        DatabaseTrace.__exit__ = leave

    def wrap(self, app: Any) -> Any:
        import newrelic.agent

        return newrelic.agent.WSGIApplicationWrapper(app, application=self.application)


def trace_statements(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    import MySQLdb
    from django.db import connections
    from newrelic.agent import DatabaseTrace

    def trace(execute: Any, sql: Any, params: Any, many: bool, context: Any) -> Any:
        settings = context["connection"].settings_dict
        with DatabaseTrace(sql, MySQLdb, None, settings["HOST"], settings["PORT"]):
            return execute(sql, params, many, context)

    def middleware(request: Any) -> Any:
        with ExitStack() as stack:
            for connection in connections.all():
                stack.enter_context(connection.execute_wrapper(trace))
            return get_response(request)

    return middleware


AGENTS = {
    "sentry": Sentry,
    "late sentry": LateSentry,
    "ddtrace": Ddtrace,
    "opentelemetry": OpenTelemetry,
    "newrelic": NewRelic,
}


def view(request: Any) -> Any:
    from django.db import DatabaseError, connection, transaction
    from django.http import HttpResponse

    with transaction.atomic(), transaction.atomic():
        pass
    answers: list[Any] = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s", ["100%"])
        answers += cursor.fetchall()
        with suppress(DatabaseError):
            cursor.execute("SELECT nothing FROM nowhere")
    with transaction.atomic():
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.executemany("INSERT INTO agents VALUES (%s)", [(1,), (2,)])
        with suppress(ZeroDivisionError), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("INSERT INTO agents VALUES (3)")
            raise ZeroDivisionError
    with suppress(ZeroDivisionError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("DELETE FROM agents")
        raise ZeroDivisionError
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM agents ORDER BY number")
        answers += [*cursor]
        cursor.execute("DELETE FROM agents")
    return HttpResponse(repr(answers))


def configure(agent: Agent, engine: str) -> None:
    from django.conf import settings
    from django.urls import path

    is_ours = engine != "stock"
    release = ["mysqlpool.middleware.ReleaseConnectionsMiddleware"] if is_ours else []
    settings.configure(
        ALLOWED_HOSTS=["testserver"],
        ROOT_URLCONF=type("urls", (), {"urlpatterns": [path("view", view)]}),
        MIDDLEWARE=[*release, *agent.middleware] if is_ours else [],
        DATABASES={
            "default": {
                "ENGINE": "mysqlpool.backends.mysqlpool" if is_ours else "django.db.backends.mysql",
                "OPTIONS": {"pool": {"pool_size": 1, "lease": engine}} if is_ours else {},
                **{
                    name: os.environ[f"DATABASE_{name}"]
                    for name in ("HOST", "PORT", "USER", "PASSWORD", "NAME")
                },
            }
        },
    )


def main(name: str, engine: str) -> None:
    agent = AGENTS[name]()
    agent.before()
    configure(agent, engine)
    import django

    django.setup()
    agent.after()
    from django.core.wsgi import get_wsgi_application
    from django.db import connection
    from django.test import RequestFactory

    app = agent.wrap(get_wsgi_application())
    bodies = []
    for _ in range(2):
        seen.clear()
        parts = app(RequestFactory().get("/view").environ, lambda *args: None)
        bodies.append(b"".join(parts).decode())
        parts.close()
        agent.flush()
    told: dict[str, Any] = {"bodies": bodies, "seen": seen}
    if engine != "stock":
        from mysqlpool import stats

        figures = stats()[connection.alias]
        told["pool"] = [figures.connects, figures.in_use, dict(figures.discards)]
    print(json.dumps(told))
    sys.stdout.flush()
    os._exit(0)  # Agents would try to reach where they report to.


if __name__ == "__main__":
    main(*sys.argv[1:])
