"""The path between: cut, mute, silent, garbled, and proxies with opinions."""

from __future__ import annotations

import time
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.backends.signals import connection_created

from mysqlpool import release_connections
from tests.faults.campaign import OURS, STOCK, Fault, ask, until, write, written
from tests.faults.proxy import Answer, Proxy
from tests.helpers import HANG, in_thread, rows_of
from tests.server import Server

any_lease = pytest.mark.parametrize("lease", ["transaction"])
"""For what the lease mode has no part in."""


@pytest.mark.fault("the answer to a COMMIT is lost")
def test_a_commit_whose_answer_is_lost_is_there_once(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy)

    def commit(alias: str) -> None:
        loss = proxy.lose_answer(b"\x03COMMIT")  # COM_QUERY and its text
        try:
            with transaction.atomic(using=alias):
                write(alias, alias)
        finally:
            assert loss.came.is_set()

    assert fault.sees(commit) == "OperationalError 2013"
    assert written(database) == [STOCK, OURS]
    fault.recovers()
    assert list(fault.discards()) == ["commit unknown: error 2013"]


@pytest.mark.fault("the answer to an INSERT in autocommit is lost")
def test_a_statement_whose_answer_is_lost_is_not_sent_again(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy)

    def insert(alias: str) -> None:
        proxy.lose_answer(b"INSERT", reset=True)
        write(alias, alias)

    assert fault.sees(insert) == "OperationalError 2013"
    assert written(database) == [STOCK, OURS]
    fault.recovers()


@pytest.mark.fault("reset in the middle of a result")
def test_a_reset_in_a_result_is_an_error_and_no_rows_of_it_reach_anybody(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy)

    def read(alias: str) -> None:
        ask(alias)
        proxy.answer(Answer(b"numbered", keep=5000, reset=True))
        ask(alias, rows_of(900, "REPEAT('x', 1000)"))

    assert fault.sees(read) == "OperationalError 2013"
    fault.recovers()


@pytest.mark.fault("garbage instead of an answer")
@pytest.mark.parametrize(
    "garbage",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        # A number of columns, whole: of less, a library reads on in what it happens to have there.
        b"\x09\x00\x00\x01" + b"\xfe" * 9,
        b"\x01\x00\x00\x09\x00",  # out of order
        b"\x07\x00\x00\x01\xff",  # five bytes of eleven
    ],
    ids=["http", "nonsense", "order", "cut"],
)
def test_garbage_reaches_nobody_else(
    fault: Fault, database: Server, proxy: Proxy, garbage: bytes
) -> None:
    fault.aim(database, proxy, pool={"pool_size": 1}, options={"read_timeout": 1})

    def read(alias: str) -> None:
        ask(alias)
        proxy.answer(Answer(b"'mine'", instead=garbage, close=True))
        ask(alias, "SELECT 'mine'")

    fault.sees(read)
    # MariaDB's library 3.4 takes "nonsense" for an answer without rows. Such a session goes back,
    # and is lost as soon as the proxy has closed it.
    release_connections(OURS)
    until(lambda: not proxy.links)
    assert ask(OURS, "SELECT 'next'") == "next"
    fault.recovers()


@any_lease
@pytest.mark.fault("garbage instead of a greeting")
def test_a_greeting_of_garbage_is_an_error_at_once(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy)
    proxy.greet(b"SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n")
    started = time.monotonic()
    # Django's engine waits as long as the network lets it, with no timeout of its own.
    fault.sees_alone(ask)
    assert time.monotonic() - started < HANG / 2
    proxy.greet(None)
    proxy.cut()
    fault.recovers()


@any_lease
@pytest.mark.fault("no greeting", long=True)
def test_a_server_that_never_greets_costs_the_timeout(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy, pool={"timeout": 1})
    proxy.greet(b"")
    started = time.monotonic()
    fault.sees_alone(ask)
    assert time.monotonic() - started < HANG / 3
    proxy.greet(None)
    fault.recovers()


@pytest.mark.fault("a mute path, with a read_timeout", long=True)
def test_on_a_mute_path_a_statement_ends_by_its_read_timeout(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy, options={"read_timeout": 1, "connect_timeout": 1})

    def read(alias: str) -> None:
        ask(alias)
        proxy.mute()
        try:
            ask(alias)
        finally:
            proxy.speak()

    fault.sees(read)
    fault.recovers()


@any_lease
@pytest.mark.fault("idle sessions on a path that went mute")
def test_idle_sessions_on_a_mute_path_cost_one_ping(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy, pool={"pool_size": 8, "ping_after": 0, "ping_timeout": 0.8})
    fault.conserves()  # Eight sessions are idle then.
    proxy.forget()
    started = time.monotonic()
    assert fault.sees_alone(ask) == "nothing"
    assert 0.8 <= time.monotonic() - started < 5  # Eight pings would take longer.
    assert fault.discards() == {"dead": 8}
    fault.recovers()


@any_lease
@pytest.mark.fault("a release on a mute path, with autocommit off", long=True)
def test_a_release_on_a_mute_path_ends(fault: Fault, database: Server, proxy: Proxy) -> None:
    """Django's close() sends nothing that it waits for, so a release must not wait for ever."""
    fault.aim(database, proxy)
    assert_release_ends(fault, proxy)
    assert written(database) == []


@any_lease
@pytest.mark.fault("a release on a mute path, with autocommit off and a read_timeout", long=True)
def test_a_release_on_a_mute_path_ends_by_the_read_timeout(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy, options={"read_timeout": 1})
    assert_release_ends(fault, proxy)
    assert written(database) == []


def assert_release_ends(fault: Fault, proxy: Proxy) -> None:
    def leave(alias: str) -> None:
        connections[alias].set_autocommit(False)
        write(alias, alias)
        proxy.forget()
        connections[alias].close()

    with in_thread(lambda: fault.sees(leave)) as done:
        try:
            until(lambda: done.value is not None)
        finally:
            proxy.cut()
    assert done.value == "nothing"
    fault.recovers()


@any_lease
@pytest.mark.xfail(reason="SET NAMES, which the driver says when it connects, has no limit of time")
@pytest.mark.fault("the path goes mute between the greeting and the first statement", long=True)
def test_a_session_that_is_mute_from_its_first_statement_costs_the_timeout(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    """Python's driver says SET NAMES and autocommit before it returns from connecting."""
    fault.aim(database, proxy, pool={"timeout": 1})
    answer = proxy.answer(Answer(b"\x03SET "), hold=True)
    with in_thread(lambda: fault.sees_alone(ask)) as done:
        try:
            assert answer.came.wait(HANG)
            until(lambda: done.value is not None, 1 + 2)
        finally:
            answer.go.set()
    assert done.value is not None
    fault.recovers()


@any_lease
@pytest.mark.xfail(reason="what a session sends to renew itself has no limit of time")
@pytest.mark.fault("a mute path, and an idle session of another set-up there", long=True)
def test_a_session_that_is_to_be_renewed_on_a_mute_path_costs_the_timeout(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy, pool={"pool_size": 1, "timeout": 1})
    first = True

    def receiver(connection: Any, **kwargs: Any) -> None:
        if first:
            with connection.cursor() as cursor:
                cursor.execute("SET time_zone = '+01:00'")

    connection_created.connect(receiver)
    try:
        ask(OURS)
        release_connections(OURS)
        proxy.forget()
        first = False  # Who says nothing needs the session as new.
        with in_thread(lambda: fault.sees_alone(ask)) as done:
            try:
                until(lambda: done.value is not None, 1 + 2)
            finally:
                proxy.cut()
    finally:
        connection_created.disconnect(receiver)
    fault.recovers()


@pytest.mark.fault("a dripping path")
def test_a_dripping_path_is_slow_and_nothing_else(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy)

    def read(alias: str) -> Any:
        ask(alias)
        proxy.drip(0.0005)
        try:
            return ask(alias, "SELECT 'slow'")
        finally:
            proxy.drip(None)

    assert fault.sees(read) == "nothing"
    fault.recovers()


@any_lease
@pytest.mark.fault("a proxy with a short client timeout")
def test_sessions_that_a_proxy_closed_while_idle_are_not_handed_out(
    fault: Fault, database: Server
) -> None:
    with Proxy(database, client_timeout=0.2) as proxy:
        fault.aim(database, proxy)
        fault.conserves()
        for _ in range(2):
            until(lambda: proxy.links == 0)
            fault.sees_alone(ask)
        assert fault.seen == ["nothing"]
        fault.recovers()
        fault.forget()


@pytest.mark.fault("a proxy with a short client timeout, and a slow holder")
def test_a_session_that_a_proxy_closed_in_somebodys_hands_costs_that_one_an_error(
    fault: Fault, database: Server
) -> None:
    with Proxy(database, client_timeout=0.2) as proxy:
        fault.aim(database, proxy)

        def dawdle(alias: str) -> None:
            with transaction.atomic(using=alias):
                ask(alias)
                until(lambda: proxy.links == 0)
                ask(alias)

        assert fault.sees(dawdle) in ("OperationalError 2006", "OperationalError 2013")
        fault.recovers()
        fault.forget()


@pytest.mark.fault("refused for a while")
def test_while_the_server_refuses_each_request_fails_at_once(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy)
    fault.conserves()
    proxy.refuse()
    proxy.cut()
    for _ in range(20):
        started = time.monotonic()
        assert fault.sees(ask) == "OperationalError 2003" or fault.seen == ["OperationalError 2002"]
        assert time.monotonic() - started < HANG / 3
    proxy.accept()
    fault.recovers()


@pytest.mark.fault("stalled for a moment")
def test_a_stall_costs_its_time_and_nothing_else(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    fault.aim(database, proxy, pool={"ping_after": 0})
    fault.conserves()

    def wait(alias: str) -> None:
        with proxy.stalled(), in_thread(lambda: None):
            time.sleep(0.05)
        ask(alias)

    assert fault.sees(wait) == "nothing"
    fault.recovers()


@any_lease
@pytest.mark.fault("a host that the server has blocked")
def test_a_blocked_host_is_refused_at_once_and_let_in_later(
    fault: Fault, database: Server, proxy: Proxy
) -> None:
    """The private server knows no names of hosts, and so blocks none: the packet is its own."""
    fault.aim(database, proxy)
    message = b"\xff" + (1129).to_bytes(2, "little") + b"Host '127.0.0.1' is blocked"
    proxy.greet(len(message).to_bytes(3, "little") + b"\x00" + message)
    assert fault.sees(ask) == "OperationalError 1129"
    proxy.greet(None)
    fault.recovers()


@any_lease
@pytest.mark.fault("a name that cannot be resolved")
def test_a_name_without_an_address_is_djangos_error(fault: Fault, database: Server) -> None:
    fault.aim(database, HOST="nowhere.invalid")
    assert fault.sees(ask) in ("OperationalError 2005", "OperationalError 2002")
    fault.aim(database)
    fault.recovers()
