"""What receivers of connection_created SET is sent once, and always holds."""

from __future__ import annotations

from typing import Any

import pytest

from mysqlpool.session.announcements import Announcements

Statement = tuple[str, Any]


def replay(announcements: Announcements, *statements: Statement) -> list[Statement]:
    """What a lease with these statements really sends."""
    announcements.begin()
    sent = [s for s in statements if not announcements.is_known(*s)]
    return sent + list(announcements.to_repeat())


A, B, C = ("SET a = 1", None), ("SET SESSION b = %s", ["x"]), ("set names utf8mb4", None)


def test_what_is_said_again_in_the_same_order_is_not_sent() -> None:
    announcements = Announcements()
    assert replay(announcements, A, B) == [A, B]
    assert replay(announcements, A, B) == []
    assert replay(announcements, A, ("SET SESSION b = %s", ("x",))) == []


def test_what_differs_is_sent_and_so_is_all_that_follows_it() -> None:
    announcements = Announcements()
    replay(announcements, A, B, C)
    other = ("SET SESSION b = %s", ["y"])
    assert replay(announcements, A, other, C) == [other, C]
    assert replay(announcements, A, other, C) == []
    assert replay(announcements, A, B, C) == [B, C]


def test_where_less_is_said_than_last_time_the_rest_is_said_again() -> None:
    """The last word on a variable may have been among what is missing now."""
    announcements = Announcements()
    replay(announcements, A, ("SET a = 2", None))
    assert replay(announcements, A) == [A]
    assert replay(announcements, A) == []


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "SET @login = 1",
        "SET time_zone = (SELECT 1)",
        "SET x = NOW()",
        "SET timestamp = CURRENT_TIMESTAMP",
        "SET x = utc_date",
        b"SET a = 1",
    ],
)
def test_what_may_mean_something_else_each_time_is_always_sent(query: Any) -> None:
    announcements = Announcements()
    assert replay(announcements, (query, None)) == [(query, None)]
    assert replay(announcements, (query, None)) == [(query, None)]
