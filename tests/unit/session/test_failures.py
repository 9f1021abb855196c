"""What an error tells about the session on which it came."""

from __future__ import annotations

import MySQLdb
import pytest

from mysqlpool.pool import cannot_connect, classify_connect_error
from mysqlpool.pool.pool import ABSENT, FULL
from mysqlpool.session.failures import FAILURES, Failure, failure_of

READ_ONLY = "The MySQL server is running with the --super-read-only option so it cannot execute"


def told(number: int, text: str = "", *, mariadb: bool = False, connecting: bool = False) -> object:
    error = MySQLdb.OperationalError(number, text)
    return failure_of(error, mariadb=mariadb, connecting=connecting)


@pytest.mark.parametrize(
    ("number", "mariadb", "failure"),
    [
        (4031, False, Failure.DEAD),
        (4031, True, None),
        (1927, True, Failure.DEAD),
        (3169, False, Failure.DEAD),
        (4151, True, Failure.REFUSED),
        (3118, False, Failure.REFUSED),
        (1205, False, Failure.CONFLICT),
        (1213, True, Failure.CONFLICT),
        (1317, False, Failure.KILLED),
        (1969, True, Failure.KILLED),
        (3024, False, Failure.KILLED),
        (3101, False, Failure.CONFLICT),
        (3100, False, Failure.READ_ONLY),
        (3100, True, None),
        (1062, True, None),
        (1064, False, None),
        (0, False, None),
    ],
)
def test_the_same_number_means_another_thing_on_another_server(
    number: int, mariadb: bool, failure: Failure | None
) -> None:
    assert told(number, mariadb=mariadb) is failure


@pytest.mark.parametrize("number", [2000, 2008, 2014, 2026, 2027, 2032, 2045, 2061, 2999])
def test_after_the_client_librarys_own_errors_nobody_knows_what_comes_next(number: int) -> None:
    failure = told(number)
    assert failure is Failure.OUT_OF_STEP
    assert failure.is_unfit


def test_a_file_that_was_not_sent_leaves_the_protocol_in_step() -> None:
    assert told(2068) is None


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        (READ_ONLY, Failure.READ_ONLY),
        ("El servidor se ejecuta con la opción --read-only", Failure.READ_ONLY),
        ("... running with the --secure-file-priv option so it cannot execute", None),
    ],
)
def test_only_a_read_only_server_is_one(text: str, failure: Failure | None) -> None:
    assert told(1290, text) is failure


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("User 'u' has exceeded the 'max_user_connections' resource (current value: 2)", "FULL"),
        ("User 'u' has exceeded the 'max_connections_per_hour' resource", None),
        ("User 'u' has exceeded the 'max_queries_per_hour' resource", None),
    ],
)
def test_what_does_not_come_free_is_not_full(text: str, failure: str | None) -> None:
    found = told(1226, text, connecting=True)
    assert found is (failure and Failure[failure])


def test_a_node_outside_of_its_cluster_is_told_from_an_unknown_command() -> None:
    wsrep = "WSREP has not yet prepared node for application use"
    assert told(1047, wsrep, mariadb=True) is Failure.NOT_READY
    assert told(1047, "Unknown command") is None


def test_a_commit_on_a_node_outside_of_its_cluster_is_told_from_one_that_is_too_big() -> None:
    """Galera has one number for both; the texts are its own."""
    wsrep = "Error while appending streaming replication fragment(provider status: {})"
    away = wsrep.format("Not connected to Primary Component")
    assert told(1180, away, mariadb=True) is Failure.NOT_READY
    assert told(1180, "Maximum writeset size exceeded", mariadb=True) is None


def test_only_a_deadlock_in_a_commit_leaves_a_session_that_another_try_may_use() -> None:
    deadlock = "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT"
    assert told(1180, deadlock) is Failure.CONFLICT
    assert told(1180, "Got error 28 - 'No space left on device' during COMMIT") is None


@pytest.mark.parametrize("number", [2002, 2003, 2005, 2012])
def test_who_cannot_connect_has_no_session_and_a_proxy_that_says_so_does(number: int) -> None:
    assert told(number, connecting=True) is Failure.CANNOT_CONNECT
    assert told(number) is Failure.OUT_OF_STEP


@pytest.mark.parametrize("number", [2006, 2013, 1053])
def test_a_connection_that_was_lost_as_it_was_made_is_one_that_cannot_be_made(number: int) -> None:
    assert told(number, connecting=True) is Failure.CANNOT_CONNECT
    assert told(number) is Failure.DEAD


@pytest.mark.parametrize("error", [MySQLdb.InterfaceError(0, ""), MySQLdb.InternalError("(0, '')")])
def test_sqlalchemy_knows_a_closed_connection_by_its_text(error: MySQLdb.Error) -> None:
    assert failure_of(error, mariadb=False) is Failure.DEAD


@pytest.mark.parametrize("error", [ValueError("x"), ValueError(), MySQLdb.Error(), OSError(2006)])
def test_other_errors_tell_nothing_and_do_not_fail(error: BaseException) -> None:
    expected = Failure.DEAD if error.args == (2006,) else None
    assert failure_of(error, mariadb=False) is expected


@pytest.mark.parametrize("number", sorted(ABSENT))
def test_the_pool_waits_for_a_server_by_the_same_numbers(number: int) -> None:
    """It knows them itself, as it knows no driver."""
    for mariadb in (False, True):
        failure = told(number, mariadb=mariadb, connecting=True)
        assert failure is Failure.CANNOT_CONNECT or (mariadb and failure is None)
    assert cannot_connect(MySQLdb.OperationalError(number, ""))


@pytest.mark.parametrize("number", sorted(FULL))
@pytest.mark.parametrize("resource", ["max_user_connections", "max_updates_per_hour"])
def test_the_pool_finds_a_server_full_by_the_same_numbers(number: int, resource: str) -> None:
    text = f"User 'max_it' has exceeded the '{resource}' resource (current value: 2)"
    if number != 1226:
        text = "Too many connections"
    error = MySQLdb.OperationalError(number, text)
    found = failure_of(error, mariadb=False, connecting=True)
    assert (classify_connect_error(error) == "full") is (found is Failure.FULL)


def test_every_class_is_fit_or_unfit_on_purpose() -> None:
    fit = {f for f in Failure if not f.is_unfit}
    assert fit == {
        Failure.CANNOT_CONNECT,
        Failure.FULL,
        Failure.REFUSED,
        Failure.CONFLICT,
        Failure.KILLED,
    }
    assert {f for f in Failure if f.is_of_the_server} == {
        Failure.EXPIRED,
        Failure.NOT_READY,
        Failure.READ_ONLY,
    }
    assert all(known.name for entries in FAILURES.values() for known in entries)
