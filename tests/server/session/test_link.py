"""A link is whole without what a session adds: it is asked, and knows whether it is alive."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest

from mysqlpool.session.failures import Failure
from mysqlpool.session.link import Link
from mysqlpool.session.session import Session
from mysqlpool.session.wire import Wire
from tests.helpers import HANG


def parameters(server: Any) -> dict[str, Any]:
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
        "autocommit": True,
    }


@pytest.fixture
def link(server: Any) -> Iterator[Link]:
    link = Link(**parameters(server))
    yield link
    with contextlib.suppress(MySQLdb.Error):
        link.close()


def test_a_link_that_is_alive_answers(link: Link) -> None:
    assert link.ask(b"SELECT 7") == "7"
    assert link.check(HANG)
    assert not link.readable()
    assert link.broken is None
    assert link.failure is None


def test_a_killed_link_knows_it_and_so_does_what_is_older(
    link: Link, server: Any, observer: Any
) -> None:
    observer.kill(link.thread_id())
    assert link._wire.watch.poll(HANG * 1000)
    assert link.readable()
    assert not link.check(HANG)
    assert link.broken is not None
    assert link.failure is Failure.DEAD
    younger = Link(**parameters(server))
    try:
        assert link.shares_failure(link)
        assert not link.shares_failure(younger)
    finally:
        younger.close()


def test_an_error_of_a_statement_breaks_no_link(link: Link) -> None:
    with pytest.raises(MySQLdb.ProgrammingError) as caught:
        link.query("SELECT")
    link.note_failure(caught.value)
    assert link.broken is None
    assert link.ask(b"SELECT 7") == "7"


def test_a_link_that_is_connected_anew_is_the_same_object(link: Link, server: Any) -> None:
    link.converter[0] = str
    attributes = vars(link).keys()
    before = link.thread_id()
    link._connect_anew(parameters(server))
    assert link.thread_id() != before
    assert link.converter[0] is str
    assert vars(link).keys() == attributes
    assert link.check(HANG)


def test_what_a_link_knows_is_not_in_its_dict(link: Link, server: Any) -> None:
    """Of the driver's own, that is compared whenever a lease ends."""
    plain = MySQLdb.connect(**parameters(server))
    try:
        assert vars(link).keys() == vars(plain).keys()
    finally:
        plain.close()


def test_a_session_is_not_idle_while_it_asks(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its link is at work then, which is what another thread finds in the frames."""
    session = Session(**parameters(server))
    session.settle()
    idle: list[bool] = []

    def await_answer(wire: Wire, *args: Any, **kwargs: Any) -> str | None:
        idle.append(session.is_idle(sys._getframe()))
        return real(wire, *args, **kwargs)

    real = Wire.await_answer
    monkeypatch.setattr(Wire, "await_answer", await_answer)
    try:
        session.ask(b"SELECT 7")
        assert idle == [False]
        assert session.is_idle(sys._getframe())
    finally:
        session.close()
