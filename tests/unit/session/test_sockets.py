"""Looking at a socket, in both ways, without reading from it or waiting for it."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mysqlpool.session import sockets
from tests import other_system
from tests.helpers import HANG, ROOT

WATCHES = [sockets.watch, sockets.SelectWatch]

WAYS_TO_TELL = [sockets.inode, sockets.addresses]


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    with ours, theirs:
        yield ours, theirs


Pair = tuple[socket.socket, socket.socket]


@pytest.mark.parametrize("watch", WATCHES)
def test_a_socket_is_readable_when_there_is_something_or_it_was_closed(
    pair: Pair, watch: Any
) -> None:
    ours, theirs = pair
    watched = watch(ours.fileno())
    assert not watched.poll(0)
    assert not watched.poll(1)
    theirs.sendall(b"x")
    assert watched.poll(HANG * 1000)
    ours.recv(1)
    assert not watched.poll(0)
    theirs.close()
    assert watched.poll(HANG * 1000)
    ours.close()
    assert watched.poll(0)


def test_a_look_tells_what_a_poll_does(pair: Pair) -> None:
    ours, theirs = pair
    look, watched = sockets.look(ours.fileno()), sockets.watch(ours.fileno())

    def seen() -> bool:
        assert bool(look()) is bool(watched.poll(0))
        return bool(look())

    assert not seen()
    theirs.sendall(b"x")
    assert watched.poll(HANG * 1000)
    assert seen()
    ours.recv(1)
    assert not seen()
    theirs.close()
    assert watched.poll(HANG * 1000)
    assert seen()
    ours.close()
    assert seen()


def test_a_look_lets_no_other_thread_go_first(pair: Pair) -> None:
    """Else each lease would cost a change of threads, where several are at work."""
    if other_system.is_hidden() or not getattr(sys, "_is_gil_enabled", lambda: True)():
        pytest.skip("there is no poll(), or no lock of the interpreter's")
    look, gate, ran = sockets.look(pair[0].fileno()), threading.Lock(), threading.Event()

    def work() -> None:
        with gate:
            ran.set()

    worker = threading.Thread(target=work)
    interval = sys.getswitchinterval()
    with gate:
        worker.start()
        sys.setswitchinterval(HANG)  # The interpreter's lock is only given up, and not taken away.
    try:
        until = time.monotonic() + 0.05
        while time.monotonic() < until:
            pass  # By then the worker waits for it.
        for _ in range(100):
            look()
        assert not ran.is_set()
    finally:
        sys.setswitchinterval(interval)
        worker.join(HANG)
    assert ran.is_set()


def test_without_the_librarys_poll_a_look_is_a_poll(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sockets, "_poll", None)
    look = sockets.look(pair[0].fileno())
    assert not look()
    pair[1].sendall(b"x")
    assert sockets.watch(pair[0].fileno()).poll(HANG * 1000)
    assert look()


def test_a_python_without_ctypes_can_look_all_the_same(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was built where libffi's headers are not."""
    monkeypatch.setitem(sys.modules, "ctypes", None)
    assert sockets._poll_of_the_library() is None
    code = "import sys; sys.modules['_ctypes'] = None; import mysqlpool.session.sockets as s; "
    code += "assert s._poll is None"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_number_that_select_does_not_take_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="out of range"):
        sockets.SelectWatch(1 << 20)


@pytest.mark.parametrize("tell", WAYS_TO_TELL)
def test_a_socket_is_told_from_others_and_from_what_is_none(pair: Pair, tell: Any) -> None:
    if other_system.is_hidden() and tell is sockets.inode:
        assert tell(pair[0].fileno()) is None
        return
    ours, theirs = pair
    identity = tell(ours.fileno())
    assert identity is not None
    assert tell(ours.fileno()) == identity
    assert tell(theirs.fileno()) not in (identity, None)
    number = ours.fileno()
    ours.close()
    assert tell(number) is None
    reader, writer = os.pipe()
    try:
        assert tell(reader) is None
    finally:
        os.close(reader)
        os.close(writer)


def test_the_certain_way_is_taken_where_the_system_has_it(pair: Pair) -> None:
    number = pair[0].fileno()
    hidden = other_system.is_hidden()
    assert sockets.way_to_tell(number) is (sockets.addresses if hidden else sockets.inode)
    assert isinstance(sockets.watch(number), sockets.SelectWatch) is hidden
    assert hasattr(select, "poll") is hasattr(os, "register_at_fork") is not hidden


def test_what_was_looked_at_is_still_there_and_nothing_is_waited_for(pair: Pair) -> None:
    ours, theirs = pair
    assert sockets.peek(ours.fileno(), 2) == b""
    theirs.sendall(b"abc")
    assert sockets.watch(ours.fileno()).poll(HANG * 1000)
    assert sockets.peek(ours.fileno(), 2) == b"ab"
    assert ours.recv(3) == b"abc"
    theirs.close()
    assert sockets.watch(ours.fileno()).poll(HANG * 1000)
    assert sockets.peek(ours.fileno(), 2) == b""


def test_looking_leaves_no_duplicate_behind(pair: Pair) -> None:
    reader, writer = os.pipe()
    try:
        free = _next_number()
        for number in (pair[0].fileno(), reader):
            sockets.addresses(number)
            sockets.peek(number, 2)
        assert _next_number() == free
    finally:
        os.close(reader)
        os.close(writer)


def _next_number() -> int:
    with open(os.devnull) as file:
        return file.fileno()


def test_a_default_timeout_does_not_make_the_drivers_socket_non_blocking(pair: Pair) -> None:
    ours, _ = pair
    socket.setdefaulttimeout(HANG)
    try:
        sockets.addresses(ours.fileno())
        sockets.peek(ours.fileno(), 2)
    finally:
        socket.setdefaulttimeout(None)
    assert os.get_blocking(ours.fileno())


def test_the_own_port_is_known_while_there_is_a_connection(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    """Of a Unix socket it is 0, which is no port."""
    ours, theirs = pair
    number = ours.fileno()
    assert sockets.own_port(number) == theirs.getpeername()[1]
    unix, other = socket.socketpair()
    with unix, other:
        assert sockets.own_port(unix.fileno()) == 0
    ours.close()
    assert sockets.own_port(number) is None
