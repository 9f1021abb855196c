"""The proxy does what it says, with a server that answers each line with the same line."""

from __future__ import annotations

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.faults.proxy import Answer, Proxy, Way
from tests.helpers import HANG

SHORT = 0.1  # seconds in which nothing comes


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        server: Any = self.server
        with contextlib.suppress(ConnectionError):
            for line in self.rfile:
                server.heard.append(line)
                self.wfile.write(server.prefix + line)


@contextlib.contextmanager
def echo(prefix: bytes = b"") -> Iterator[Any]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        server.prefix, server.heard = prefix, []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        host, port = server.server_address[:2]
        yield SimpleNamespace(host=host, port=port, heard=server.heard)  # type: ignore[attr-defined]
        server.shutdown()
        thread.join(HANG)


@pytest.fixture
def server() -> Iterator[Any]:
    with echo() as server:
        yield server


@pytest.fixture
def proxy(server: Any) -> Iterator[Proxy]:
    with Proxy(server) as proxy:
        yield proxy


@contextlib.contextmanager
def connected(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection((proxy.host, proxy.port), timeout=HANG) as client:
        yield client


def told(client: socket.socket, text: bytes = b"hello\n") -> bytes:
    client.sendall(text)
    return heard(client, len(text))


def heard(client: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size and (more := client.recv(size - len(found))):
        found += more
    return found


def assert_silent(client: socket.socket) -> None:
    client.settimeout(SHORT)
    with pytest.raises(TimeoutError):
        client.recv(1)
    client.settimeout(HANG)


def test_it_passes_on_what_is_said(proxy: Proxy) -> None:
    with connected(proxy) as one, connected(proxy) as other:
        assert told(one, b"x" * 300_000 + b"\n") == b"x" * 300_000 + b"\n"
        assert told(other) == b"hello\n"
        assert proxy.links == 2


def test_a_stall_delivers_later(proxy: Proxy) -> None:
    with connected(proxy) as client:
        with proxy.stalled():
            client.sendall(b"hello\n")
            assert_silent(client)
        assert heard(client, 6) == b"hello\n"


def test_a_cut_closes_and_the_next_connection_works(proxy: Proxy) -> None:
    with connected(proxy) as client:
        assert told(client) == b"hello\n"
        proxy.cut()
        assert client.recv(1) == b""
        assert proxy.links == 0
    with connected(proxy) as client:
        assert told(client) == b"hello\n"


def test_a_cut_may_be_a_reset(proxy: Proxy) -> None:
    with connected(proxy) as client:
        assert told(client) == b"hello\n"
        proxy.cut(reset=True)
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_muted_answer_never_comes(proxy: Proxy, server: Any) -> None:
    with connected(proxy) as client:
        proxy.mute(Way.TO_CLIENT)
        client.sendall(b"lost\n")
        assert_silent(client)
        assert server.heard == [b"lost\n"]
        proxy.speak()
        assert told(client) == b"hello\n"


def test_a_muted_request_never_arrives(proxy: Proxy, server: Any) -> None:
    with connected(proxy) as client:
        proxy.mute(Way.TO_SERVER)
        client.sendall(b"lost\n")
        assert_silent(client)
        assert server.heard == []


def test_a_forgotten_connection_is_mute_and_a_new_one_is_not(proxy: Proxy) -> None:
    with connected(proxy) as client:
        assert told(client) == b"hello\n"
        proxy.forget()
        client.sendall(b"lost\n")
        assert_silent(client)
        with connected(proxy) as other:
            assert told(other) == b"hello\n"


def test_a_drip_comes_byte_by_byte(proxy: Proxy) -> None:
    with connected(proxy) as client:
        assert told(client) == b"hello\n"
        proxy.drip(0.005)
        started = time.monotonic()
        assert told(client) == b"hello\n"
        assert (
            time.monotonic() - started >= 10 * 0.005
        )  # six bytes there, six back, five pauses each


def test_who_is_refused_is_let_in_again_at_the_same_address(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError), connected(proxy):
            pass
        assert told(client) == b"hello\n"
    proxy.accept()
    with connected(proxy) as client:
        assert told(client) == b"hello\n"


def test_it_leads_elsewhere(proxy: Proxy) -> None:
    with echo(b"elsewhere ") as other, connected(proxy) as before:
        assert told(before) == b"hello\n"
        proxy.lead_to(other)
        with connected(proxy) as client:
            client.sendall(b"hello\n")
            assert heard(client, 16) == b"elsewhere hello\n"
        assert told(before) == b"hello\n"


def test_an_answer_is_lost_after_the_request_went_through(proxy: Proxy, server: Any) -> None:
    with connected(proxy) as client:
        loss = proxy.lose_answer(b"COMMIT")
        assert told(client) == b"hello\n"
        client.sendall(b"COMMIT\n")
        assert client.recv(1) == b""
        assert loss.came.is_set()
        assert server.heard == [b"hello\n", b"COMMIT\n"]


def test_an_answer_is_held_and_then_changed(proxy: Proxy) -> None:
    with connected(proxy) as client:
        answer = proxy.answer(Answer(b"hello", keep=2, instead=b"??", close=False), hold=True)
        client.sendall(b"hello\n")
        assert answer.came.wait(HANG)
        assert_silent(client)
        answer.go.set()
        assert heard(client, 4) == b"he??"
        assert told(client) == b"hello\n"


def test_the_greeting_is_anything_or_nothing(proxy: Proxy, server: Any) -> None:
    proxy.greet(b"what")
    with connected(proxy) as client:
        assert heard(client, 4) == b"what"
        client.sendall(b"hello\n")
        assert_silent(client)
    proxy.greet(b"")
    with connected(proxy) as client:
        assert_silent(client)
    assert server.heard == []
    proxy.greet(None)
    with connected(proxy) as client:
        assert told(client) == b"hello\n"


def test_it_closes_a_quiet_connection_where_it_has_a_client_timeout(server: Any) -> None:
    with Proxy(server, client_timeout=SHORT) as proxy, connected(proxy) as client:
        assert told(client) == b"hello\n"
        assert client.recv(1) == b""


def test_where_the_server_is_gone_the_client_is_hung_up_on(proxy: Proxy) -> None:
    with echo() as gone:
        proxy.lead_to(gone)
    with connected(proxy) as client:
        assert client.recv(1) == b""
