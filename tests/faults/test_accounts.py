"""The account, the database, and how many sessions the server lets in."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections, transaction

from mysqlpool import release_connections, stats
from tests.faults.campaign import DATABASE, OURS, Fault, ask, write, written
from tests.faults.conftest import prepare
from tests.helpers import identified, run_threads
from tests.observer import Observer
from tests.server import Server
from tests.server.private import PrivateServer

any_lease = pytest.mark.parametrize("lease", ["transaction"])
USER = "ordinary@'127.0.0.1'"
ACCOUNT: dict[str, Any] = {"USER": "ordinary", "PASSWORD": "secret"}


@pytest.fixture
def account(database: Server, observer: Observer) -> Iterator[dict[str, Any]]:
    """One that the server makes no exception for."""
    observer.query(f"CREATE USER {USER} {identified('secret')}")
    observer.query(f"GRANT ALL ON {DATABASE}.* TO {USER}")
    yield ACCOUNT
    observer.query("SET GLOBAL read_only = OFF")
    observer.query(f"DROP USER {USER}")


def tasks(number: int, held: threading.Event | None = None) -> None:
    """So many tasks at once, of which each has to be served."""

    def task() -> None:
        try:
            with transaction.atomic(using=OURS):
                write(OURS, "x")
        finally:
            release_connections(OURS)

    run_threads(*[task] * number)


@pytest.mark.fault("MAX_USER_CONNECTIONS of the account below the pool's size")
def test_below_the_accounts_limit_everybody_is_served_in_turn(
    fault: Fault, database: Server, account: dict[str, Any], observer: Observer
) -> None:
    observer.query(f"ALTER USER {USER} WITH MAX_USER_CONNECTIONS 3")
    fault.aim(database, pool={"pool_size": 10, "timeout": 20}, **account)
    tasks(30)
    fault.note("nothing")
    assert len(written(database)) == 30
    assert len(observer.sessions(DATABASE)) <= 3
    observer.query(f"ALTER USER {USER} WITH MAX_USER_CONNECTIONS 0")
    fault.recovers()


@pytest.mark.fault("max_connections below the pool's size", long=True)
def test_below_the_servers_limit_everybody_is_served_in_turn(fault: Fault) -> None:
    """A server of its own: MariaDB lets max_connections be 10 at least."""
    with PrivateServer(["--max-connections=10"]) as server:
        prepare(server)
        with Observer(server) as observer:
            observer.query(f"CREATE USER {USER} {identified('secret')}")
            observer.query(f"GRANT ALL ON {DATABASE}.* TO {USER}")
            fault.aim(server, pool={"pool_size": 20, "timeout": 20}, **ACCOUNT)
            tasks(60)
            fault.note("nothing")
            assert observer.query(f"SELECT COUNT(*) FROM {DATABASE}.written") == ((60,),)
            assert stats()[OURS].timeouts == 0
            observer.query("SET GLOBAL max_connections = 100")
        fault.recovers()
        fault.forget()


@pytest.mark.fault("read_only is switched on")
def test_a_server_that_became_read_only_costs_each_session_one_error_at_most(
    fault: Fault, database: Server, account: dict[str, Any], observer: Observer
) -> None:
    fault.aim(database, pool={"pool_size": 4}, **account)
    fault.conserves()
    observer.query("SET GLOBAL read_only = ON")
    assert fault.sees(lambda alias: write(alias, "refused")) == "OperationalError 1290"
    observer.query("SET GLOBAL read_only = OFF")
    for _ in range(8):
        write(OURS, "taken")
        release_connections(OURS)
    fault.recovers()
    assert fault.lost == 4


@any_lease
@pytest.mark.fault("the password is changed, first on the server and then in the settings")
def test_a_changed_password_is_djangos_error_until_the_settings_have_it(
    fault: Fault, database: Server, account: dict[str, Any], observer: Observer
) -> None:
    fault.aim(database, pool={"pool_size": 1}, **account)
    ask(OURS)
    release_connections(OURS)
    observer.query(f"ALTER USER {USER} {identified('changed')}")
    assert ask(OURS) > 0  # Who is in stays in.
    ask(OURS, "SET @dirty = 1")
    release_connections(OURS)
    assert fault.sees(ask) == "OperationalError 1045"
    for alias in (OURS, "faults_stock"):
        connections[alias].settings_dict["PASSWORD"] = "changed"
    assert fault.sees(ask) == "nothing"
    connections.settings[OURS]["PASSWORD"] = "changed"
    fault.recovers()


@any_lease
@pytest.mark.fault("the account is locked")
def test_a_locked_account_is_djangos_error_until_it_is_unlocked(
    fault: Fault, database: Server, account: dict[str, Any], observer: Observer
) -> None:
    fault.aim(database, **account)
    observer.query(f"ALTER USER {USER} ACCOUNT LOCK")
    assert fault.sees(ask) in ("OperationalError 4151", "OperationalError 3118")
    observer.query(f"ALTER USER {USER} ACCOUNT UNLOCK")
    fault.recovers()


@any_lease
@pytest.mark.fault("the password expires")
def test_an_expired_password_is_djangos_error_until_it_is_renewed(
    fault: Fault, database: Server, account: dict[str, Any], observer: Observer
) -> None:
    fault.aim(database, **account)
    observer.query(f"ALTER USER {USER} PASSWORD EXPIRE")
    fault.sees(ask)
    assert fault.seen[0] in ("OperationalError 1820", "OperationalError 1862")
    observer.query(f"ALTER USER {USER} {identified('secret')}")
    fault.recovers()


@any_lease
@pytest.mark.fault("the database is dropped, and made again")
def test_a_dropped_database_is_djangos_error_until_it_is_back(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database, pool={"pool_size": 1})
    write(OURS, "gone")
    release_connections(OURS)

    def into_nothing(alias: str) -> None:
        ask(alias)
        observer.query(f"DROP DATABASE IF EXISTS {DATABASE}")
        try:
            write(alias, "nowhere")
        finally:
            prepare(database)

    fault.sees(into_nothing)
    write(OURS, "back")
    release_connections(OURS)
    assert written(database) == ["back"]
    fault.recovers()


@any_lease
@pytest.mark.fault("the privileges are taken away")
def test_an_account_without_privileges_is_djangos_error(
    fault: Fault, database: Server, account: dict[str, Any], observer: Observer
) -> None:
    fault.aim(database, **account)
    observer.query(f"REVOKE ALL ON {DATABASE}.* FROM {USER}")
    assert fault.sees(ask) == "OperationalError 1044"
    observer.query(f"GRANT ALL ON {DATABASE}.* TO {USER}")
    fault.recovers()
