"""Requests under each server: right, within the limits of the pools, and released in time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.helpers import in_thread
from tests.observer import Observer

from .checks import ends_well, parameters, right, rows_are_right, within_limits
from .load import REQUESTS, Answer, SlowClient, ask, ask_again, kind_of, load
from .products import SERVERS, Server
from .project.work import BASIC
from .running import Running, stays, until

pytestmark = pytest.mark.servers

WITH_REQUESTS = [one for one in SERVERS if not one.websocket]
WRITTEN = [n for n in range(REQUESTS) if kind_of(n) in ("write", "awrite")]


def web_socket(port: int, first: int, count: int) -> list[Answer]:
    """Ask for every kind of work by messages of one web socket."""
    from websockets.sync.client import connect

    kinds = list(BASIC)
    answers = []
    with connect(f"ws://127.0.0.1:{port}/answers") as socket:
        for n in range(first, first + count):
            socket.send(json.dumps([kinds[n % len(kinds)], n]))
            kind, number, text = json.loads(socket.recv())
            answers.append(Answer(kind, number, 500 if text == "failed" else 200, text))
    return answers


def all_are_new(running: Running, before: set[int]) -> bool:
    """Whether all that live, of those that have answered, were not there before."""
    right([ask_again(running.port, "read", n) for n in range(4)])
    living = {pid for pid in running.pids() if Path("/proc", str(pid)).exists()}
    return len(living) >= running.product.processes and not living & before


def web_sockets(port: int, count: int) -> list[Answer]:
    share = count // 8
    with ThreadPoolExecutor(8) as executor:
        parts = list(executor.map(lambda n: web_socket(port, n * share, share), range(8)))
    return [answer for part in parts for answer in part]


@pytest.mark.parametrize("product", parameters(SERVERS))
def test_every_request_is_answered_right_within_the_limit_and_nothing_is_left(
    product: Server, site: dict[str, str], observer: Observer
) -> None:
    with Running(product, site) as running:
        with within_limits(observer, running):
            running.start()
            if product.websocket:
                right(web_sockets(running.port, REQUESTS))
            else:
                right(load(running.port))
                rows_are_right(observer, WRITTEN)
            until(lambda: running.held() == 0, 5, "all leases have ended")
        ends_well(observer, running)


@pytest.mark.parametrize("product", parameters(WITH_REQUESTS))
def test_a_slow_client_holds_no_session(
    product: Server, site: dict[str, str], observer: Observer
) -> None:
    with Running(product, site) as running:
        running.start()
        with SlowClient(running.port, 7) as client:
            until(lambda: client.size, 10, "the client reads")
            until(lambda: running.held() == 0, 2, "the lease has ended")
            assert ask(running.port, "read", 8).status == 200
            assert client.reading
        assert client.size > 5_000_000
        assert b"7 mysqlpool_servers SYSTEM" in client.text
        ends_well(observer, running)


@pytest.mark.parametrize("product", parameters(WITH_REQUESTS, in_ci=False))
def test_without_the_middleware_a_slow_client_does_what_the_table_says(
    product: Server, site: dict[str, str], observer: Observer
) -> None:
    with Running(product, site, bare=True) as running:
        running.start()
        with SlowClient(running.port, 7) as client:
            if product.keeps:
                until(lambda: client.size > 1_000_000, 10, "the client reads")
                held = running.held()
                assert client.reading
                assert held == 1
            else:
                until(lambda: client.size, 10, "the client reads")
                until(lambda: running.held() == 0, 2, "the lease has ended")
                assert client.reading
            client.hang_up()
        until(lambda: running.held() == 0, 5, "the lease has ended")
        ends_well(observer, running)


@pytest.mark.parametrize("product", parameters(WITH_REQUESTS, in_ci=False))
def test_with_the_default_lease_a_slow_client_holds_no_session_without_the_middleware(
    product: Server, site: dict[str, str], observer: Observer
) -> None:
    with Running(product, site, bare=True, lease="transaction") as running:
        running.start()
        with SlowClient(running.port, 7) as client:
            until(lambda: client.size, 10, "the client reads")
            until(lambda: running.held() == 0, 2, "the lease has ended")
            assert client.reading
            client.hang_up()
        ends_well(observer, running)


@pytest.mark.parametrize("product", parameters([one for one in SERVERS if one.reload]))
def test_while_workers_are_replaced_under_load_every_answer_is_right(
    product: Server, site: dict[str, str], observer: Observer
) -> None:
    """There may be twice as many processes meanwhile."""
    with Running(product, site) as running:
        with within_limits(observer, running, times=2):
            running.start()
            right([ask(running.port, "read", n) for n in range(8)])
            before = running.pids()
            told = len(running.told())
            with in_thread(lambda: load(running.port, how=ask_again)) as loaded:
                until(lambda: len(running.told()) > told, 10, "the load has begun")
                running.reload()
            right(loaded.value)
            until(lambda: all_are_new(running, before), 30, "all workers have been replaced")
        rows_are_right(observer, WRITTEN)
        ends_well(observer, running)


@pytest.mark.parametrize("bare", [False, True], ids=["as the table says", "without"])
@pytest.mark.parametrize("product", parameters([one for one in SERVERS if one.websocket]))
def test_a_consumer_holds_no_session_between_two_messages(
    product: Server, bare: bool, site: dict[str, str], observer: Observer
) -> None:
    from websockets.sync.client import connect

    with Running(product, site, bare=bare) as running:
        running.start()
        with connect(f"ws://127.0.0.1:{running.port}/answers") as socket:
            socket.send(json.dumps(["read", 7]))
            socket.recv()
            if bare:
                until(lambda: running.held() == 1, 2, "the lease has begun")
                stays(lambda: running.held() == 1, 1, "the lease is kept")
            else:
                until(lambda: running.held() == 0, 2, "the lease has ended")
        ends_well(observer, running)
