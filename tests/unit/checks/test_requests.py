"""What is said of the middleware, and of streams after a transaction."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any
from unittest import mock

import pytest
from django.core.checks import INFO, WARNING, CheckMessage
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import clear_url_caches, include, path
from django.views import View
from pytest_django import Settings

from mysqlpool.middleware import ReleaseConnectionsMiddleware

from .project import STOCK, entry

OURS = "mysqlpool.middleware.ReleaseConnectionsMiddleware"
SECURITY = "django.middleware.security.SecurityMiddleware"

Databases = dict[str, dict[str, Any]]
Run = Callable[[], list[CheckMessage]]


class Derived(ReleaseConnectionsMiddleware):
    pass


def outer(get_response: Any) -> Any:
    return get_response


DERIVED, OUTER = f"{__name__}.Derived", f"{__name__}.outer"


@pytest.mark.parametrize(
    ("lease", "level", "missing", "late"),
    [
        ("task", WARNING, "mysqlpool.W006", "mysqlpool.W007"),
        ("transaction", INFO, "mysqlpool.I001", "mysqlpool.I002"),
    ],
)
def test_that_the_middleware_is_missing_or_not_first_is_told_by_what_it_costs(
    databases: Databases,
    settings: Settings,
    run: Run,
    lease: str,
    level: int,
    missing: str,
    late: str,
) -> None:
    databases["default"] = entry({"lease": lease})
    settings.MIDDLEWARE = [SECURITY]
    (message,) = run()
    assert (message.id, message.level) == (missing, level)
    assert OURS in str(message.hint)
    settings.MIDDLEWARE = [SECURITY, OURS]
    (message,) = run()
    assert (message.id, message.level) == (late, level)
    assert "behind SecurityMiddleware" in message.msg


# The agents put these first themselves.
TRACERS = [
    "elasticapm.contrib.django.middleware.TracingMiddleware",
    "opentelemetry.instrumentation.django.middleware.otel_middleware._DjangoMiddleware",
    "scout_apm.django.middleware.MiddlewareTimingMiddleware",
]


@pytest.mark.parametrize("lease", ["task", "transaction"])
def test_agents_that_put_a_middleware_of_theirs_first_are_in_order(
    databases: Databases, settings: Settings, run: Run, lease: str
) -> None:
    """They use no database, and nobody can put ours before theirs."""
    databases["default"] = entry({"lease": lease})
    settings.MIDDLEWARE = [*TRACERS, OURS, SECURITY]
    assert run() == []
    settings.MIDDLEWARE = [*TRACERS, SECURITY, OURS]
    (message,) = run()
    assert "behind SecurityMiddleware in" in message.msg


@pytest.mark.parametrize("paths", [[OURS, SECURITY], [DERIVED, SECURITY], [OURS, DERIVED]])
def test_ours_or_one_made_of_it_that_is_first_is_in_order(
    databases: Databases, settings: Settings, run: Run, paths: list[str]
) -> None:
    databases["default"] = entry({"lease": "task"})
    settings.MIDDLEWARE = paths
    assert run() == []


def test_one_made_of_ours_that_is_late_is_found_behind_a_function_and_a_name_of_nothing(
    databases: Databases, settings: Settings, run: Run
) -> None:
    databases["default"] = entry({"lease": "task"})
    settings.MIDDLEWARE = [OUTER, "no_such.Middleware", DERIVED]
    (message,) = run()
    assert "behind outer, Middleware in" in message.msg


@pytest.mark.parametrize("raised", [ImproperlyConfigured, RuntimeError, AttributeError])
def test_a_middleware_whose_module_cannot_be_loaded_is_left_to_django(
    databases: Databases,
    settings: Settings,
    run: Run,
    monkeypatch: pytest.MonkeyPatch,
    raised: type[Exception],
) -> None:
    class Broken(types.ModuleType):
        def __getattr__(self, name: str) -> Any:
            raise raised("a setting is missing")

    monkeypatch.setitem(sys.modules, "broken", Broken("broken"))
    databases["default"] = entry({"lease": "task"})
    settings.MIDDLEWARE = ["broken.Middleware", DERIVED]
    (message,) = run()
    assert (message.id, "behind Middleware in" in message.msg) == ("mysqlpool.W007", True)


def test_a_class_instead_of_its_path_is_left_to_django(
    databases: Databases, settings: Settings, run: Run
) -> None:
    databases["default"] = entry({"lease": "task"})
    settings.MIDDLEWARE = [ReleaseConnectionsMiddleware]
    (message,) = run()
    assert message.id == "mysqlpool.W006"


def test_where_no_requests_are_served_or_no_alias_is_ours_none_is_missed(
    databases: Databases, settings: Settings, run: Run
) -> None:
    settings.MIDDLEWARE = [SECURITY]
    databases["default"] = {"ENGINE": STOCK, "OPTIONS": {}}
    assert run() == []
    databases["default"] = entry({"lease": "task"})
    settings.MIDDLEWARE = []
    assert run() == []
    settings.MIDDLEWARE, settings.ROOT_URLCONF = [SECURITY], None
    assert run() == []
    del settings.ROOT_URLCONF
    assert run() == []


def test_only_the_aliases_that_lease_by_task_are_named(
    databases: Databases, settings: Settings, run: Run
) -> None:
    databases["default"] = entry()
    databases["other"] = entry({"lease": "task"})
    settings.MIDDLEWARE = [SECURITY]
    (message,) = run()
    assert message.id == "mysqlpool.W006"
    assert "'other'" in message.msg
    assert "'default'" not in message.msg


# Streams


def decorated(view: Any) -> Any:
    @wraps(view)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return view(*args, **kwargs)

    return wrapper


def plain(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(open("/dev/null", "rb"))


def streaming(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter(()))


def by_helper(request: HttpRequest) -> Any:
    return streamed()


def streamed() -> Any:
    return StreamingHttpResponse(iter(()))


def inside(request: HttpRequest) -> Any:
    def answer() -> Any:
        return StreamingHttpResponse(iter(()))

    return answer()


def imported_late(request: HttpRequest) -> Any:
    from django import http

    return http.StreamingHttpResponse(iter(()))


class CSVResponse(StreamingHttpResponse):
    pass


class Export(View):
    def get(self, request: HttpRequest) -> CSVResponse:
        return CSVResponse(iter(()))


class Mocked(Export):
    """With an attribute that has any other one, and so ``__wrapped__``, again and again."""

    service = mock.call


def argued(kind: str, request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter(()))


@pytest.fixture
def urls(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[Callable[..., None]]:
    """Serve these views, one of them in a tree of its own."""

    def serve(*views: Any) -> None:
        module = types.ModuleType("urls_of_this_test")
        first, *others = [path(f"{n}/", view) for n, view in enumerate(views)]
        vars(module)["urlpatterns"] = [path("deeper/", include([first])), *others]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        settings.ROOT_URLCONF = module.__name__
        clear_url_caches()

    yield serve
    clear_url_caches()


def atomic(pool: Any = True) -> dict[str, Any]:
    return {**entry(pool), "ATOMIC_REQUESTS": True}


@pytest.mark.parametrize(
    ("view", "name"),
    [
        (streaming, "streaming"),
        (decorated(streaming), "streaming"),
        (by_helper, "by_helper"),
        (inside, "inside"),
        (imported_late, "imported_late"),
        (Export.as_view(), "Export"),
        (Mocked.as_view(), "Mocked"),
        (decorated(Export.as_view()), "Export"),
        (partial(argued, "csv"), "argued"),
    ],
)
def test_a_view_that_streams_after_its_transaction_is_told(
    databases: Databases, run: Run, urls: Callable[..., None], view: Any, name: str
) -> None:
    databases["default"] = atomic()
    urls(view)
    (message,) = run()
    assert message.id == "mysqlpool.W010"
    assert f"The view {__name__}.{name} " in message.msg
    assert "'default'" in message.msg


def test_what_is_no_url_is_left_to_django(
    databases: Databases, run: Run, urls: Callable[..., None]
) -> None:
    databases["default"] = atomic()
    urls(streaming)
    sys.modules["urls_of_this_test"].urlpatterns.insert(0, "no URL")
    assert [message.id for message in run()] == ["mysqlpool.W010"]


def test_each_view_is_told_once(databases: Databases, run: Run, urls: Callable[..., None]) -> None:
    databases["default"] = atomic()
    urls(streaming, streaming, inside, plain)
    assert [message.id for message in run()] == ["mysqlpool.W010"] * 2


def test_no_stream_no_transaction_and_a_file_are_no_trouble(
    databases: Databases, run: Run, urls: Callable[..., None]
) -> None:
    databases["default"] = atomic()
    urls(plain, file)
    assert run() == []
    urls(transaction.non_atomic_requests(decorated(streaming)))
    assert run() == []
    databases["default"] = entry()
    urls(streaming)
    assert run() == []
    databases["default"] = {"ENGINE": STOCK, "OPTIONS": {}, "ATOMIC_REQUESTS": True}
    assert run() == []


def test_a_view_that_is_without_the_transaction_of_one_alias_is_told_of_the_other(
    databases: Databases, run: Run, urls: Callable[..., None]
) -> None:
    databases["default"], databases["other"] = atomic(), atomic()
    urls(transaction.non_atomic_requests(using="default")(decorated(streaming)))
    (message,) = run()
    assert "ATOMIC_REQUESTS of 'other' ends" in message.msg
