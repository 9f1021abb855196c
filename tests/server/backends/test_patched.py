"""Who patches Django's own classes, as agents do, is heard: before ours is imported, and after."""

from __future__ import annotations

import importlib.util
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any
from unittest import mock

import pytest
from django.db import OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.mysql import base as mysql
from django.db.backends.utils import CursorWrapper

from mysqlpool import close_pool, stats
from mysqlpool.backends.mysqlpool import base as ours
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.django_db(transaction=True, databases=["default"])

ALIAS = "patched"
LEASES = ["task", "transaction"]
local = threading.local()
in_both_modes = pytest.mark.parametrize("lease", LEASES)
at_any_time = pytest.mark.parametrize("when", ["before", "after"])


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_pool()


def settings(lease: str) -> Any:
    pool = {"lease": lease, "pool_size": 1, "max_overflow": 0, "timeout": 5}
    options = {} if lease == "stock" else {"pool": pool}
    return {**connections["default"].settings_dict, "OPTIONS": options}


def imported_anew() -> Any:
    """Our wrapper, as of a process that imports it only now."""
    name = f"{ours.__package__}.imported_anew"
    spec: Any = importlib.util.spec_from_file_location(name, ours.__file__)
    module = importlib.util.module_from_spec(spec)
    with mock.patch.dict(sys.modules, {name: module}):
        spec.loader.exec_module(module)
    return module.DatabaseWrapper


@contextmanager
def engine(lease: str, when: str, *patches: tuple[type, str, Any]) -> Iterator[Any]:
    """Django's wrapper or ours, with methods of Django's classes patched."""
    with ExitStack() as stack:
        for kind, name, patch in patches:
            stack.enter_context(mock.patch.object(kind, name, patch))
        if lease == "stock":
            yield mysql.DatabaseWrapper
        else:
            yield imported_anew() if when == "before" else ours.DatabaseWrapper


def fetch(wrapper: Any, sql: str) -> Any:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


# Connecting


def speak(wrapper: Any) -> None:
    with wrapper.cursor() as cursor:
        cursor.execute(f"SET SESSION group_concat_max_len = {local.name}")


def speaking(real: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        real(self, *args, **kwargs)
        if self.alias == ALIAS:
            speak(self)

    return method


def speaking_once(real: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any) -> Any:
        is_new = self.connection is None
        real(self)
        if self.alias == ALIAS and is_new:
            speak(self)

    return method


def speaking_by_driver(real: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any, *args: Any) -> None:
        real(self, *args)
        if self.alias == ALIAS:
            self.connection.query(f"SET SESSION group_concat_max_len = {local.name}")

    return method


def speaking_by_parameters(real: Callable[..., Any]) -> Callable[..., Any]:
    def method(self: Any) -> Any:
        say = f"SET SESSION group_concat_max_len = {local.name}"
        return {**real(self), "init_command": say}

    return method


@in_both_modes
@pytest.mark.parametrize("name", ["connect", "ensure_connection"])
def test_who_stands_around_connecting_is_told_of_a_failure_that_was_tried_once(
    server: Any, lease: str, name: str
) -> None:
    """It may try that again, and does not: no time goes by twice."""
    told: list[Exception] = []
    real = getattr(BaseDatabaseWrapper, name)

    def passing_on(self: Any) -> None:
        try:
            real(self)
        except Exception as error:
            told.append(error)
            raise

    with (
        Proxy(server) as proxy,
        engine(lease, "after", (BaseDatabaseWrapper, name, passing_on)) as kind,
    ):
        wrapper = kind({**settings(lease), "HOST": proxy.host, "PORT": proxy.port}, ALIAS)
        fetch(wrapper, "SELECT 1")
        if lease == "task":
            wrapper.close()
        proxy.refuse()
        proxy.cut()
        with pytest.raises(OperationalError) as refused:
            fetch(wrapper, "SELECT 1")
        assert stats()[ALIAS].connect_errors == 1
        # Each of the two that Django has, one within the other, or the one of them.
        assert {str(error) for error in told} == {str(refused.value)}
        proxy.accept()
        assert fetch(wrapper, "SELECT 1") == (1,)
        assert stats()[ALIAS].connect_errors == 1
        wrapper.close()


# Which of two threads' wrappers connects, and what is said then.
VOICES = [(0, 5001), (0, 5001), (1, 5002), (0, 5001), (1, 5003)]


@pytest.mark.parametrize(
    ("patched", "name", "way"),
    [
        (BaseDatabaseWrapper, "connect", speaking),
        (mysql.DatabaseWrapper, "connect", speaking),
        (BaseDatabaseWrapper, "ensure_connection", speaking_once),
        (BaseDatabaseWrapper, "init_connection_state", speaking),
        (mysql.DatabaseWrapper, "init_connection_state", speaking),
        (mysql.DatabaseWrapper, "get_connection_params", speaking_by_parameters),
        (BaseDatabaseWrapper, "set_autocommit", speaking),
        (mysql.DatabaseWrapper, "_set_autocommit", speaking_by_driver),
    ],
)
@at_any_time
@pytest.mark.parametrize("lease", ["stock", *LEASES])
def test_who_patches_how_django_connects_speaks_for_each_holder_and_for_no_other(
    lease: str, when: str, patched: Any, name: str, way: Any
) -> None:
    seen = []
    patch = way(getattr(patched, name))
    with engine(lease, when, (patched, name, patch)) as kind:
        wrappers = [kind(settings(lease), ALIAS) for _ in range(2)]
        for which, local.name in VOICES:
            seen.append((which, fetch(wrappers[which], "SELECT @@group_concat_max_len")[0]))
            wrappers[which].close()
    assert seen == VOICES


@in_both_modes
def test_who_patches_connect_hears_each_task_that_has_a_session(lease: str) -> None:
    heard = []
    real = BaseDatabaseWrapper.connect

    def connect(self: Any) -> None:
        heard.append(self.alias)
        real(self)

    with (
        engine(lease, "after", (BaseDatabaseWrapper, "connect", connect)) as kind,
        named(kind(settings(lease), ALIAS)) as wrapper,
    ):
        for _ in range(3):
            with transaction.atomic(ALIAS):
                fetch(wrapper, "SELECT 1")
            wrapper.close()
        with transaction.atomic(ALIAS):
            pass
        wrapper.close()
    assert heard == [ALIAS] * 3
    assert stats()[ALIAS].connects == 1


# Transactions


@contextmanager
def named(wrapper: Any) -> Iterator[Any]:
    """Have ``transaction.atomic`` find a wrapper."""
    connections[ALIAS] = wrapper
    try:
        yield wrapper
    finally:
        wrapper.close()
        del connections[ALIAS]


class Boom(Exception):
    pass


def blocks(wrapper: Any) -> None:
    """Of each kind of block one that never begins on the server, and one that does."""
    for statements in ([], ["SELECT 1"]):
        for error in (None, Boom):
            with suppress(Boom), transaction.atomic(ALIAS):
                with transaction.atomic(ALIAS):
                    for sql in statements:
                        fetch(wrapper, sql)
                if error:
                    raise error


def ends(real: Callable[..., Any], heard: list[str]) -> Callable[..., Any]:
    def end(self: Any) -> None:
        heard.append(real.__name__)
        real(self)

    return end


def hears(lease: str, when: str) -> list[str]:
    heard: list[str] = []
    patches = [
        (BaseDatabaseWrapper, name, ends(getattr(BaseDatabaseWrapper, name), heard))
        for name in ("_commit", "_rollback")
    ]
    with engine(lease, when, *patches) as kind, named(kind(settings(lease), ALIAS)) as wrapper:
        fetch(wrapper, "SELECT 1")
        blocks(wrapper)
    return heard


@at_any_time
@in_both_modes
def test_who_patches_the_end_of_transactions_hears_what_it_hears_on_djangos_engine(
    lease: str, when: str
) -> None:
    assert hears(lease, when) == hears("stock", when)


@at_any_time
def test_who_patches_the_end_of_transactions_has_no_block_lease_before_it_needs_to(
    when: str,
) -> None:
    heard: list[str] = []
    patch = ends(BaseDatabaseWrapper._commit, heard)  # type: ignore[attr-defined]
    with (
        engine("transaction", when, (BaseDatabaseWrapper, "_commit", patch)) as kind,
        named(kind(settings("transaction"), ALIAS)) as wrapper,
    ):
        fetch(wrapper, "SELECT 1")
        before = stats()[ALIAS].leases
        with transaction.atomic(ALIAS):
            assert wrapper.connection is None
        assert stats()[ALIAS].leases == before
    assert heard == ["_commit"]


@at_any_time
@in_both_modes
def test_who_patches_the_end_of_transactions_may_write_then(lease: str, when: str) -> None:
    """In a block that has no session until then."""
    real = BaseDatabaseWrapper._commit  # type: ignore[attr-defined]
    values = []

    def commit(self: Any) -> None:
        values.append(fetch(self, "SELECT @@autocommit + 40"))
        real(self)

    with (
        engine(lease, when, (BaseDatabaseWrapper, "_commit", commit)) as kind,
        named(kind(settings(lease), ALIAS)) as wrapper,
    ):
        fetch(wrapper, "SELECT 1")
        wrapper.force_debug_cursor = True
        with transaction.atomic(ALIAS):
            pass
        assert len(values) == 1
        assert [query["sql"] for query in wrapper.queries].count("COMMIT") == 1
        assert wrapper.get_autocommit()
        fetch(wrapper, "SELECT 1")
        wrapper.close()
        assert stats()[ALIAS].in_use == 0


@at_any_time
@in_both_modes
def test_who_patches_cursors_sees_the_statements_about_savepoints(lease: str, when: str) -> None:
    def seen(lease: str) -> list[str]:
        texts: list[str] = []
        real = CursorWrapper.execute

        def execute(self: Any, sql: Any, params: Any = None) -> Any:
            texts.append(str(sql).partition("`")[0])
            return real(self, sql, params)

        with (
            engine(lease, when, (CursorWrapper, "execute", execute)) as kind,
            named(kind(settings(lease), ALIAS)) as wrapper,
        ):
            fetch(wrapper, "SELECT 1")
            texts.clear()
            blocks(wrapper)
        return texts

    assert seen(lease) == seen("stock")


@at_any_time
@in_both_modes
def test_who_puts_other_code_into_djangos_cursor_sees_the_statements_about_savepoints(
    lease: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As ddtrace does, which leaves the function itself."""
    cursor: Any = BaseDatabaseWrapper.cursor
    monkeypatch.setattr(cursor, "__code__", cursor.__code__.replace(co_name="traced"))
    with (
        engine(lease, when) as kind,
        named(kind(settings(lease), ALIAS)) as wrapper,
        transaction.atomic(ALIAS),
    ):
        assert wrapper.connection is None
        with transaction.atomic(ALIAS):
            assert wrapper.connection is not None
