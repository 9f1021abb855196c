"""Hooks that a fresh reading found unheard, or heard by others: each was seen to fail."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import MySQLdb
import pytest
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.mysql import base as mysql
from django.db.backends.signals import connection_created
from MySQLdb import _mysql

from mysqlpool import close_pool
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper
from mysqlpool.session.session import Session
from tests.helpers import identified
from tests.server.backends.test_identity import TenantWrapper
from tests.server.backends.test_identity import local as tenants

pytestmark = pytest.mark.django_db(transaction=True, databases=["default"])

ALIAS = "review"
KINDS = ["task", "transaction"]
local = threading.local()


def settings(pool: dict[str, Any], options: dict[str, Any] | None = None, **values: Any) -> Any:
    own = {"pool_size": 1, "max_overflow": 0, "timeout": 5, **pool}
    options = {"pool": own, **(options or {})}
    return {**connections["default"].settings_dict, "OPTIONS": options, **values}


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    close_pool()


def fetch(wrapper: Any, sql: str) -> Any:
    with wrapper.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()


@contextmanager
def receiving(function: Any) -> Iterator[None]:
    connection_created.connect(function)
    try:
        yield
    finally:
        connection_created.disconnect(function)


@pytest.mark.parametrize("lease", KINDS)
def test_a_receiver_that_fails_and_closes_leaves_nothing_to_the_next_holder(lease: str) -> None:
    def speak(connection: Any, **_: Any) -> None:
        if connection.alias == ALIAS:
            with connection.cursor() as cursor:
                cursor.execute("SET @tenant = 'alice'")
            connection.close()
            raise RuntimeError("no such tenant")

    first = DatabaseWrapper(settings({"lease": lease}), ALIAS)
    with receiving(speak), pytest.raises(RuntimeError):
        fetch(first, "SELECT 1")
    second = DatabaseWrapper(settings({"lease": lease}), ALIAS)
    try:
        assert tenant_of(second) is None
    finally:
        second.close()


def tenant_of(wrapper: Any) -> Any:
    with wrapper.cursor() as cursor:
        cursor.execute("DO 0")
        cursor.execute("SELECT @tenant")
        return cursor.fetchone()[0]


def test_after_such_a_receiver_no_holder_takes_anothers_variable() -> None:
    def speak(connection: Any, **_: Any) -> None:
        if connection.alias == ALIAS:
            connection.close()
            raise RuntimeError

    first = DatabaseWrapper(settings({"lease": "task"}), ALIAS)
    fetch(first, "SELECT 1")
    first.close()
    other = DatabaseWrapper(settings({"lease": "task"}), ALIAS)
    with receiving(speak), pytest.raises(RuntimeError):
        fetch(other, "SELECT 1")
    with first.cursor() as cursor:  # goes the short way
        cursor.execute("SET @secret = 'mine'")
    first.close()
    try:
        assert fetch(first, "SELECT @secret") == (None,)
    finally:
        first.close()


@pytest.mark.parametrize("lease", KINDS)
def test_init_connect_of_the_server_holds_after_a_renewal(lease: str, observer: Any) -> None:
    observer.query(f"CREATE USER plain@'%%' {identified('x')}")
    observer.query("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP ON *.* TO plain@'%%'")
    observer.query("SET GLOBAL init_connect = 'SET SESSION group_concat_max_len = 7777'")

    def speak(connection: Any, **_: Any) -> None:
        if connection.alias == ALIAS and local.name:
            with connection.cursor() as cursor:
                cursor.execute(f"SET @{local.name} = 1")

    own = settings({"lease": lease}, USER="plain", PASSWORD="x")
    seen = []
    try:
        with receiving(speak):
            for local.name in ("a", "b", ""):
                wrapper = DatabaseWrapper(own, ALIAS)
                seen.append(fetch(wrapper, "SELECT @@group_concat_max_len, @@collation_connection"))
                wrapper.close()
        assert seen[1:] == seen[:1] * 2
        assert seen[0][0] == 7777
    finally:
        close_pool()
        observer.query("SET GLOBAL init_connect = ''")
        observer.query("DROP USER plain@'%%'")


def test_a_method_put_on_one_wrapper_is_heard_no_more_once_it_is_taken_off(observer: Any) -> None:
    observer.query("CREATE DATABASE elsewhere")
    wrapper = DatabaseWrapper(settings({"lease": "task"}), ALIAS)
    try:
        [own] = fetch(wrapper, "SELECT DATABASE()")
        wrapper.close()
        params = {**wrapper.get_connection_params(), "database": "elsewhere"}
        with mock.patch.object(wrapper, "get_connection_params", return_value=params):
            assert fetch(wrapper, "SELECT DATABASE()") == ("elsewhere",)
            wrapper.close()
        assert fetch(wrapper, "SELECT DATABASE()") == (own,)
    finally:
        wrapper.close()
        observer.query("DROP DATABASE elsewhere")


@pytest.mark.parametrize("cls", [mysql.DatabaseWrapper, DatabaseWrapper])
def test_a_method_put_on_the_class_speaks_for_one_holder(cls: Any) -> None:
    original = cls.init_connection_state

    def init_connection_state(self: Any) -> None:
        original(self)
        if self.alias == ALIAS:
            with self.cursor() as cursor:
                cursor.execute("SET @tenant = %s", [local.name])

    seen = []
    with mock.patch.object(cls, "init_connection_state", init_connection_state):
        wrappers = {name: DatabaseWrapper(settings({"lease": "task"}), ALIAS) for name in "ab"}
        for local.name in "aba":
            wrapper = wrappers[local.name]
            seen.append(fetch(wrapper, "SELECT @tenant")[0])
            wrapper.close()
    assert seen == ["a", "b", "a"]


class Early(DatabaseWrapper):
    def get_new_connection(self, conn_params: Any) -> Any:
        connection = super().get_new_connection(conn_params)
        with connection.cursor() as cursor:
            cursor.execute(local.says)
        return connection


def test_djangos_statements_come_after_what_get_new_connection_says() -> None:
    local.says = "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"
    own = settings({"lease": "transaction", "pool_size": 2}, {"isolation_level": "read committed"})

    def isolation(wrapper: Any) -> Any:
        with wrapper.cursor() as cursor:
            cursor.execute("SELECT CONNECTION_ID()")
            [number] = cursor.fetchone()
            cursor.execute("SHOW SESSION VARIABLES LIKE 't%isolation'")
            return number, {row[1] for row in cursor.fetchall()}

    first, second = Early(own, ALIAS), DatabaseWrapper(own, ALIAS)
    one, level = isolation(first)
    assert level == {"READ-COMMITTED"}
    with second.cursor() as cursor:  # has the session of the first
        cursor.execute("SELECT CONNECTION_ID()")
        other, level = isolation(first)
        assert other != one
        assert level == {"READ-COMMITTED"}
    first.close()
    second.close()


def test_what_one_holder_said_early_is_not_told_of_the_server_to_another() -> None:
    seen = []
    for local.says in ("SET SESSION sql_mode = 'ANSI'", "SET SESSION sql_mode = 'TRADITIONAL'"):
        wrapper = Early(settings({"lease": "task"}), ALIAS)
        fetch(wrapper, "SELECT 1")
        seen.append("ANSI" in wrapper.sql_mode)
        wrapper.close()
    assert seen == [True, False]


@pytest.mark.parametrize(
    "cls", ["StaticPool", "SingletonThreadPool", "QueuePool", "NullPool", "AssertionPool"]
)
@pytest.mark.parametrize("lease", KINDS)
def test_identities_on_sqlalchemys_pools(cls: str, lease: str, observer: Any) -> None:
    names = ["hearing_0", "hearing_1"]
    for name in names:
        observer.query(f"CREATE DATABASE {name}")
    own = settings({"lease": lease})
    own["OPTIONS"] = {"pool": {"class": cls, "lease": lease}}
    wrapper = TenantWrapper(own, ALIAS)
    try:
        for _ in range(3):
            for tenants.tenant in names:
                assert fetch(wrapper, "SELECT DATABASE()") == (tenants.tenant,)
                wrapper.close()
    finally:
        wrapper.close()
        close_pool()
        for name in names:
            observer.query(f"DROP DATABASE {name}")


@pytest.mark.parametrize("lease", KINDS)
def test_a_server_that_refuses_to_change_the_user_costs_no_error(lease: str) -> None:
    """It is connected anew, and stays the object that the receivers have."""
    refused = MySQLdb.OperationalError(1047, "Unknown command")

    def speak(connection: Any, **_: Any) -> None:
        if connection.alias == ALIAS and local.name:
            with connection.cursor() as cursor:
                cursor.execute(f"SET @{local.name} = 1")

    sessions = set()
    with receiving(speak), mock.patch.object(_mysql, "connection", Refusing):
        Refusing.refuses = refused
        for local.name in ("a", "b", "a", "b", ""):
            wrapper = DatabaseWrapper(settings({"lease": lease}), ALIAS)
            sessions.add(fetch(wrapper, "SELECT CONNECTION_ID()"))
            wrapper.close()
    assert len(sessions) == 5


class Refusing(_mysql.connection):
    """The driver's class, for what is called of it by name: a server that knows no such command."""

    refuses: Exception

    def change_user(self, *args: Any) -> None:
        raise Refusing.refuses


SERIALIZABLE = "SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE"
READ_ONLY = "SHOW SESSION VARIABLES WHERE Variable_name LIKE 't%read_only'"


@pytest.mark.parametrize("lease", KINDS)
@pytest.mark.parametrize(
    ("text", "ask"),
    [
        (f"{SERIALIZABLE}, READ ONLY", READ_ONLY),
        (
            f"SET SESSION group_concat_max_len = 7777; {SERIALIZABLE}",
            "SELECT 'g', @@group_concat_max_len",
        ),
    ],
)
def test_a_text_of_which_django_overrides_a_part_is_nobody_elses(
    lease: str, text: str, ask: str
) -> None:
    own = settings({"lease": lease})
    plain = DatabaseWrapper(own, ALIAS)
    before = fetch(plain, ask)
    plain.close()
    local.says = text
    early = Early(own, ALIAS)
    fetch(early, "SELECT 1")
    early.close()
    try:
        assert fetch(plain, ask) == before
    finally:
        plain.close()


def test_such_a_text_goes_along_with_its_holder() -> None:
    own = settings({"lease": "transaction", "pool_size": 2})
    local.says = f"{SERIALIZABLE}, READ ONLY"
    ask = READ_ONLY
    early, other = Early(own, ALIAS), DatabaseWrapper(own, ALIAS)
    first = fetch(early, ask)
    with other.cursor() as cursor:
        cursor.execute("SELECT 1")
        second = fetch(early, ask)
    early.close()
    other.close()
    assert first == second


@pytest.mark.parametrize("lease", KINDS)
@pytest.mark.parametrize("patched", [mysql.DatabaseWrapper, BaseDatabaseWrapper, DatabaseWrapper])
@pytest.mark.parametrize("kind", [mysql.DatabaseWrapper, DatabaseWrapper])
def test_who_patches_a_class_of_djangos_speaks_for_one_holder(
    lease: str, patched: Any, kind: Any
) -> None:
    original = patched.init_connection_state

    def init_connection_state(self: Any) -> None:
        original(self)
        if self.alias == ALIAS:
            with self.cursor() as cursor:
                cursor.execute(f"SET SESSION group_concat_max_len = {local.name}")

    if kind is mysql.DatabaseWrapper and patched is DatabaseWrapper:
        pytest.skip("not of its classes")
    own = settings({"lease": lease})
    if kind is mysql.DatabaseWrapper:
        own["OPTIONS"] = {}
    seen = []
    with mock.patch.object(patched, "init_connection_state", init_connection_state):
        wrappers = {name: kind(own, ALIAS) for name in (5001, 5002)}
        for local.name in (5001, 5002, 5001):
            seen.append(fetch(wrappers[local.name], "SELECT @@group_concat_max_len")[0])
            wrappers[local.name].close()
    assert seen == [5001, 5002, 5001]


@pytest.mark.parametrize("lease", KINDS)
def test_a_renewal_that_is_interrupted_and_caught_leaves_nothing_half_done(lease: str) -> None:
    """A signal handler raises, as one with a time limit does, and the receiver goes on."""
    interrupts: list[bool] = []
    real = Session._say_again

    def say_again(self: Any, *texts: bytes) -> None:
        if interrupts and interrupts.pop():
            raise TimeoutError
        real(self, *texts)

    def speak(connection: Any, **_: Any) -> None:
        if connection.alias == ALIAS:
            with contextlib.suppress(TimeoutError), connection.cursor() as cursor:
                cursor.execute(local.says)

    own = settings({"lease": lease})
    seen = []
    with receiving(speak), mock.patch.object(Session, "_say_again", say_again):
        for local.says, interrupt in (
            ("SET SESSION group_concat_max_len = 5001", False),
            ("SET SESSION sort_buffer_size = 400000", True),
            ("SET SESSION group_concat_max_len = 5001", False),
        ):
            interrupts[:] = [interrupt]
            wrapper = DatabaseWrapper(own, ALIAS)
            seen.append(fetch(wrapper, "SELECT @@group_concat_max_len"))
            wrapper.close()
    assert seen[2] == (5001,)
    assert seen[1] != (5001,)


@pytest.mark.parametrize("lease", KINDS)
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # From Python 3.12 on.
def test_a_session_connected_anew_is_left_alone_by_a_forked_child_and_goes_on(
    lease: str, observer: Any
) -> None:
    observer.query("SET GLOBAL init_connect = 'SET SESSION group_concat_max_len = 7777'")

    def speak(connection: Any, **_: Any) -> None:
        if connection.alias == ALIAS and local.says:
            with connection.cursor() as cursor:
                cursor.execute(local.says)

    own = settings({"lease": lease})
    wrapper = DatabaseWrapper(own, ALIAS)
    try:
        with receiving(speak):
            for local.says in (
                "SET SESSION sort_buffer_size = 400000",
                "SET SESSION join_buffer_size = 400000",
            ):
                before = fetch(wrapper, "SELECT @@sort_buffer_size, @@join_buffer_size")
                if "join" not in local.says:
                    wrapper.close()
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    status = int(
                        fetch(DatabaseWrapper(own, ALIAS), "SELECT @@join_buffer_size") != (400000,)
                    )
                finally:
                    os._exit(status)
            _, status = os.waitpid(pid, 0)
            assert status == 0
            assert fetch(wrapper, "SELECT @@sort_buffer_size, @@join_buffer_size") == before
            assert before[0] != 400000
    finally:
        wrapper.close()
        observer.query("SET GLOBAL init_connect = ''")


@pytest.mark.parametrize("lease", KINDS)
def test_what_an_execute_wrapper_adds_is_sent_for_nobody_else(lease: str, observer: Any) -> None:
    """Such as the comments of a trace, which end up at Django's own statements, too."""

    def speak(connection: Any, **_: Any) -> None:
        if connection.alias == ALIAS and local.name == "first":
            with connection.cursor() as cursor:
                cursor.execute("SET @x = 1")

    def tag(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        return execute(f"{sql} /* of {local.name} */", params, many, context)

    with receiving(speak), observer.general_log() as log:
        for local.name in ("first", "second"):
            wrapper = DatabaseWrapper(settings({"lease": lease}), ALIAS)
            with wrapper.execute_wrapper(tag):
                fetch(wrapper, "SELECT 1")
            wrapper.close()
    sent = [sql for _, _, sql in log]
    last = max(at for at, sql in enumerate(sent) if sql == "SELECT 1 /* of first */")
    assert "SELECT 1 /* of second */" in sent[last:]
    assert [sql for sql in sent[last + 1 :] if "of first" in sql] == []


def test_execute_wrappers_hear_what_they_hear_on_djangos_engine() -> None:
    """Django connects once, though the next statement needs a session that is new."""
    heard: list[str] = []

    def listen(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        heard.append(sql)
        return execute(sql, params, many, context)

    wrapper = DatabaseWrapper(settings({"lease": "transaction"}), ALIAS)
    try:
        with wrapper.execute_wrapper(listen):
            [first] = fetch(wrapper, "SELECT CONNECTION_ID()")
            heard.clear()
            close_pool()
            assert fetch(wrapper, "SELECT CONNECTION_ID()") != (first,)
        assert heard == ["SELECT CONNECTION_ID()"]
    finally:
        wrapper.close()
