"""Who tries again to connect: packages and engines that stand around ``connect()``."""

# These packages are in tox's environment "field", and not where types are checked.
# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import django_dbconn_retry
import pytest
from django.db import OperationalError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from mysqlpool import release_connections
from tests.faults.proxy import Proxy

from .engines import TRANSACTION, Field, Under, ask, on_all, on_ours

REFUSED = (2002, 2003)

on_the_way: list[Callable[[], None]] = []
"""What happens between a connect that failed and the one that follows."""


def try_twice(connect: Callable[[], Any]) -> Any:
    try:
        return connect()
    except Exception:
        on_the_way.pop()()  # An IndexError where it was tried already.
        return connect()


class RetriesEnsuring:
    def ensure_connection(self) -> None:
        try_twice(super().ensure_connection)  # type: ignore[misc]


class RetriesConnecting:
    def connect(self) -> None:
        try_twice(super().connect)  # type: ignore[misc]


class RetriesOpening:
    def get_new_connection(self, params: Any) -> Any:
        return try_twice(lambda: super(RetriesOpening, self).get_new_connection(params))  # type: ignore[misc]


class ByPackage:
    """django-dbconn-retry replaces Django's ``ensure_connection()`` for all engines."""


RETRIES = [RetriesEnsuring, RetriesConnecting, RetriesOpening, ByPackage]


@pytest.fixture(params=RETRIES, ids=lambda kind: kind.__name__)
def retrying(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A part of an engine that tries twice to connect."""

    def between(sender: Any, **kwargs: Any) -> None:
        on_the_way.pop()()

    django_dbconn_retry.pre_reconnect.connect(between)
    if request.param is ByPackage:
        monkeypatch.setattr(
            BaseDatabaseWrapper, "ensure_connection", BaseDatabaseWrapper.ensure_connection
        )
        django_dbconn_retry.monkeypatch_django()
    yield request.param
    django_dbconn_retry.pre_reconnect.disconnect(between)
    on_the_way.clear()


@pytest.fixture
def proxy(field: Field) -> Iterator[Proxy]:
    with Proxy(field.server) as proxy:
        yield proxy


def go_away_for_a_moment(proxy: Proxy) -> None:
    """From now on nobody connects, until the first one who tries has failed."""
    proxy.refuse()
    proxy.cut()
    on_the_way[:] = [proxy.accept]


@on_all
def test_a_tasks_first_connect_is_tried_again(
    under: Under, field: Field, proxy: Proxy, retrying: type
) -> None:
    alias = field.alias(under, retrying, HOST=proxy.host, PORT=proxy.port)
    assert ask(alias, "SELECT 1") == ((1,),)
    release_connections()
    go_away_for_a_moment(proxy)
    assert ask(alias, "SELECT 2") == ((2,),)
    release_connections()
    go_away_for_a_moment(proxy)
    with transaction.atomic(alias):
        assert ask(alias, "SELECT 3") == ((3,),)
    assert not on_the_way


def test_a_connect_between_two_statements_of_a_task_is_tried_again(
    field: Field, proxy: Proxy, retrying: type
) -> None:
    """Django's engine has a connection then, and need not connect."""
    alias = field.alias(TRANSACTION, retrying, HOST=proxy.host, PORT=proxy.port)
    assert ask(alias, "SELECT 1") == ((1,),)
    go_away_for_a_moment(proxy)
    assert ask(alias, "SELECT 2") == ((2,),)
    go_away_for_a_moment(proxy)
    with transaction.atomic(alias):
        assert ask(alias, "SELECT 3") == ((3,),)
    go_away_for_a_moment(proxy)
    with transaction.atomic(alias), transaction.atomic(alias):
        assert ask(alias, "SELECT 4") == ((4,),)
    assert not on_the_way


@on_ours
def test_where_nobody_tries_again_the_first_error_is_the_answer(
    under: Under, field: Field, proxy: Proxy
) -> None:
    alias = field.alias(under, HOST=proxy.host, PORT=proxy.port)
    assert ask(alias, "SELECT 1") == ((1,),)
    release_connections()
    assert ask(alias, "SELECT 1") == ((1,),)
    if under is not TRANSACTION:
        release_connections()
    proxy.refuse()
    proxy.cut()
    with pytest.raises(OperationalError) as refused:
        ask(alias, "SELECT 2")
    assert refused.value.args[0] in REFUSED
    proxy.accept()
    assert ask(alias, "SELECT 2") == ((2,),)
