"""Vigils over answers that are awaited, with a socket for the server and a function to ask."""

from __future__ import annotations

import math
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from mysqlpool.aliases import vigils
from mysqlpool.aliases.vigils import KeptVigils
from mysqlpool.scopes import is_scoped
from mysqlpool.session.vigil import Vigil
from tests.helpers import HANG


class Server:
    """Says of a connection what it is told to, and remembers that it was asked."""

    def __init__(self, *answers: bool) -> None:
        self.answers = list(answers)

    def __call__(self, link: Any, port: int) -> bool:
        return self.answers.pop(0)


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(HANG)
        yield ours, theirs


def vigil_over(ours: socket.socket) -> Vigil:
    link: Any = object()
    return Vigil(link, ours.fileno())


def look(kept: KeptVigils, times: int = 1) -> None:
    """As the caretaker does, each time waiting until everybody has been asked."""
    for _ in range(times):
        kept.tidy(kept.next_look())
        for thread in threading.enumerate():
            if thread.name == f"mysqlpool-vigil-{kept.alias}":
                thread.join(HANG)


def test_a_connection_that_is_asleep_twice_is_ended(ends: Any) -> None:
    kept = KeptVigils("a", Server(True, True))
    vigil = vigil_over(ends[0])
    kept.begin(vigil)
    look(kept, 3)
    assert vigil.lost
    assert ends[0].recv(1) == b""


def test_it_has_to_be_asleep_twice_in_a_row(ends: Any) -> None:
    server = Server(True, False, True)
    kept = KeptVigils("a", server)
    vigil = vigil_over(ends[0])
    kept.begin(vigil)
    look(kept, 4)
    assert server.answers == []
    assert not vigil.lost


def test_nobody_is_asked_where_something_has_arrived(ends: Any) -> None:
    kept = KeptVigils("a", Server())
    vigil = vigil_over(ends[0])
    kept.begin(vigil)
    ends[1].send(b"x")
    look(kept, 4)
    assert not vigil.lost


def test_what_arrives_last_of_all_counts(ends: Any) -> None:
    def answer(link: Any, port: int) -> bool:
        ends[1].send(b"x")
        return True

    kept = KeptVigils("a", answer)
    vigil = vigil_over(ends[0])
    vigil.asleep = 1
    kept.begin(vigil)
    look(kept, 2)
    assert vigil.asleep == vigils.ENOUGH
    assert not vigil.lost
    assert ends[0].recv(1) == b"x"


def test_a_short_wait_is_nothing_to_ask_for(ends: Any) -> None:
    """The caretaker has to look no more after that."""
    kept = KeptVigils("a", Server())
    for _ in range(3):
        vigil = vigil_over(ends[0])
        kept.begin(vigil)
        look(kept)
        vigil.is_over = True
        kept.end(vigil)
    look(kept)
    assert kept.next_look() == math.inf


def test_a_vigil_is_over_though_nobody_could_end_it(ends: Any) -> None:
    """A signal handler raised: the connection may be another holder's by now."""
    kept = KeptVigils("a", Server())
    vigil = vigil_over(ends[0])
    kept.begin(vigil)
    look(kept)
    vigil.is_over = True
    vigil.asleep = vigils.ENOUGH
    look(kept)
    vigil.end_connection()
    assert not vigil.lost
    look(kept)
    assert kept.next_look() == math.inf


def test_a_thread_that_cannot_be_started_is_tried_again(
    ends: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server(True, True)
    kept = KeptVigils("a", server)
    vigil = vigil_over(ends[0])
    kept.begin(vigil)
    look(kept)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", _no_more_threads)
        with pytest.raises(RuntimeError):
            look(kept)
    look(kept, 2)
    assert vigil.lost


def _no_more_threads(thread: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


def test_what_is_leased_as_the_server_is_asked_is_given_back(ends: Any) -> None:
    """Also what a handler of the project's leases, as it keeps what is logged in a database."""
    scoped: list[bool] = []

    def ask(link: Any, port: int) -> bool:
        scoped.append(is_scoped())
        return False

    kept = KeptVigils("a", ask)
    kept.begin(vigil_over(ends[0]))
    look(kept, 2)
    assert scoped == [True]
