"""What is made of a server's list of sessions, and of what it tells and refuses."""

from __future__ import annotations

import logging
import threading

import pytest
from django.db import DatabaseError

from mysqlpool.management.census import _LISTS, Census, Group, address, grouped, told, unlogged
from mysqlpool.management.census import _listed as listed

GROUPS = (Group("app", "web", 8, 1, 3), Group("cron", "web", 2, 0, 0))


def census(**changes: int) -> Census:
    given = {"connected": 10, "peak": 12, "limit": 20, "user_limit": 0, **changes}
    return Census("10.11.19-MariaDB", "app@web", sees_all=True, groups=GROUPS, **given)


def test_sessions_are_counted_by_user_and_host_the_most_first() -> None:
    rows = [
        ("app", "web:50001", "Sleep", 900),
        ("app", "web:50002", "Query", 3),
        ("app", "localhost", "Sleep", 1),
        ("app", "::1:50003", "Sleep", None),
        ("cron", "web:50004", "Execute", 7),
        ("app", "web:50005", "Query", 1),
    ]
    assert grouped(rows) == (
        Group("app", "web", 3, 2, 3),
        Group("app", "::1", 1, 0, 0),
        Group("app", "localhost", 1, 0, 0),
        Group("cron", "web", 1, 1, 7),
    )


class Lists:
    """A cursor on a server whose lists of sessions have these rows, and refuses the others."""

    def __init__(self, *rows: list[tuple[int, str]] | None) -> None:
        self.rows = dict(zip(_LISTS, rows, strict=True))
        self.found: list[tuple[int, str]] = []

    def execute(self, sql: str) -> None:
        found = self.rows[sql.rpartition(" ")[2]]
        if found is None:
            raise DatabaseError(1142, "SELECT command denied")
        self.found = found

    def fetchall(self) -> list[tuple[int, str]]:
        return self.found


def test_the_first_list_of_sessions_that_has_the_own_one_is_taken() -> None:
    """The other one is of a server that keeps it empty, or does not know it."""
    own, others = (7, "app"), (8, "cron")
    assert listed(Lists([own], [own, others]), 7, "9.7.4") == [own]
    assert listed(Lists([], [own, others]), 7, "9.7.4") == [own, others]
    assert listed(Lists(None, [own]), 7, "9.7.4") == [own]
    assert listed(Lists(None, [own]), 7, "10.11.19-MariaDB") == [own]
    assert listed(Lists([], [others]), 7, "9.7.4") == [others]
    with pytest.raises(DatabaseError, match="denied"):
        listed(Lists([], None), 7, "9.7.4")


def test_the_servers_own_threads_are_no_sessions() -> None:
    rows = [
        ("system user", "", "Daemon", None),
        ("event_scheduler", "localhost", "Daemon", 5),
        ("system user", None, "Slave_IO", 5),
        ("repl", "replica:50001", "Binlog Dump", 5),
    ]
    assert grouped(rows) == (Group("repl", "replica", 1, 1, 5),)


@pytest.mark.parametrize(
    ("changes", "room"),
    [
        ({}, 10),
        ({"connected": 25}, 0),
        ({"user_limit": 9}, 1),
        ({"user_limit": 5}, 0),
        ({"user_limit": 100}, 10),
    ],
)
def test_the_room_is_the_lesser_of_the_servers_and_the_accounts(
    changes: dict[str, int], room: int
) -> None:
    assert census(**changes).room == room


def test_the_product_is_told_by_name_and_number() -> None:
    assert census().product == "MariaDB 10.11.19"
    assert Census("9.7.4-2", "", 0, 0, 0, 0, None, ()).product == "MySQL 9.7.4"


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"HOST": "db", "PORT": "3307"}, "db:3307"),
        ({"HOST": "db", "PORT": ""}, "db"),
        ({"HOST": "", "PORT": ""}, "localhost"),
        ({"HOST": "/run/mysqld.sock", "PORT": "3306"}, "/run/mysqld.sock"),
        ({"HOST": ["db1", "db2:3307"], "PORT": ""}, "db1, db2:3307"),
        ({"HOST": "db", "PORT": "", "OPTIONS": {"unix_socket": "/s"}}, "/s"),
        ({"HOST": "", "OPTIONS": {"read_default_file": "/my.cnf"}}, "/my.cnf"),
    ],
)
def test_a_server_is_named_in_the_words_of_the_settings(
    settings: dict[str, object], text: str
) -> None:
    assert address(settings) == text


@pytest.mark.parametrize(
    "settings", [{"PASSWORD": "sesam"}, {"OPTIONS": {"passwd": "sesam"}}, {"PASSWORD": len}]
)
def test_an_error_is_one_line_without_the_password(settings: dict[str, object]) -> None:
    text = told(ValueError(1045, "denied with open \nat a place"), settings)
    assert text == "ValueError: 1045: denied with open"
    if settings["PASSWORD" if "PASSWORD" in settings else "OPTIONS"] is not len:
        assert "sesam" not in told(ValueError("it is sesam"), settings)
    assert told(KeyError(), settings) == "KeyError: no reason is told"


def test_only_this_threads_statements_are_unlogged(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("django.db.backends")
    caplog.set_level("DEBUG", "django.db.backends")

    def speak(text: str) -> None:
        logger.debug(text)

    with unlogged():
        speak("own")
        other = threading.Thread(target=speak, args=["another's"])
        other.start()
        other.join()
        logging.getLogger("mysqlpool").warning("of another logger")
    speak("after")
    assert caplog.messages == ["another's", "of another logger", "after"]
