"""The server itself: killed, stopped, frozen, restarted, and another one in its place."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, transaction

from mysqlpool import release_connections
from tests.faults.campaign import OURS, STOCK, Fault, ask, until, write, written
from tests.faults.conftest import prepare
from tests.faults.proxy import Answer, Proxy
from tests.helpers import HANG, endless, identified, in_thread
from tests.observer import Observer
from tests.server.private import PrivateServer

LOST = ("OperationalError 2006", "OperationalError 2013")
REFUSED = ("OperationalError 2002", "OperationalError 2003")
any_lease = pytest.mark.parametrize("lease", ["transaction"])


@pytest.mark.fault("kill -9 of the server, sessions idle", long=True)
def test_idle_sessions_of_a_killed_server_cost_nobody_an_error(
    fault: Fault, victim: PrivateServer
) -> None:
    fault.aim(victim, pool={"pool_size": 5})
    fault.conserves()
    victim.kill()
    victim.start()
    fault.recovers()
    assert fault.lost == 5


@pytest.mark.fault("kill -9 of the server in a query", long=True)
def test_a_query_of_a_killed_server_is_djangos_error(fault: Fault, victim: PrivateServer) -> None:
    fault.aim(victim)

    def query(alias: str) -> None:
        ask(alias)
        asking = threading.Thread(target=lambda: kill_when_busy(victim))
        asking.start()
        try:
            ask(alias, f"SELECT {endless()}")
        finally:
            asking.join(HANG)
            victim.start()

    assert fault.sees(query) in LOST
    fault.recovers()


def kill_when_busy(victim: PrivateServer) -> None:
    with Observer(victim) as observer:
        busy = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%%counted'"
        observer.until(lambda: observer.query(busy)[0][0] > 0)
        victim.kill()


@pytest.mark.fault("kill -9 of the server between a COMMIT and its OK", long=True)
def test_a_commit_that_a_killed_server_could_not_acknowledge_is_there_once(
    fault: Fault, victim: PrivateServer
) -> None:
    with Proxy(victim) as proxy:
        fault.aim(victim, proxy)

        def commit(alias: str) -> None:
            answer = proxy.answer(Answer(b"\x03COMMIT"), hold=True)
            with in_thread(lambda: kill_when(answer, victim)), transaction.atomic(using=alias):
                write(alias, alias)

        assert fault.sees(commit) in LOST
        assert written(victim) == [STOCK, OURS]
        fault.recovers()
        fault.forget()


def kill_when(answer: Answer, victim: PrivateServer) -> None:
    assert answer.came.wait(HANG)
    victim.kill()
    answer.go.set()
    victim.start()


@pytest.mark.fault("kill -9 of the server under load, five times", long=True)
def test_no_acknowledged_commit_is_lost_and_none_is_doubled(
    fault: Fault, victim: PrivateServer
) -> None:
    fault.aim(victim, pool={"pool_size": 4, "timeout": 20})
    acknowledged: list[str] = []
    errors: list[str] = []
    unopened: list[str] = []
    over = threading.Event()

    def writer(number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            text = f"{number}/{turn}"
            try:
                with transaction.atomic(using=OURS):
                    write(OURS, text)
                acknowledged.append(text)
            except OperationalError as error:
                errors.append(f"OperationalError {error.args[0]}")
                if " at '" in str(error):
                    unopened.append(text)  # Lost in its handshake: no session was there yet.
                over.wait(0.01)  # Of what fails at once there would be thousands.
            finally:
                release_connections(OURS)

    with contextlib.ExitStack() as threads:
        for number in range(12):
            threads.enter_context(in_thread(lambda number=number: writer(number)))  # type: ignore[misc]
        try:
            for _ in range(5):
                more = len(acknowledged) + 50
                until(lambda more=more: len(acknowledged) >= more)  # type: ignore[misc]
                victim.kill()
                victim.start()
            more = len(acknowledged) + 50
            until(lambda: len(acknowledged) >= more)
            with Observer(victim) as observer:
                [peak] = observer.status("Max_used_connections")  # since the last start
            assert peak <= fault.size + 1
        finally:
            over.set()
    rows = written(victim)
    assert len(rows) == len(set(rows))
    assert set(acknowledged) <= set(rows)
    assert set(errors) <= {*LOST, *REFUSED}
    for error in sorted(set(errors)):
        fault.note(error)
    # An error a session at most, for each time. While nobody listens, requests fail at once.
    assert sum(error in LOST for error in errors) - len(unopened) <= 5 * fault.size
    fault.recovers()


@pytest.mark.fault("a graceful stop of the server", long=True)
def test_a_graceful_stop_costs_who_is_in_a_transaction_one_error(
    fault: Fault, victim: PrivateServer
) -> None:
    fault.aim(victim)

    def work(alias: str) -> None:
        with transaction.atomic(using=alias):
            write(alias, "undone")
            victim.restart()
            ask(alias)

    # MariaDB tells before it closes: 1927 or 1053, if the client has not noticed the end before.
    fault.sees(work, same=False)
    assert written(victim) == []
    fault.recovers()


@any_lease
@pytest.mark.fault("the server is down for two seconds", long=True)
def test_while_the_server_is_down_requests_fail_at_once(
    fault: Fault, victim: PrivateServer
) -> None:
    fault.aim(victim)
    fault.conserves()
    victim.kill()
    down = time.monotonic() + 2
    while time.monotonic() < down:
        started = time.monotonic()
        assert fault.sees(ask) in REFUSED
        assert time.monotonic() - started < HANG / 3
    victim.start()
    fault.recovers()


@contextlib.contextmanager
def frozen(victim: PrivateServer) -> Iterator[None]:
    os.kill(victim.pid, signal.SIGSTOP)
    try:
        os.waitid(os.P_PID, victim.pid, os.WSTOPPED)
        yield
    finally:
        os.kill(victim.pid, signal.SIGCONT)


@pytest.mark.fault("SIGSTOP of the server, with a read_timeout", long=True)
def test_a_frozen_server_ends_a_query_by_its_read_timeout(
    fault: Fault, victim: PrivateServer
) -> None:
    fault.aim(victim, options={"read_timeout": 1})

    def query(alias: str) -> None:
        with transaction.atomic(using=alias):
            ask(alias)
            with frozen(victim):
                ask(alias)

    assert fault.sees(query) in LOST
    fault.recovers()


@pytest.mark.fault("SIGSTOP of the server, without a read_timeout", long=True)
def test_a_frozen_server_goes_on_where_it_was(fault: Fault, victim: PrivateServer) -> None:
    """Who waits for an answer waits, as on Django's engine; a request for a lease does not."""
    fault.aim(victim, pool={"timeout": 1})

    def query(alias: str) -> None:
        with transaction.atomic(using=alias):
            ask(alias)
            with frozen(victim), in_thread(lambda: impatient(alias)) as error:
                pass
            assert (error.value is not None) == (alias == OURS)
            write(alias, alias)

    def impatient(alias: str) -> str | None:
        if alias == STOCK:
            return None
        started = time.monotonic()
        with pytest.raises(OperationalError):
            ask(alias)
        assert time.monotonic() - started < HANG / 3
        release_connections(OURS)
        return "an error"

    assert fault.sees(query) == "nothing"
    fault.note("who asks for a lease: an error within the timeout")
    assert written(victim) == [STOCK, OURS]
    fault.recovers()


@pytest.mark.fault("failover behind one address", long=True)
def test_after_a_failover_each_session_costs_one_error_at_most(
    fault: Fault, victim: PrivateServer
) -> None:
    with PrivateServer() as other, Proxy(victim) as proxy:
        prepare(other)
        fault.aim(victim, proxy, pool={"pool_size": 3})
        fault.conserves()

        def work(alias: str) -> None:
            proxy.lead_to(victim)
            with transaction.atomic(using=alias):
                write(alias, "undone")
                proxy.lead_to(other)
                proxy.cut()
                ask(alias)

        assert fault.sees(work) in LOST
        fault.server = other
        fault.recovers()
        write(OURS, "there")
        release_connections(OURS)
        assert written(other) == ["there"]
        assert written(victim) == []
        fault.forget()


@pytest.mark.fault("failover behind one address, the old server goes on and reads only", long=True)
def test_no_session_stays_with_a_demoted_server(fault: Fault, victim: PrivateServer) -> None:
    with PrivateServer() as other, Proxy(victim) as proxy:
        prepare(other)
        with Observer(victim) as observer:
            for server in (victim, other):
                with Observer(server) as one:
                    one.query(f"CREATE USER ordinary@'127.0.0.1' {identified('secret')}")
                    one.query("GRANT ALL ON faults.* TO ordinary@'127.0.0.1'")
            account: dict[str, Any] = {"USER": "ordinary", "PASSWORD": "secret"}
            fault.aim(victim, proxy, pool={"pool_size": 3}, **account)
            fault.conserves()
            observer.query("SET GLOBAL read_only = ON")
            proxy.lead_to(other)
            assert fault.sees_alone(lambda alias: write(alias, "x")) == "OperationalError 1290"
            fault.server = other
            fault.recovers()
            observer.until(lambda: not observer.sessions("faults"))
            observer.query("SET GLOBAL read_only = OFF")
            observer.query("DROP USER ordinary@'127.0.0.1'")
        fault.forget()


@any_lease
@pytest.mark.fault("wait_timeout of a second, sessions idle", long=True)
def test_idle_sessions_that_timed_out_are_not_handed_out(
    fault: Fault, victim: PrivateServer
) -> None:
    fault.aim(victim, options={"init_command": "SET SESSION wait_timeout = 1"})
    fault.conserves()
    with Observer(victim) as observer:
        observer.until(lambda: not observer.sessions("faults"))
    assert fault.sees_alone(ask) == "nothing"
    assert fault.discards() == {"dead": fault.size}
    fault.recovers()


@pytest.mark.fault("wait_timeout of a second, a slow holder", long=True)
def test_a_holder_slower_than_wait_timeout_gets_djangos_error(
    fault: Fault, victim: PrivateServer
) -> None:
    fault.aim(victim, options={"init_command": "SET SESSION wait_timeout = 1"})

    def dawdle(alias: str) -> None:
        with transaction.atomic(using=alias):
            number = ask(alias)
            with Observer(victim) as observer:
                observer.until(lambda: number not in observer.sessions())
            ask(alias)

    assert fault.sees(dawdle) in (*LOST, "OperationalError 4031")
    fault.recovers()
