"""A block leases with its first statement, and where somebody listens, when it begins."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from types import MappingProxyType, ModuleType
from typing import Any

import pytest
from django.core.exceptions import SynchronousOnlyOperation
from django.db import OperationalError, connections, transaction
from django.db.backends.mysql import base as mysql
from django.db.backends.signals import connection_created
from django.test.utils import CaptureQueriesContext

from mysqlpool import release_connections, stats
from mysqlpool.backends.mysqlpool import base
from tests.faults.proxy import Answer, Proxy
from tests.helpers import run_threads

from .modes import LEASES, pool
from .world import OURS, World, alias

INSERT = "INSERT INTO rows_row (text, number) VALUES ('late', {})"
NOWHERE_ELSE: Mapping[str, Any] = MappingProxyType({})
Begun = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(params=LEASES)
def lease(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def begun(here: World, lease: str) -> Begun:
    """A wrapper of an alias with an engine and options, and an empty table."""

    @contextmanager
    def make(
        engine: str = OURS,
        mode: str = "fused",
        where: Mapping[str, Any] = NOWHERE_ELSE,
        **options: Any,
    ) -> Iterator[Any]:
        here.begin_anew()
        settings = {**where, "OPTIONS": {**options, "pool": pool(mode, lease)}}
        with alias("late", engine, **settings) as name:
            yield connections[name]
            release_connections(name)

    return make


def execute(wrapper: Any, sql: str) -> Any:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


def figures() -> Any:
    return stats()["late"]


@pytest.mark.parametrize("connected", [False, True], ids=["new", "after a task"])
def test_a_block_without_a_statement_never_leases(
    begun: Begun, here: World, connected: bool
) -> None:
    with begun() as wrapper:
        if connected:
            execute(wrapper, "SELECT 1")
            release_connections("late")
        before = figures().leases if connected else 0
        ran: list[str] = []
        with transaction.atomic("late"):
            with transaction.atomic("late"):
                assert not wrapper.get_autocommit()
            transaction.on_commit(lambda: ran.append("committed"), using="late")
            assert wrapper.connection is None
        with suppress(ZeroDivisionError), transaction.atomic("late"):
            raise ZeroDivisionError
        assert ran == ["committed"]
        assert wrapper.get_autocommit()
        assert wrapper.connection is None
        assert figures().leases == before
        assert figures().connects == connected


def test_a_lease_lasts_from_the_first_statement_to_the_commit(
    begun: Begun, here: World, lease: str
) -> None:
    with begun() as wrapper:
        with transaction.atomic("late"):
            assert figures().in_use == 0
            execute(wrapper, INSERT.format(1))
            assert figures().in_use == 1
            assert here.numbers() == []
        assert figures().in_use == (lease == "task")
        assert here.numbers() == [1]


def test_a_block_in_django_s_own_way_leases_when_it_begins(begun: Begun) -> None:
    with begun(mode="autocommit"), transaction.atomic("late"):
        assert figures().in_use == 1


def test_by_hand_a_transaction_waits_too_and_a_release_forgets_it(
    begun: Begun, here: World
) -> None:
    with begun() as wrapper:
        transaction.set_autocommit(False, using="late")
        transaction.commit(using="late")
        transaction.rollback(using="late")
        assert figures().leases == 0
        execute(wrapper, INSERT.format(1))
        transaction.commit(using="late")
        execute(wrapper, INSERT.format(2))
        release_connections("late")
        assert here.numbers() == [1]
        transaction.set_autocommit(False, using="late")
        release_connections("late")
        assert transaction.get_autocommit(using="late")
        execute(wrapper, INSERT.format(3))
        assert here.numbers() == [1, 3]


def test_a_temporary_connection_in_a_block_stays(begun: Begun, here: World) -> None:
    with begun() as wrapper:
        with transaction.atomic("late"):
            with wrapper.temporary_connection() as cursor:
                cursor.execute(INSERT.format(1))
            execute(wrapper, INSERT.format(2))
            assert here.numbers() == []
        assert here.numbers() == [1, 2]


def test_an_event_loop_is_told_at_once_as_by_djangos_engine(begun: Begun) -> None:
    async def begin() -> None:
        with transaction.atomic("late"):
            pass

    with begun() as wrapper:
        for _ in range(2):
            with pytest.raises(SynchronousOnlyOperation):
                asyncio.run(begin())
            execute(wrapper, "SELECT 1")
            release_connections("late")


def test_a_log_of_queries_has_what_django_says(begun: Begun) -> None:
    said = ["BEGIN", "SAVEPOINT", "SELECT 1", "RELEASE SAVEPOINT", "COMMIT"]
    with begun() as wrapper, CaptureQueriesContext(wrapper) as captured:
        with transaction.atomic("late"), transaction.atomic("late"):
            execute(wrapper, "SELECT 1")
        logged = [query["sql"].partition(" `")[0] for query in captured.captured_queries]
        assert logged == said
        with transaction.atomic("late"), transaction.atomic("late"):
            pass
    logged = [query["sql"].partition(" `")[0] for query in captured.captured_queries]
    assert logged == [*said, "BEGIN", "SAVEPOINT", "RELEASE SAVEPOINT", "COMMIT"]


# Who listens


def test_an_execute_wrapper_hears_of_savepoints(begun: Begun) -> None:
    heard: list[str] = []

    def hear(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        heard.append(sql.partition(" `")[0])
        return execute(f"{sql} /* traced */", params, many, context)

    with begun() as wrapper:
        execute(wrapper, "SELECT 1")
        with wrapper.execute_wrapper(hear):
            with transaction.atomic("late"), transaction.atomic("late"):
                pass
            with transaction.atomic("late"), transaction.atomic("late"):
                execute(wrapper, "SELECT 1")
    savepoints = ["SAVEPOINT", "RELEASE SAVEPOINT"]
    assert heard == [*savepoints, "SAVEPOINT", "SELECT 1", "RELEASE SAVEPOINT"]


def test_a_receiver_is_asked_before_the_block_begins(begun: Begun) -> None:
    seen: list[bool] = []

    def receiver(connection: Any, **_: Any) -> None:
        seen.append(connection.in_atomic_block)
        execute(connection, "SET SESSION group_concat_max_len = 4321")

    connection_created.connect(receiver)
    try:
        with begun() as wrapper:
            for _ in range(2):
                with transaction.atomic("late"):
                    assert execute(wrapper, "SELECT @@group_concat_max_len") == ((4321,),)
                release_connections("late")
    finally:
        connection_created.disconnect(receiver)
    assert seen == [False, False]


class Hearing(base.DatabaseWrapper):
    """An engine that wants to hear of each transaction."""

    heard: list[bool]

    def _set_autocommit(self, autocommit: bool) -> None:
        self.heard.append(autocommit)
        super()._set_autocommit(autocommit)


@pytest.fixture
def hearing(monkeypatch: pytest.MonkeyPatch) -> str:
    package, module = ModuleType("hearing_engine"), ModuleType("hearing_engine.base")
    module.DatabaseWrapper = Hearing  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "hearing_engine", package)
    monkeypatch.setitem(__import__("sys").modules, "hearing_engine.base", module)
    Hearing.heard = []
    return "hearing_engine"


def test_an_engine_hears_of_a_block_that_begins(begun: Begun, hearing: str) -> None:
    with begun(hearing) as wrapper:
        execute(wrapper, "SELECT 1")
        Hearing.heard.clear()
        with transaction.atomic("late"):
            assert Hearing.heard == [False]
            assert figures().in_use == 1
        assert Hearing.heard == [False, True]


def test_who_patches_django_hears_of_a_block_that_begins(
    begun: Begun, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[bool] = []
    djangos: Any = mysql.DatabaseWrapper._set_autocommit  # type: ignore[attr-defined]

    def patched(self: Any, autocommit: bool) -> None:
        heard.append(autocommit)
        djangos(self, autocommit)

    with begun() as wrapper:
        execute(wrapper, "SELECT 1")
        monkeypatch.setattr(mysql.DatabaseWrapper, "_set_autocommit", patched)
        with transaction.atomic("late"):
            assert heard == [False]
        assert heard == [False, True]


# A server that begins transactions by itself


def test_where_the_server_chains_transactions_autocommit_is_switched(
    begun: Begun, here: World
) -> None:
    here.observer.query("SET GLOBAL completion_type = 'CHAIN'")
    try:
        with begun() as wrapper:
            with transaction.atomic("late"):
                execute(wrapper, INSERT.format(1))
            execute(wrapper, INSERT.format(2))
            assert here.numbers() == [1, 2]
    finally:
        here.observer.query("SET GLOBAL completion_type = 'NO_CHAIN'")


def test_where_a_set_up_has_transactions_chained_autocommit_is_switched(
    begun: Begun, here: World
) -> None:
    def receiver(connection: Any, **_: Any) -> None:
        execute(connection, "SET SESSION completion_type = 1")

    def write() -> None:
        with transaction.atomic("late"):
            execute(connections["late"], INSERT.format(1))
        execute(connections["late"], INSERT.format(2))
        release_connections("late")

    connection_created.connect(receiver)
    try:
        with begun():
            run_threads(write)
            assert here.numbers() == [1, 2]
    finally:
        connection_created.disconnect(receiver)


def test_where_init_command_has_transactions_chained_autocommit_is_switched(
    begun: Begun, here: World
) -> None:
    with begun(init_command="SET SESSION completion_type = 1") as wrapper:
        with transaction.atomic("late"):
            execute(wrapper, INSERT.format(1))
        execute(wrapper, INSERT.format(2))
        assert here.numbers() == [1, 2]


@pytest.fixture
def proxy(server: Any) -> Iterator[Proxy]:
    with Proxy(server) as proxy:
        yield proxy


def address(proxy: Proxy) -> dict[str, Any]:
    return {"HOST": proxy.host, "PORT": str(proxy.port)}


UNKNOWN_VARIABLE = b"\xff\xa9\x04#HY000Unknown system variable"


def test_a_server_that_knows_no_chains_has_none(here: World, begun: Begun, proxy: Proxy) -> None:
    header = len(UNKNOWN_VARIABLE).to_bytes(3, "little") + b"\x01"
    proxy.answer(Answer(b"completion_type", instead=header + UNKNOWN_VARIABLE, close=False))
    with begun(where=address(proxy), ssl_mode="DISABLED") as wrapper:
        with transaction.atomic("late"):
            execute(wrapper, INSERT.format(1))
            assert execute(wrapper, "SELECT @@autocommit") == ((1,),)
        assert here.numbers() == [1]


def test_where_chains_cannot_be_asked_for_no_session_stays(begun: Begun, proxy: Proxy) -> None:
    proxy.answer(Answer(b"completion_type", close=True))
    with begun(where=address(proxy), ssl_mode="DISABLED") as wrapper:
        with pytest.raises(OperationalError), transaction.atomic("late"):
            execute(wrapper, INSERT.format(1))
        assert figures().in_use == figures().idle == 0
        assert execute(wrapper, "SELECT 1") == ((1,),)
