"""A wire looks at its socket, and leaves all that arrives to the driver."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from mysqlpool.session import sockets
from mysqlpool.session.wire import NO_ANSWER, Wire
from tests.helpers import HANG

OK = b"\x07\x00\x00\x01\x00\x00\x00\x02\x00\x00\x00"
TICKET = b"\x17\x03\x03\x00\x04abcd"
RECORD = b"\x17\x03\x03\x00\x06secret"

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture(params=["as the system has it", "by select and by addresses"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ends]:
    """Both ends of a TCP connection, for both ways of looking at one."""
    if request.param == "by select and by addresses":
        monkeypatch.setattr(sockets, "watch", sockets.SelectWatch)
        monkeypatch.setattr(sockets, "way_to_tell", lambda number: sockets.addresses)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ours = socket.create_connection(listening.getsockname())
        theirs, _ = listening.accept()
    with ours, theirs:
        yield ours, theirs


def awaited(wire: Wire, *, before: int = 0, seconds: float = HANG) -> str | None:
    return wire.await_answer(before, time.monotonic() + seconds, compressed=False)


def test_a_whole_answer_can_be_read_and_stays_there(ends: Ends) -> None:
    ours, theirs = ends
    wire = Wire(ours.fileno())
    theirs.sendall(OK)
    assert awaited(wire) is None
    assert wire.unread() == len(OK)
    assert ours.recv(100) == OK


def test_a_half_answer_is_none_until_the_rest_is_there(ends: Ends) -> None:
    ours, theirs = ends
    wire = Wire(ours.fileno())
    theirs.sendall(OK[:-1])
    assert awaited(wire, seconds=0.05) == NO_ANSWER
    rest = threading.Timer(0.05, theirs.sendall, [OK[-1:]])
    rest.start()
    assert awaited(wire) is None
    rest.join()
    assert ours.recv(100) == OK


def test_silence_is_no_answer(ends: Ends) -> None:
    wire = Wire(ends[0].fileno())
    assert wire.unread() == 0
    assert awaited(wire, seconds=0.01) == NO_ANSWER
    assert awaited(wire, seconds=-1) == NO_ANSWER


def test_a_ticket_that_was_there_is_no_answer_and_a_record_is(ends: Ends) -> None:
    ours, theirs = ends
    wire = Wire(ours.fileno())
    theirs.sendall(TICKET)
    assert wire.watch.poll(HANG * 1000)
    assert wire.has_tls_record()
    before = wire.unread()
    assert awaited(wire, before=before, seconds=0.01) == NO_ANSWER
    theirs.sendall(RECORD)
    assert awaited(wire, before=before) is None


def test_what_looks_like_tls_and_goes_on_otherwise_is_garbage(ends: Ends) -> None:
    ours, theirs = ends
    theirs.sendall(TICKET + b"no record")
    assert awaited(Wire(ours.fileno())) == "garbage"


def test_the_end_of_a_connection_is_left_to_the_driver_to_tell(ends: Ends) -> None:
    ours, theirs = ends
    wire = Wire(ours.fileno())
    theirs.close()
    assert awaited(wire) is None
    assert not wire.has_tls_record()
    assert wire.unread() == 0


def test_another_file_with_the_number_is_not_the_socket(ends: Ends) -> None:
    ours, _ = ends
    wire = Wire(ours.fileno())
    assert wire.is_there()
    ours.close()
    assert not wire.is_there()
    others: list[socket.socket] = []
    while wire.number not in [other.fileno() for other in others]:
        others.append(socket.socket())  # The lowest free number is taken first.
    assert not wire.is_there()
    for other in others:
        other.close()
