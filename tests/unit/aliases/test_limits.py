"""A call of the client library that has no limit of time gets one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

import mysqlpool.pool.caretaker
import mysqlpool.pool.clock
from mysqlpool.aliases.limits import Limit, Limits
from tests.fake_driver import FakeClock, fake_time
from tests.helpers import HANG

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeClock]:
    """Time stands still, and the caretaker watches nothing: the tests are in its place."""
    with fake_time() as clock:
        monkeypatch.setattr(mysqlpool.pool.caretaker, "watch", lambda one: None)
        yield clock


def test_a_call_that_waits_too_long_comes_back(pair: Pair) -> None:
    """By the caretaker's own thread."""
    ours, _ = pair
    ours.settimeout(HANG)
    with pytest.raises(TimeoutError) as raised, Limit(Limits("x"), ours.fileno(), 0.05):
        assert ours.recv(1) == b""
        raise ConnectionError("as the library says")
    assert isinstance(raised.value.__cause__, ConnectionError)


def test_what_ends_in_time_leaves_the_connection_alone(pair: Pair, clock: FakeClock) -> None:
    ours, theirs = pair
    limits = Limits("x")
    with Limit(limits, ours.fileno(), 5):
        clock.advance(4)
        limits.tidy(clock.now)
    assert limits.next_look() == float("inf")
    clock.advance(10)
    limits.tidy(clock.now)
    theirs.send(b"x")
    assert ours.recv(1) == b"x"


def test_a_block_that_ends_after_its_time_raises_all_the_same(pair: Pair, clock: FakeClock) -> None:
    ours, theirs = pair
    limits = Limits("x")
    with pytest.raises(TimeoutError), Limit(limits, ours.fileno(), 5):
        assert limits.next_look() == clock.now + 5
        clock.advance(5)
        limits.tidy(clock.now)
    assert theirs.recv(1) == b""
    assert limits.next_look() == float("inf")


def test_an_interruption_is_not_hidden(pair: Pair, clock: FakeClock) -> None:
    ours, _ = pair
    limits = Limits("x")
    with pytest.raises(KeyboardInterrupt), Limit(limits, ours.fileno(), 5):
        clock.advance(5)
        limits.tidy(clock.now)
        raise KeyboardInterrupt


def test_an_error_of_its_own_time_is_the_blocks(pair: Pair, clock: FakeClock) -> None:
    with pytest.raises(ZeroDivisionError), Limit(Limits("x"), pair[0].fileno(), 5):
        raise ZeroDivisionError


def test_only_those_whose_time_is_over_are_ended(clock: FakeClock) -> None:
    limits = Limits("x")
    first, second = socket.socketpair(), socket.socketpair()
    try:
        short: Any = Limit(limits, first[0].fileno(), 1)
        with Limit(limits, second[0].fileno(), 9), pytest.raises(TimeoutError), short:
            clock.advance(2)
            limits.tidy(clock.now)
            assert first[1].recv(1) == b""
            assert limits.next_look() == clock.now + 7
        second[1].send(b"x")
        assert second[0].recv(1) == b"x"
    finally:
        for one in (*first, *second):
            one.close()


def test_a_socket_that_is_gone_is_an_error(pair: Pair, clock: FakeClock) -> None:
    number = pair[0].fileno()
    pair[0].close()
    limits = Limits("x")
    with pytest.raises(OSError, match="Bad file"), Limit(limits, number, 5):
        pass
    assert limits.next_look() == float("inf")


def test_no_duplicate_is_left_open(pair: Pair, clock: FakeClock) -> None:
    ours, theirs = pair
    with Limit(Limits("x"), ours.fileno(), 5):
        pass
    ours.close()
    assert theirs.recv(1) == b""


def test_an_interruption_before_the_block_begins_leaves_no_limit_and_no_socket(
    pair: Pair, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = pair

    def interrupt(one: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(mysqlpool.pool.caretaker, "watch", interrupt)
    limits = Limits("x")
    limit = Limit(limits, ours.fileno(), 5)
    with pytest.raises(KeyboardInterrupt), limit:
        raise AssertionError("it begins")
    assert limits.next_look() == float("inf")
    assert limit._socket.fileno() == -1
    theirs.send(b"x")
    assert ours.recv(1) == b"x"


def test_a_block_that_ends_as_its_time_is_found_to_be_over_is_left_alone(
    pair: Pair, clock: FakeClock
) -> None:
    """The caretaker has seen its limit just before the block took it away."""
    ours, theirs = pair
    with (limit := Limit(Limits("x"), ours.fileno(), 5)):
        pass
    limit.enforce()
    theirs.send(b"x")
    assert ours.recv(1) == b"x"
