"""The order of several servers, and what is remembered of those that failed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import MySQLdb
import pytest

from mysqlpool.aliases.hosts import Hosts, at, connect_to_one, servers_of
from mysqlpool.conf.servers import Server
from mysqlpool.session.session import Session
from tests.fake_driver import FakeClock, fake_time

A, B, C = ("a", 1), ("b", 2), "/c"
ALL: tuple[Server, ...] = (A, B, C)


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with fake_time() as clock:
        yield clock


class Servers:
    """Servers that can be away, refuse, or be read-only; and what was asked of them."""

    def __init__(self) -> None:
        self.errors: dict[Server, int] = {}
        self.read_only: set[Server] = set()
        self.not_ready: set[Server] = set()
        self.version = "10.11.6-MariaDB"
        self.mute: set[Server] = set()  # they let in, and do not answer
        self.asked: list[Server] = []
        self.lefts: list[int] = []
        self.closed: list[Server] = []

    def connect(self, server: Server, left: int) -> Session:
        self.asked.append(server)
        self.lefts.append(left)
        if server in self.errors:
            raise MySQLdb.OperationalError(self.errors[server], "no")
        return cast(Session, FakeSession(self, server))


class FakeSession:
    def __init__(self, servers: Servers, server: Server) -> None:
        self.servers = servers
        self.server = server

    def get_server_info(self) -> str:
        return self.servers.version

    def ask(self, sql: bytes) -> str:
        if self.server in self.servers.mute:
            raise MySQLdb.OperationalError(2013, "no answer in time")
        if b"wsrep_ready" in sql:
            schema = b"information" if "MariaDB" in self.servers.version else b"performance"
            assert schema + b"_schema.global_status" in sql
            return "OFF" if self.server in self.servers.not_ready else "ON"
        assert sql == b"SELECT @@GLOBAL.read_only"
        return "1" if self.server in self.servers.read_only else "0"

    def close(self) -> None:
        self.servers.closed.append(self.server)


@pytest.fixture
def servers() -> Servers:
    return Servers()


def place(hosts: Hosts, servers: Servers, **kwargs: Any) -> Server:
    servers.asked.clear()
    servers.lefts.clear()
    return connect_to_one("default", hosts, ALL, servers.connect, **kwargs).server


def test_servers_are_tried_as_listed() -> None:
    assert Hosts("first", 30).ordered(ALL) == [*ALL]


def test_a_random_order_has_each_server_and_each_one_first() -> None:
    hosts = Hosts("random", 30)
    orders = [hosts.ordered(ALL) for _ in range(200)]
    assert all(sorted(order, key=str) == sorted(ALL, key=str) for order in orders)
    assert {order[0] for order in orders} == set(ALL)


@pytest.mark.parametrize("order", ["first", "random"])
def test_a_server_that_failed_is_tried_last_for_a_while(order: str, clock: FakeClock) -> None:
    hosts = Hosts(order, 30)
    hosts.failed(A)
    clock.now += 29
    assert hosts.ordered(ALL)[-1] == A
    clock.now += 1
    firsts = {hosts.ordered(ALL)[0] for _ in range(200)}
    assert A in firsts


def test_after_that_one_connect_tries_it_and_the_others_do_not(clock: FakeClock) -> None:
    hosts = Hosts("first", 30)
    hosts.failed(A)
    clock.now += 30
    assert hosts.ordered(ALL) == [A, B, C]
    assert hosts.ordered(ALL) == [B, C, A]
    hosts.answered(A)
    assert hosts.ordered(ALL) == [A, B, C]


def test_of_those_that_failed_the_longest_ago_is_tried_first(clock: FakeClock) -> None:
    hosts = Hosts("first", 30)
    for server in (C, A, B):
        hosts.failed(server)
        clock.now += 1
    assert hosts.ordered(ALL) == [C, A, B]


@pytest.mark.parametrize("number", [2002, 2003, 2005, 2013, 1053])
def test_the_next_one_is_tried_where_nobody_accepts_connections(
    number: int, servers: Servers
) -> None:
    hosts = Hosts("first", 30)
    servers.errors = {A: number}
    assert place(hosts, servers) == B
    assert (servers.asked, servers.lefts) == ([A, B], [3, 2])
    assert place(hosts, servers) == B
    assert servers.asked == [B]


@pytest.mark.parametrize("number", [1045, 1049, 1040, 1226, 1129, 2026])
def test_any_other_error_is_raised_at_once(number: int, servers: Servers) -> None:
    hosts = Hosts("first", 30)
    servers.errors = {A: number}
    with pytest.raises(MySQLdb.OperationalError, match=str(number)):
        place(hosts, servers)
    assert servers.asked == [A]
    assert hosts.ordered(ALL)[0] == A


def test_where_all_fail_the_last_ones_error_is_raised_and_all_are_tried_again(
    servers: Servers,
) -> None:
    hosts = Hosts("first", 30)
    servers.errors = {A: 2002, B: 2003, C: 2005}
    for _ in range(2):
        with pytest.raises(MySQLdb.OperationalError, match="2005"):
            place(hosts, servers)
        assert servers.asked == [A, B, C]
    del servers.errors[B]
    assert place(hosts, servers) == B


def test_no_further_one_is_tried_when_the_time_is_over(servers: Servers) -> None:
    servers.errors = {A: 2003, B: 2003}
    with pytest.raises(MySQLdb.OperationalError, match="2003"):
        place(Hosts("first", 30), servers, is_over=lambda: len(servers.asked) == 2)
    assert servers.asked == [A, B]


def test_a_server_that_was_read_only_is_asked_before_it_is_used_again(
    servers: Servers, clock: FakeClock
) -> None:
    hosts = Hosts("first", 30)
    servers.read_only = {A}
    hosts.turned_read_only(A)
    assert place(hosts, servers) == B
    assert servers.asked == [B]
    clock.now += 30
    assert place(hosts, servers) == B
    assert (servers.asked, servers.closed) == ([A, B], [A])
    assert place(hosts, servers) == B
    assert servers.asked == [B]
    servers.read_only.clear()
    clock.now += 30
    assert place(hosts, servers) == A
    assert place(hosts, servers) == A


@pytest.mark.parametrize("version", ["10.11.6-MariaDB", "8.0.36-28.1"])
def test_a_node_out_of_its_cluster_is_asked_before_it_is_used_again(
    servers: Servers, clock: FakeClock, version: str
) -> None:
    """It lets us in all the same, so that each session there would cost an error."""
    hosts = Hosts("first", 30)
    servers.version, servers.not_ready = version, {A}
    hosts.turned_not_ready(A)
    for _ in range(2):
        clock.now += 30
        assert place(hosts, servers) == B
        assert (servers.asked, servers.closed.pop()) == ([A, B], A)
        assert place(hosts, servers) == B
        assert servers.asked == [B]
    servers.not_ready.clear()
    clock.now += 30
    assert place(hosts, servers) == A
    servers.not_ready = {A}
    assert place(hosts, servers) == A  # Nothing speaks against it any more, so it is not asked.


def test_a_server_that_lets_in_and_does_not_answer_is_passed_over(servers: Servers) -> None:
    hosts = Hosts("first", 0)
    hosts.turned_read_only(A)
    servers.mute = {A}
    assert place(hosts, servers) == B
    assert servers.closed == [A]


def test_a_read_only_server_is_better_than_none(servers: Servers) -> None:
    hosts = Hosts("first", 30)
    servers.read_only, servers.errors = {A, B}, {C: 2003}
    hosts.turned_read_only(A)
    hosts.turned_read_only(B)
    assert place(hosts, servers) in (A, B)
    assert servers.asked == [C, A, B]
    assert len(servers.closed) == 1
    assert place(hosts, servers) in (A, B)
    del servers.errors[C]
    assert place(hosts, servers) == C


def test_no_session_stays_open_where_an_error_ends_the_search(servers: Servers) -> None:
    hosts = Hosts("first", 0)
    servers.read_only, servers.errors = {A}, {B: 1045}
    hosts.turned_read_only(A)
    with pytest.raises(MySQLdb.OperationalError, match="1045"):
        place(hosts, servers)
    assert (servers.asked, servers.closed) == ([A, B], [A])


def test_parameters_for_one_server_are_what_the_driver_knows() -> None:
    params = {"host": "a:1,b:2,/c", "user": "me"}
    assert servers_of(params) == ALL
    assert at(params, A) == {"user": "me", "host": "a", "port": 1}
    assert at(params, C) == {"user": "me", "unix_socket": "/c"}
    assert servers_of({"host": "a", "port": 5}) == servers_of({}) == ()
    assert servers_of({"host": "a,b", "port": 5}) == (("a", 5), ("b", 5))
