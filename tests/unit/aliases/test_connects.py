"""What the log is told of connects that fail, of servers that are away, and of demoted ones."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import MySQLdb
import pytest

from mysqlpool.aliases.connects import Connects, safe_text
from mysqlpool.session.failures import Failure
from tests.fake_driver import FakeClock, fake_time

A, B, SOCKET = ("a", 3306), ("::1", 3307), "/run/server.sock"
PARAMS = {"user": "app", "host": "db.example", "database": "shop"}
Told = Callable[..., list[tuple[str, str, dict[str, Any]]]]


@pytest.fixture
def clock() -> Iterator[FakeClock]:
    with fake_time() as clock:
        yield clock


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> Told:
    """Level, name and particulars of each event since the last question, of these names."""
    caplog.set_level(logging.DEBUG, "mysqlpool")

    def events(*names: str) -> list[tuple[str, str, dict[str, Any]]]:
        found = [(r.levelname, vars(r)["event"], vars(r)["fields"]) for r in caplog.records]
        caplog.clear()
        return [one for one in found if one[1] in names or not names]

    return events


@pytest.fixture
def connects() -> Connects:
    return Connects("default", waits=True)


def fails(errno: int, text: str = "no") -> Callable[[], Any]:
    def connect() -> Any:
        raise MySQLdb.OperationalError(errno, text)

    return connect


def works() -> Any:
    return object()


def connect(connects: Connects, outcome: Callable[[], Any], server: Any = A) -> None:
    with contextlib.suppress(MySQLdb.Error):
        connects.by(PARAMS, lambda: connects.to(server, outcome))


class TestOutages:
    @pytest.mark.parametrize("errno", [2002, 2003, 2005, 2006, 2012, 2013, 1053])
    def test_one_is_told_as_it_begins_and_as_it_ends_with_its_time_and_number(
        self, errno: int, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        def slowly() -> Any:
            clock.advance(2)
            fails(errno)()

        connect(connects, slowly)
        assert told("outage_began") == [
            ("WARNING", "outage_began", {"server": "a:3306", "errno": errno, "left_out": 0})
        ]
        for _ in range(9):
            clock.advance(1)
            connect(connects, fails(errno))
        assert told("outage_began", "outage_ended") == []
        clock.advance(0.5)
        connect(connects, works)
        connect(connects, works)
        fields = {"server": "a:3306", "seconds": 11.5, "failed": 10}
        assert told("outage_began", "outage_ended") == [("INFO", "outage_ended", fields)]

    def test_the_next_one_is_told_of_again(
        self, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        for _ in range(2):
            connect(connects, fails(2003))
            connect(connects, works)
            clock.advance(60)
        names = [name for _, name, _ in told("outage_began", "outage_ended")]
        assert names == ["outage_began", "outage_ended"] * 2

    def test_of_a_server_that_comes_and_goes_one_a_minute_is_told_of_with_its_end(
        self, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        for _ in range(100):
            connect(connects, fails(2003))
            clock.advance(1)
            connect(connects, works)
            clock.advance(1)
        found = told("outage_began", "outage_ended")
        assert [name for _, name, _ in found] == ["outage_began", "outage_ended"] * 4
        assert [fields["left_out"] for _, _, fields in found[::2]] == [0, 29, 29, 29]
        connect(connects, fails(2003), B)
        assert len(told("outage_began")) == 1, "each server has its minute"

    def test_one_that_goes_on_is_told_of_when_the_minute_is_over(
        self, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        for outcome in (fails(2003), works, fails(2003), works, fails(2003)):
            connect(connects, outcome)
        assert len(told("outage_began", "outage_ended")) == 2
        for _ in range(90):
            clock.advance(1)
            connect(connects, fails(2003))
        connect(connects, works)
        (_, began, first), (_, ended, last) = told("outage_began", "outage_ended")
        assert (began, first["left_out"]) == ("outage_began", 1)
        assert (ended, last["seconds"], last["failed"]) == ("outage_ended", 90, 91)

    @pytest.mark.parametrize("errno", [1045, 1049, 1040, 1203, 2026, 2059, 1129])
    def test_what_a_server_says_of_its_client_is_none(
        self, errno: int, connects: Connects, told: Told
    ) -> None:
        connect(connects, fails(errno))
        connect(connects, works)
        assert told("outage_began", "outage_ended") == []

    def test_it_does_not_end_before_a_connect_succeeds(
        self, connects: Connects, told: Told
    ) -> None:
        for errno in (2003, 1040, 1045, 2003):
            connect(connects, fails(errno))
        assert [name for _, name, _ in told("outage_began", "outage_ended")] == ["outage_began"]

    def test_each_server_has_its_own(self, connects: Connects, told: Told) -> None:
        for server in (A, B, SOCKET, A):
            connect(connects, fails(2002), server)
        connect(connects, works, B)
        found = [
            (name, fields["server"]) for _, name, fields in told("outage_began", "outage_ended")
        ]
        assert found == [
            ("outage_began", "a:3306"),
            ("outage_began", "[::1]:3307"),
            ("outage_began", "/run/server.sock"),
            ("outage_ended", "[::1]:3307"),
        ]

    def test_each_alias_tells_of_it(self, told: Told) -> None:
        for alias in ("default", "other"):
            connect(Connects(alias, waits=True), fails(2003))
        assert len(told("outage_began")) == 2


class TestFailures:
    def test_one_is_told_with_particulars_that_are_safe(
        self, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        def slowly() -> Any:
            clock.advance(1.5)
            fails(1045, "Access denied for user 'app'@'10.0.0.7' (using password: YES)")()

        connect(connects, slowly)
        [(level, name, fields)] = told()
        assert (level, name) == ("WARNING", "connect_failed")
        assert fields == {
            "error": "OperationalError",
            "errno": 1045,
            "message": "Access denied for user '...' (using password: YES)",
            "seconds": 1.5,
            "left_out": 0,
        }

    def test_it_is_told_once_a_second(
        self, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        for _ in range(25):
            connect(connects, fails(1045))
            clock.advance(0.125)
        assert [fields["left_out"] for _, _, fields in told("connect_failed")] == [0, 7, 7, 7]

    def test_one_that_is_told_in_detail_takes_no_place_of_a_warning(
        self, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        connect(connects, fails(2003))
        clock.advance(2)
        connect(connects, fails(2003))
        connect(connects, fails(1045))
        levels = [(level, fields["errno"]) for level, _, fields in told("connect_failed")]
        assert levels == [("WARNING", 2003), ("DEBUG", 2003), ("WARNING", 1045)]

    def test_amid_an_outage_only_the_first_is_a_warning(
        self, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        for outcome in (fails(2003), fails(2003), fails(1045), fails(2003), works, fails(2003)):
            connect(connects, outcome)
            clock.advance(2)
        levels = [level for level, _, _ in told("connect_failed")]
        assert levels == ["WARNING", "DEBUG", "WARNING", "WARNING", "WARNING"]

    def test_an_error_of_an_applications_own_is_told_by_its_class_alone(
        self, connects: Connects, told: Told
    ) -> None:
        def connect_args() -> Any:
            raise KeyError("token=secret")

        with pytest.raises(KeyError):
            connects.by(PARAMS, connect_args)
        [(_, name, fields)] = told()
        assert (name, fields["error"], fields["errno"], fields["message"]) == (
            "connect_failed",
            "KeyError",
            None,
            None,
        )

    def test_a_connect_that_an_exit_interrupts_is_no_failure(
        self, connects: Connects, told: Told
    ) -> None:
        def interrupted() -> Any:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            connects.by(PARAMS, lambda: connects.to(A, interrupted))
        assert told() == []

    @pytest.mark.parametrize("args", [(), ("odd",), ([],), (None, None)])
    def test_an_odd_error_of_the_driver_is_raised_as_it_is(
        self, args: tuple[Any, ...], connects: Connects, told: Told
    ) -> None:
        def odd() -> Any:
            raise MySQLdb.InterfaceError(*args)

        with pytest.raises(MySQLdb.InterfaceError):
            connects.by(PARAMS, lambda: connects.to(A, odd))
        assert [name for _, name, _ in told()] == ["connect_failed"]


class TestFullServers:
    @pytest.mark.parametrize(
        ("errno", "text"),
        [
            (1040, "Too many connections"),
            (1203, "User app already has more than 'max_user_connections' active connections"),
            (
                1226,
                "User 'app' has exceeded the 'max_user_connections' resource (current value: 3)",
            ),
        ],
    )
    def test_a_server_without_room_is_told_of_once(
        self, errno: int, text: str, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        for _ in range(20):
            connect(connects, fails(errno, text))
            clock.advance(0.5)
        [(level, name, fields)] = told()
        assert (level, name) == ("WARNING", "server_full")
        assert (fields["errno"], fields["left_out"]) == (errno, 0)
        assert "app" not in fields["message"]

    def test_it_is_told_again_after_there_was_room(
        self, connects: Connects, clock: FakeClock, told: Told
    ) -> None:
        for _ in range(3):
            for outcome in (fails(1040), fails(1040), works):
                connect(connects, outcome)
            clock.advance(0.4)
        assert [fields["left_out"] for _, _, fields in told()] == [0]
        clock.advance(1)
        connect(connects, fails(1040))
        assert [fields["left_out"] for _, _, fields in told()] == [5]

    def test_a_limit_by_the_hour_is_a_failure(self, connects: Connects, told: Told) -> None:
        text = "User 'app' has exceeded the 'max_connections_per_hour' resource"
        connect(connects, fails(1226, text))
        assert [name for _, name, _ in told()] == ["connect_failed"]

    def test_where_nobody_waits_it_is_a_failure_as_well(self, told: Told) -> None:
        connect(Connects("default", waits=False), fails(1040))
        assert [name for _, name, _ in told()] == ["server_full", "connect_failed"]


def test_a_demoted_server_is_told_of_once_a_minute(
    connects: Connects, clock: FakeClock, told: Told
) -> None:
    for server in (A, A, B, A):
        connects.demoted(server, Failure.READ_ONLY)
    clock.advance(61)
    connects.demoted(A, Failure.NOT_READY)
    found = [(level, f["server"], f["reason"], f["left_out"]) for level, _, f in told("demoted")]
    assert found == [
        ("WARNING", "a:3306", "read_only", 0),
        ("WARNING", "[::1]:3307", "read_only", 0),
        ("WARNING", "a:3306", "not_ready", 2),
    ]


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("Can't connect to MySQL server on 'db.example:3306' (111)", "on '...' (111)"),
        ("Can't connect to server on '10.0.0.1' (115)", "server on '...' (115)"),
        ("Unknown MySQL server host 'db.example' (-2)", "host '...' (-2)"),
        ("Unknown server host 'elsewhere' (-3)", "host '...' (-3)"),
        ("Host '10.0.0.7' is blocked because of many errors", "Host '...' is blocked"),
        ("Host 'web.example' is not allowed to connect to this server", "Host '...' is not"),
        ("Access denied for user 'app'@'web' to database 'shop'", "user '...' to database 'shop'"),
        ("Benutzer 'app'@'web' hat keine Zugriffsberechtigung", "Benutzer '...' hat keine"),
        ("Benutzer app hat mehr als 'max_user_connections'", "Benutzer ... hat mehr als"),
        ("Lost connection to server at 'handshake: reading', system error: 104", "'handshake: r"),
        ("Unknown database 'shop'", "Unknown database 'shop'"),
        ("application db.example.com", "application db.example.com"),
    ],
)
def test_neither_account_nor_host_is_in_the_text_of_an_error(text: str, safe: str) -> None:
    found = safe_text(MySQLdb.OperationalError(2003, text), PARAMS)
    assert found is not None
    assert safe in found
    for name in ("app", "db.example", "elsewhere", "10.0.0", "web"):
        assert f"'{name}" not in found


def test_a_syntax_error_does_not_tell_of_the_sql_that_connecting_sends() -> None:
    text = "You have an error in your SQL syntax near 'SETT @key = 'hunter2'' at line 1"
    assert safe_text(MySQLdb.ProgrammingError(1064, text), PARAMS) is None


def test_the_hosts_of_a_list_are_not_in_the_text_either() -> None:
    error = MySQLdb.OperationalError(2003, "db1 is away, db2 too, and db10 is another")
    params = {"host": "db1:3306,db2:3307", "user": None}
    assert safe_text(error, params) == "... is away, ... too, and db10 is another"
