"""The options by which the system finds out that the other end of a connection is gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from mysqlpool.session import sockets

KEEPALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE)
linux_only = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="this system has no TCP_USER_TIMEOUT"
)


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["4", "6"])
def connected(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family, address = request.param
    with socket.socket(family) as listening:
        try:
            listening.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        listening.listen()
        with socket.create_connection(listening.getsockname()[:2]) as made:
            yield made


def test_keepalive_can_be_switched_on_and_off(connected: socket.socket) -> None:
    for on in (True, False):
        sockets.tune(connected.fileno(), on, None)
        assert bool(connected.getsockopt(*KEEPALIVE)) is on


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPIDLE"), reason="this system has no TCP_KEEPIDLE")
def test_keepalive_asks_sooner_than_the_system_would(connected: socket.socket) -> None:
    sockets.tune(connected.fileno(), True, None)
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
    assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10


@linux_only
@pytest.mark.parametrize(
    ("seconds", "milliseconds"), [(30, 30000), (0.25, 250), (1e-9, 1), (1e9, 2**31 - 1), (None, 0)]
)
def test_the_user_timeout_is_set_in_milliseconds(
    connected: socket.socket, seconds: float | None, milliseconds: int
) -> None:
    sockets.tune(connected.fileno(), True, seconds)
    found = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert found == milliseconds


def test_what_a_system_lacks_is_left_out(
    connected: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        monkeypatch.delattr(socket, name, raising=False)
    sockets.tune(connected.fileno(), True, 30)
    assert connected.getsockopt(*KEEPALIVE)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no Unix sockets")
def test_a_unix_socket_is_left_as_it_is() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        sockets.tune(one.fileno(), True, 30)
        assert not one.getsockopt(*KEEPALIVE)


def test_a_number_that_is_no_socket_is_no_error() -> None:
    with open(__file__, "rb") as file:
        sockets.tune(file.fileno(), True, 30)


def test_the_drivers_socket_stays_open_and_blocking(connected: socket.socket) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(5)
    try:
        sockets.tune(connected.fileno(), True, 30)
    finally:
        socket.setdefaulttimeout(before)
    assert connected.fileno() >= 0
    connected.settimeout(None)
    assert connected.getblocking()
