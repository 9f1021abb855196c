"""What has to be sent of a set-up, to a session that carries another one."""

from __future__ import annotations

import pytest

from mysqlpool.session.set_up import Assignment, Recording

A = Assignment(b"SET @a = 1", frozenset({"@a"}))
A2 = Assignment(b"SET @a = 2", frozenset({"@a"}))
B = Assignment(b"SET @b = 1", frozenset({"@b"}))
MODE = Assignment(b"SET sql_mode = 'ANSI_QUOTES'", frozenset({"sql_mode"}))
MODE2 = Assignment(b"SET sql_mode = ''", frozenset({"sql_mode"}))
SELECT = b"SELECT 1"

RENEW = "renew"


def replay(carried: list[Assignment], *texts: Assignment | bytes) -> list[bytes | str]:
    """What is sent, and when the session is renewed, as a session does it."""
    recording = Recording(carried, dict)
    sent: list[bytes | str] = []
    for text in texts:
        sql = text.sql if isinstance(text, Assignment) else text
        if recording.repeats(sql):
            recording.note(recording.pending[0])
            continue
        renews = (
            recording.needs_renewal(text) if isinstance(text, Assignment) else recording.pending
        )
        if renews:
            sent += [RENEW, *(assignment.sql for assignment in recording.said)]
            recording.renewed()
        sent.append(sql)
        if isinstance(text, Assignment):
            recording.note(text)
    if recording.pending:
        sent += [RENEW, *(assignment.sql for assignment in recording.said)]
    return sent


@pytest.mark.parametrize(
    ("carried", "said", "sent"),
    [
        pytest.param([], [A, B], [A.sql, B.sql], id="a new session hears all of it"),
        pytest.param([A, B], [A, B], [], id="what is carried is not sent again"),
        pytest.param([A, B], [A2, B], [A2.sql, B.sql], id="another value, and what follows it"),
        pytest.param([A], [A, B], [B.sql], id="more is said"),
        pytest.param([A, B], [A], [RENEW, A.sql], id="less is said"),
        pytest.param([A, B], [], [RENEW], id="nothing is said"),
        pytest.param([A, B], [B, A], [RENEW, B.sql, A.sql], id="another order"),
        pytest.param([A], [B], [RENEW, B.sql], id="another variable"),
        pytest.param([A, B], [A, SELECT, B], [RENEW, A.sql, SELECT, B.sql], id="a query too early"),
        pytest.param([A, B], [A, B, SELECT], [SELECT], id="a query after all of it"),
        pytest.param([MODE], [MODE], [], id="a mode that is carried"),
        pytest.param([MODE], [MODE2], [RENEW, MODE2.sql], id="a text read in another's mode"),
        pytest.param([A, MODE], [A2, MODE], [RENEW, A2.sql, MODE.sql], id="a value read in it"),
    ],
)
def test_a_session_hears_what_it_does_not_carry(
    carried: list[Assignment], said: list[Assignment | bytes], sent: list[bytes | str]
) -> None:
    assert replay(carried, *said) == sent


def test_what_was_said_is_what_the_next_holder_finds() -> None:
    recording = Recording([A, B], dict)
    for assignment in (A2, B):
        assert not recording.needs_renewal(assignment)
        recording.note(assignment)
    assert recording.said == [A2, B]
    assert not recording.pending
