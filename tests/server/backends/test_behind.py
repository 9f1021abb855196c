"""An engine between ours and Django's is heard, as it is where it stands before ours."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import transaction
from django.db.backends.mysql import base as mysql

from mysqlpool import close_pool, stats
from mysqlpool.backends.mysqlpool import base as ours

from .test_patched import ALIAS, LEASES, fetch, named, settings

pytestmark = pytest.mark.django_db(transaction=True, databases=["default"])

local = threading.local()


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_pool()


def words() -> str:
    return f"SET SESSION group_concat_max_len = {local.said}"


class ByConnecting(mysql.DatabaseWrapper):
    def connect(self) -> None:
        super().connect()
        fetch_nothing(self, words())


class ByState(mysql.DatabaseWrapper):
    def init_connection_state(self) -> None:
        super().init_connection_state()
        fetch_nothing(self, words())


class ByParameters(mysql.DatabaseWrapper):
    def get_connection_params(self) -> dict[str, Any]:
        return {**super().get_connection_params(), "init_command": words()}


class ByEnsuring(mysql.DatabaseWrapper):
    def ensure_connection(self) -> None:
        is_new = self.connection is None
        super().ensure_connection()
        if is_new:
            fetch_nothing(self, words())


class ByAutocommit(mysql.DatabaseWrapper):
    def set_autocommit(self, *args: Any, **kwargs: Any) -> None:
        super().set_autocommit(*args, **kwargs)
        fetch_nothing(self, words())


class ByConnection(mysql.DatabaseWrapper):
    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        return super().get_new_connection({**conn_params, "init_command": words()})


def fetch_nothing(wrapper: Any, sql: str) -> None:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)


def between(other: type[Any]) -> type[Any]:
    return type("Between", (ours.DatabaseWrapper, other), {})


def before(other: type[Any]) -> type[Any]:
    return type("Before", (other, ours.DatabaseWrapper), {})


@pytest.mark.parametrize("lease", LEASES)
@pytest.mark.parametrize("order", [between, before])
@pytest.mark.parametrize("other", [ByConnecting, ByState, ByParameters, ByEnsuring, ByAutocommit])
def test_it_speaks_for_each_holder_and_for_no_other(
    lease: str, order: Callable[[type[Any]], type[Any]], other: type[Any]
) -> None:
    kind = order(other)
    wrappers = [kind(settings(lease), ALIAS) for _ in range(2)]
    seen = []
    for number, local.said in ((0, 5001), (0, 5002), (1, 5003), (0, 5004), (1, 5001)):
        seen.append(fetch(wrappers[number], "SELECT @@group_concat_max_len")[0])
        wrappers[number].close()
    assert seen == [5001, 5002, 5003, 5004, 5001]


def test_ours_opens_the_sessions_and_no_engine_behind_it() -> None:
    """What ours replaces cannot be heard behind it: these sessions are the pool's."""
    wrapper = between(ByConnection)(settings("task"), ALIAS)
    local.said = 5001
    assert fetch(wrapper, "SELECT @@group_concat_max_len")[0] != 5001
    wrapper.close()


@pytest.mark.parametrize("lease", LEASES)
def test_it_sees_each_savepoint(lease: str) -> None:
    seen: list[str] = []

    class Savepoints(mysql.DatabaseWrapper):
        def _savepoint(self, sid: str) -> None:
            seen.append("begun")
            super()._savepoint(sid)  # type: ignore[misc]

        def _savepoint_commit(self, sid: str) -> None:
            seen.append("ended")
            super()._savepoint_commit(sid)  # type: ignore[misc]

    with named(between(Savepoints)(settings(lease), ALIAS)) as wrapper:
        fetch(wrapper, "SELECT 1")
        with transaction.atomic(ALIAS), transaction.atomic(ALIAS):
            pass
    assert seen == ["begun", "ended"]


@pytest.mark.parametrize("lease", LEASES)
def test_one_that_takes_no_part_costs_nothing(lease: str) -> None:
    class Other(mysql.DatabaseWrapper):
        display_name = "MySQL of ours"

        def get_database_version(self) -> tuple[int, ...]:
            return super().get_database_version()

    def connected(kind: type[Any]) -> int:
        wrapper = kind(settings(lease), ALIAS)
        fetch(wrapper, "SELECT 1")
        wrapper.close()
        with_session = stats()[ALIAS].leases
        fetch(wrapper, "SELECT 1")
        questions = int(fetch(wrapper, "SHOW SESSION STATUS LIKE 'Questions'")[1])
        assert stats()[ALIAS].leases > with_session
        wrapper.close()
        close_pool()
        return questions

    connected(ours.DatabaseWrapper)
    assert connected(between(Other)) == connected(ours.DatabaseWrapper)
