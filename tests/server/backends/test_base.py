"""The backend: Django's own, with connections leased from one pool an alias."""

from __future__ import annotations

import io
import logging
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import pytest
from django.core import serializers
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import InterfaceError, OperationalError, connection, connections, transaction
from django.db.backends.mysql.base import DatabaseWrapper as StockWrapper
from django.db.backends.signals import connection_created

from mysqlpool import auto_close_db, close_pool, release_connections, stats
from mysqlpool.aliases import registry
from mysqlpool.errors import PoolError, PoolTimeout
from mysqlpool.session.session import Session
from tests.helpers import HANG, error_of, in_thread, lease_all, leased, run_threads, session_id
from tests.rows.models import Row

pytestmark = pytest.mark.django_db(transaction=True, databases=["default", "other"])


def alias_pool(alias: str = "default") -> Any:
    return registry.pools()[alias]


def wrapper(alias: str = "default") -> Any:
    return connections[alias]


@contextmanager
def changed(alias: str = "default", **values: Any) -> Iterator[None]:
    """Other values in the alias's settings, from the start of a pool to its end."""
    release_connections()
    close_pool(alias)
    settings = connections[alias].settings_dict
    before = {key: settings[key] for key in values}
    settings.update(values)
    try:
        yield
    finally:
        release_connections()
        close_pool(alias)
        settings.update(before)


def with_pool(**options: Any) -> Any:
    return changed(OPTIONS={"pool": options})


def test_connection_connection_is_the_raw_driver_connection() -> None:
    lease_all("default")
    assert isinstance(connection.connection, Session)
    cursor = connection.connection.cursor()
    cursor.execute("SELECT 2")
    assert cursor.fetchall() == ((2,),)
    cursor.close()


def test_a_released_session_is_leased_again_by_another_thread() -> None:
    mine = session_id()
    release_connections()
    with in_thread(session_id) as result:
        pass
    assert result.value == mine


def test_two_aliases_have_two_pools() -> None:
    lease_all("default", "other")
    assert alias_pool("default").pool is not alias_pool("other").pool
    assert session_id("default") != session_id("other")


def test_no_more_than_pool_size_sessions_and_a_timeout_that_says_so() -> None:
    with with_pool(pool_size=2, timeout=0.1, lease="task"):
        lease_all("default")
        ready, done = threading.Event(), threading.Event()

        def hold() -> None:
            session_id()
            ready.set()
            done.wait(HANG)
            release_connections()

        with in_thread(hold):
            assert ready.wait(HANG)
            with in_thread(lambda: error_of(session_id)) as result:
                pass
            done.set()
        error = result.value
        assert isinstance(error, PoolTimeout)
        assert isinstance(error, OperationalError)
        assert "default" in str(error)
        assert "2" in str(error)


def test_changed_options_of_the_pool_get_a_pool_of_their_own_and_the_old_one_is_closed(
    observer: Any,
) -> None:
    first = session_id()
    old = alias_pool()
    release_connections()
    with mock.patch.dict(wrapper().settings_dict, OPTIONS={"connect_timeout": 7}):
        second = session_id()
        assert alias_pool() is not old
        assert second != first
        observer.until(lambda: first not in observer.sessions())
        release_connections()
    assert session_id() not in {first, second}


def test_another_database_is_never_served_by_a_session_of_the_first() -> None:
    """What a test runner does: NAME changes in the settings that all threads share."""
    with auto_close_db():
        session_id()
    other = wrapper("other").settings_dict["NAME"]
    with mock.patch.dict(wrapper().settings_dict, NAME=other):
        with auto_close_db(), connection.cursor() as cursor:
            cursor.execute("SELECT DATABASE()")
            assert cursor.fetchone() == (other,)
        with in_thread(auto_close_db(lambda: Row.objects.create(text="there"))):
            pass
    assert Row.objects.count() == 0
    assert Row.objects.using("other").get().text == "there"


def test_a_wrong_password_is_an_error_of_the_next_lease_and_the_right_one_works_again() -> None:
    with changed(USER="nobody-there", PASSWORD="wrong-password"):
        with pytest.raises(OperationalError, match=r"1045|1698|nobody") as caught:
            session_id()
        assert "wrong-password" not in repr(caught.value)
        assert leased() == []
    assert session_id() > 0


def test_the_old_pools_leased_session_is_closed_when_it_comes_back(observer: Any) -> None:
    ready, done = threading.Event(), threading.Event()

    def hold() -> int:
        number = session_id()
        ready.set()
        done.wait(HANG)
        assert session_id() == number
        release_connections()
        return number

    with in_thread(hold) as result:
        assert ready.wait(HANG)
        close_pool()
        assert session_id() > 0, "the pool opens again by itself"
        done.set()
    observer.until(lambda: result.value not in observer.sessions())


def test_close_pool_closes_idle_sessions_at_once(observer: Any) -> None:
    mine = session_id()
    release_connections()
    assert mine in observer.sessions()
    close_pool("default")
    observer.until(lambda: mine not in observer.sessions())
    close_pool("default")
    assert session_id() != mine


def test_persistent_connections_are_refused_with_alias_and_remedy() -> None:
    with (
        changed(CONN_MAX_AGE=60, OPTIONS={"pool": True}),
        pytest.raises(ImproperlyConfigured) as caught,
    ):
        session_id()
    assert "Pooling doesn't support persistent connections" in str(caught.value)
    assert "default" in str(caught.value)


def test_the_users_dicts_are_never_changed() -> None:
    options = {"pool": {"pool_size": 3}, "init_command": "SET @a = 1"}
    with changed(OPTIONS=options):
        session_id()
        assert alias_pool().pool.size() == 3
    assert options == {"pool": {"pool_size": 3}, "init_command": "SET @a = 1"}


@pytest.mark.parametrize("pool", [True, {}, {"class": "QueuePool"}, None])
def test_every_way_of_asking_for_a_pool_gives_one(pool: Any) -> None:
    with changed(OPTIONS={"pool": pool}):
        first = session_id()
        release_connections()
        assert session_id() == first
        assert alias_pool().pool.size() == 10


def test_pool_false_opens_a_session_for_each_lease(observer: Any) -> None:
    with changed(OPTIONS={"pool": False}):
        first = session_id()
        release_connections()
        observer.until(lambda: first not in observer.sessions())
        assert session_id() != first


@pytest.mark.parametrize("name", ["NullPool", "AssertionPool", "SingletonThreadPool", "StaticPool"])
def test_every_pool_class_serves_one_thread_after_another(name: str, observer: Any) -> None:
    database = connections["default"].settings_dict["NAME"]
    with with_pool(**{"class": name}):
        with transaction.atomic():
            Row.objects.create(text=name)
        for _ in range(3):
            release_connections()
            assert Row.objects.get().text == name
        release_connections()
        with in_thread(auto_close_db(Row.objects.count)) as result:
            pass
        assert result.value == 1
        close_pool()
        observer.until(lambda: observer.sessions(database) == set())


def test_a_static_pool_refuses_a_second_thread_while_the_first_holds() -> None:
    with with_pool(**{"class": "StaticPool"}):
        mine = session_id()
        with in_thread(lambda: error_of(session_id)) as result:
            pass
        assert isinstance(result.value, PoolError)
        assert "StaticPool" in str(result.value)
        assert "MainThread" in str(result.value)
        assert session_id() == mine, "the holder is not disturbed"
        release_connections()
        with in_thread(auto_close_db(session_id)) as result:
            pass
        assert result.value == mine


KEEPING_CLASSES = ["FairQueuePool", "QueuePool", "StaticPool", "SingletonThreadPool"]


@pytest.mark.parametrize("name", KEEPING_CLASSES)
def test_a_session_the_server_closed_while_idle_is_not_handed_out(name: str, observer: Any) -> None:
    with with_pool(**{"class": name}):
        first = session_id()
        release_connections()
        observer.kill(first)
        with observer.counting("Com_admin_commands", "Connections") as grown:
            assert session_id() != first
        assert grown == [0, 1], "no ping was needed to know"


@pytest.mark.parametrize("name", KEEPING_CLASSES)
def test_a_session_idle_for_long_is_asked_before_it_is_handed_out(name: str, observer: Any) -> None:
    with with_pool(**{"class": name, "ping_after": 0}):
        first = session_id()
        release_connections()
        with observer.counting("Questions") as questions:
            assert session_id() == first
        assert questions == [2], "the check and the statement"


def test_with_reset_always_no_holder_gets_anothers_session() -> None:
    with with_pool(reset="always"):
        first = session_id()
        release_connections()
        assert session_id() != first


def test_a_dirty_session_is_discarded_on_release_and_the_statistics_tell_why() -> None:
    with with_pool(pool_size=4):
        first = session_id()
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE leaked (number INT)")
        release_connections()
        assert session_id() != first
        assert stats()["default"].discards == {"CREATE": 1}


def test_health_checks_ping_at_every_lease(observer: Any) -> None:
    with changed(CONN_HEALTH_CHECKS=True, OPTIONS={"pool": True}):
        lease_all("default")
        release_connections()
        with observer.counting("Questions") as questions:
            for _ in range(5):
                session_id()
                release_connections()
        assert questions == [10]


def test_a_session_the_server_killed_while_idle_is_replaced_by_health_checks(observer: Any) -> None:
    with changed(CONN_HEALTH_CHECKS=True, OPTIONS={"pool": True}):
        first = session_id()
        release_connections()
        observer.kill(first)
        assert session_id() != first


def test_a_session_killed_while_leased_does_not_go_back_to_the_pool(observer: Any) -> None:
    first = session_id()
    observer.kill(first)
    with pytest.raises(OperationalError):
        Row.objects.count()
    release_connections()
    assert session_id() != first
    assert Row.objects.count() == 0


def test_an_open_transaction_does_not_reach_the_next_holder() -> None:
    transaction.set_autocommit(False)
    Row.objects.create(text="unfinished")
    mine = session_id()
    release_connections()
    with in_thread(auto_close_db(lambda: (session_id(), Row.objects.count()))) as result:
        pass
    assert result.value == (mine, 0)


def test_closing_inside_atomic_fails_the_block_and_lets_nobody_into_it() -> None:
    with pytest.raises(Exception, match=r"atomic|transaction"):  # noqa: SIM117
        with transaction.atomic():
            Row.objects.create(text="lost")
            connection.close()
            Row.objects.create(text="refused")
    assert Row.objects.count() == 0
    assert transaction.get_autocommit()


def test_an_old_cursor_raises_and_sends_nothing(observer: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("SELECT 1 UNION SELECT 2")
    rows = iter(cursor)
    assert next(rows) == (1,)
    release_connections()
    with observer.counting("Questions") as sent:
        for use in (
            lambda: cursor.execute("SELECT 1"),
            lambda: cursor.executemany("SELECT %s", [[1]]),
            lambda: cursor.fetchone(),
            lambda: cursor.callproc("p"),
            lambda: next(rows),
        ):
            with pytest.raises(InterfaceError, match="lease on 'default' has ended"):
                use()
        cursor.close()
        assert cursor.rowcount == 2
    assert sent == [0]


def test_an_unfinished_queryset_iterator_raises_after_the_release() -> None:
    Row.objects.bulk_create(Row(text=str(n)) for n in range(10))
    rows = Row.objects.order_by("pk").iterator(chunk_size=2)
    next(rows)
    release_connections()
    with pytest.raises(InterfaceError):
        list(rows)


def test_connection_created_is_sent_at_each_lease_as_djangos_is() -> None:
    seen: list[Any] = []

    def receiver(sender: Any, connection: Any, **kwargs: Any) -> None:
        seen.append(connection.alias)

    connection_created.connect(receiver)
    try:
        for _ in range(3):
            session_id()
            release_connections()
    finally:
        connection_created.disconnect(receiver)
    assert seen == ["default"] * 3


def test_a_lease_whose_set_up_fails_leaves_nothing_leased() -> None:
    def receiver(sender: Any, connection: Any, **kwargs: Any) -> None:
        raise ValueError("the receiver's")

    connection_created.connect(receiver)
    try:
        for _ in range(6):
            with pytest.raises(ValueError, match="the receiver's"):
                session_id()
            assert leased() == []
    finally:
        connection_created.disconnect(receiver)
    assert alias_pool().pool.checkedout() == 0
    assert session_id() > 0


def test_the_servers_version_is_asked_once_for_all_threads(observer: Any) -> None:
    @auto_close_db
    def ask() -> Any:
        return wrapper().mysql_version

    run_threads(ask)
    with observer.counting("Com_select") as selects:
        versions = run_threads(*[ask] * 5)
    assert versions == [wrapper().mysql_version] * 5
    assert selects == [0]


def test_connections_without_a_database_are_opened_for_themselves_and_closed(observer: Any) -> None:
    with connections["default"]._nodb_cursor() as cursor:
        cursor.execute("SELECT DATABASE(), CONNECTION_ID()")
        database, number = cursor.fetchone()
    assert database is None
    observer.until(lambda: number not in observer.sessions())
    assert "__no_db__" not in registry.pools()


def test_dbshell_gets_the_same_arguments_as_on_djangos_engine() -> None:
    wrapper = connections["default"]
    call: Any = (wrapper.settings_dict, ["-e", "SELECT 7"])
    args, env = wrapper.client_class.settings_to_cmd_args_env(*call)
    assert (args, env) == StockWrapper.client_class.settings_to_cmd_args_env(*call)
    # Django calls it mysql, a name that MariaDB's package need not have any more.
    client = shutil.which("mysql") or shutil.which("mariadb")
    if client is None:
        pytest.skip("neither client program is installed, mysql or mariadb")
    done = subprocess.run([client, *args[1:]], capture_output=True, text=True, timeout=HANG)
    assert "7" in done.stdout, done.stderr


def test_inspectdb_flush_and_loaddata_work(tmp_path: Any) -> None:
    models = io.StringIO()
    call_command("inspectdb", "rows_row", stdout=models)
    assert "class RowsRow(models.Model)" in models.getvalue()
    Row.objects.create(text="fixture")
    fixture = tmp_path / "rows.json"
    fixture.write_text(serializers.serialize("json", Row.objects.all()))
    call_command("flush", interactive=False, verbosity=0)
    assert Row.objects.count() == 0
    call_command("loaddata", str(fixture), verbosity=0)
    assert Row.objects.get().text == "fixture"


def test_a_wrapper_copied_and_dropped_does_not_cost_a_slot() -> None:
    with with_pool(pool_size=2, timeout=5, lease="task"):
        lease_all("default")
        for _ in range(5):
            copy = connections["default"].copy()
            with copy.cursor() as cursor:
                cursor.execute("SELECT 1")
            del cursor
            copy.close()
        assert alias_pool().pool.checkedout() == 1


def test_sessions_opened_discarded_and_closed_are_logged_and_leases_are_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with with_pool(pool_size=4), caplog.at_level(logging.DEBUG, "mysqlpool"):
        first = session_id()
        release_connections()
        for _ in range(3):
            session_id()
            release_connections()
        with connection.cursor() as cursor:
            cursor.execute("CREATE TEMPORARY TABLE dirty (number INT)")
        release_connections()
    records: list[Any] = [r for r in caplog.records if hasattr(r, "event")]
    told = [(record.event, record.fields) for record in records]
    assert told == [
        ("session_opened", {"session": first}),
        ("session_closed", {}),
        ("session_discarded", {"reason": "CREATE"}),
    ]


def test_no_password_in_any_repr() -> None:
    with changed(PASSWORD=""):
        lease_all("default")
        shown = repr(alias_pool()) + repr(alias_pool().settings) + repr(connections["default"])
        assert "password" not in shown.lower()
