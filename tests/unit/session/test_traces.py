"""What a statement left is told from what a later one takes back, and in doubt it stays."""

from __future__ import annotations

import pytest

from mysqlpool.session.traces import Change, Lock, Switch, Traces, Unlock, change_of

OFF, ON = Switch("foreign_key_checks", "0"), Switch("foreign_key_checks", "1")
LOCK, RELEASE, ALL = Lock(b"'a'"), Unlock(b"'a'"), Unlock(None)

CHANGES: dict[str, Change] = {
    "SET foreign_key_checks=0": OFF,  # as Django's wrapper says it
    "SET FOREIGN_KEY_CHECKS = 1;": ON,  # as its flush says it
    "/* why */ set session foreign_key_checks = off -- enough": OFF,
    "SET unique_checks = TRUE": Switch("unique_checks", "1"),
    "SET sql_safe_updates=FALSE": Switch("sql_safe_updates", "0"),
    "SET sql_notes = 0": Switch("sql_notes", "0"),
    "SELECT GET_LOCK('a', 5)": LOCK,
    "select get_lock ( 'a' , -1.5 ) AS got ;": LOCK,
    "DO GET_LOCK('a', 0)": LOCK,
    "SELECT GET_LOCK('A b;`\"@c', 0)": Lock(b"'A b;`\"@c'"),
    "SELECT RELEASE_LOCK('a')": RELEASE,
    "DO release_lock('a') /* done */": RELEASE,
    "SELECT RELEASE_ALL_LOCKS()": ALL,
    "DO RELEASE_ALL_LOCKS ( )": ALL,
}
NONE = [
    "SET foreign_key_checks = 1, unique_checks = 1",
    "SET foreign_key_checks = 0; SELECT 1; SET foreign_key_checks = 1",
    "SELECT 1; SET foreign_key_checks = 1",
    "SET GLOBAL foreign_key_checks = 1",
    "SET LOCAL foreign_key_checks = 1",
    "SET @@foreign_key_checks = 1",
    "SET @@SESSION.foreign_key_checks = 1",
    "SET `foreign_key_checks` = 1",
    "SET @foreign_key_checks = 1",
    "SET foreign_key_checks = DEFAULT",
    "SET foreign_key_checks = '1'",
    "SET foreign_key_checks = 1 + 0",
    "SET foreign_key_checks = 10",
    "SET foreign_key_checks = 1.0",
    "SET foreign_key_checks = ON_",
    "SET foreign_key_checks = -1",
    "SET foreign_key_checks = @a",
    "SET STATEMENT foreign_key_checks = 1 FOR SELECT 1",
    "SET foreign_key_checks /*! = 1, autocommit */ = 1",
    "SET sql_log_bin = 1",
    "SELECT GET_LOCK('a', 0), GET_LOCK('b', 0)",
    "SELECT GET_LOCK('a', 0) + 1",
    "SELECT GET_LOCK('a', 0) FROM b",
    "SELECT GET_LOCK('a', 0) WHERE 1",
    "SELECT GET_LOCK('a', 0) LIMIT 0",
    "SELECT GET_LOCK('a', 0); SELECT RELEASE_LOCK('a')",
    "SELECT GET_LOCK(a, 0)",
    "SELECT GET_LOCK(@a, 0)",
    "SELECT GET_LOCK(CONCAT('a'), 0)",
    "SELECT GET_LOCK('a' 'b', 0)",
    "SELECT GET_LOCK('a''b', 0)",
    r"SELECT GET_LOCK('a\'b', 0)",
    "SELECT GET_LOCK(_latin1'a', 0)",
    "SELECT GET_LOCK(N'a', 0)",
    'SELECT GET_LOCK("a", 0)',
    "SELECT GET_LOCK('a', @b)",
    "SELECT RELEASE_LOCK('a'), RELEASE_LOCK('b')",
    "SELECT RELEASE_LOCK('a') FROM b",
    "SELECT RELEASE_LOCK('a') WHERE 0",
    "SELECT RELEASE_LOCK('a') LIMIT 0",
    "SELECT RELEASE_LOCK('a') IS NULL OR 1",
    "SELECT 1 OR RELEASE_LOCK('a')",
    "SELECT IF(0, RELEASE_LOCK('a'), 1)",
    "SELECT 'RELEASE_LOCK(''a'')'",
    "SELECT /* RELEASE_LOCK('a') */ 1",
    "SELECT -- \nRELEASE_LOCK('a'), 1",
    "EXPLAIN SELECT RELEASE_LOCK('a')",
    "SELECT b.RELEASE_LOCK('a')",
    'SELECT RELEASE_LOCK("a")',
    "SELECT RELEASE_LOCK('a' COLLATE utf8mb4_bin)",
    "(SELECT RELEASE_LOCK('a'))",
    "SELECT RELEASE_ALL_LOCKS() LIMIT 0",
    "DO RELEASE_ALL_LOCKS(), SLEEP(1)",
    "SELECT RELEASE_LOCK('a') INTO @b",
    "SELECT RELEASE_LOCK('a'); USE b",
]


@pytest.mark.parametrize(("sql", "change"), CHANGES.items())
def test_the_plain_forms_are_known(sql: str, change: Change) -> None:
    dirty = {Switch: "SET", Lock: "GET_LOCK", Unlock: None}[type(change)]
    assert change_of(sql.encode(), dirty) == change


@pytest.mark.parametrize("sql", NONE)
def test_all_others_are_in_doubt(sql: str) -> None:
    for dirty in ("SET", "GET_LOCK", None):
        assert change_of(sql.encode(), dirty) is None


def test_what_is_dirty_for_another_reason_is_no_change() -> None:
    sql = b"SELECT GET_LOCK('a', 0)"
    assert change_of(sql, "a statement that was not recognised") is None


def done(traces: Traces, *changes: Change) -> str | None:
    """The reason after all of these."""
    reason = None
    for change in changes:
        traces.about_to(change)
        reason = traces.done(change)
    return reason


@pytest.mark.parametrize(
    ("baseline", "changes", "reason"),
    [
        ("1", [OFF], "SET"),
        ("1", [OFF, ON], None),
        ("1", [OFF, OFF, ON], None),
        ("1", [ON], None),
        ("1", [OFF, ON, OFF], "SET"),
        ("0", [ON], "SET"),
        ("0", [OFF, ON], "SET"),
        ("0", [ON, OFF], None),
    ],
)
def test_a_switch_is_where_it_was(baseline: str, changes: list[Change], reason: str | None) -> None:
    traces = Traces()
    traces.learn(baseline + "101")
    assert traces.knows_baseline
    assert done(traces, *changes) == reason


@pytest.mark.parametrize("values", ["", "None", "ONON"])
def test_an_answer_that_makes_no_sense_takes_nothing_back(values: str) -> None:
    traces = Traces()
    traces.learn(values)
    assert done(traces, OFF, ON) == "SET"


def test_each_switch_has_its_own_place() -> None:
    traces = Traces()
    traces.learn("1101")
    safe = Switch("sql_safe_updates", "1")
    assert done(traces, OFF, safe, ON) == "SET"
    assert done(traces, Switch("sql_safe_updates", "0")) is None


def test_another_set_up_may_have_set_a_switch_otherwise() -> None:
    traces = Traces()
    traces.learn("1101")
    traces.forget_baseline()
    assert not traces.knows_baseline


OTHER, CAPITAL = Lock(b"'b'"), Lock(b"'A'")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([LOCK], "GET_LOCK"),
        ([LOCK, RELEASE], None),
        ([LOCK, LOCK, RELEASE], "GET_LOCK"),
        ([LOCK, LOCK, RELEASE, RELEASE], None),
        ([LOCK, OTHER, RELEASE], "GET_LOCK"),
        ([LOCK, LOCK, OTHER, ALL], None),
        ([RELEASE, LOCK], "GET_LOCK"),
        ([RELEASE, RELEASE, LOCK, RELEASE], None),
        # MariaDB tells small letters from capitals, and MySQL does not.
        ([CAPITAL, RELEASE], "GET_LOCK"),
        ([LOCK, CAPITAL, RELEASE, RELEASE], "GET_LOCK"),
    ],
)
def test_a_lock_is_released_as_often_as_it_was_taken(
    changes: list[Change], reason: str | None
) -> None:
    assert done(Traces(), *changes) == reason


def test_a_statement_that_failed_takes_nothing_back_and_may_have_left_something() -> None:
    traces = Traces()
    assert traces.about_to(LOCK) == "GET_LOCK"
    assert traces.about_to(RELEASE) == "GET_LOCK"
    traces.learn("1101")
    assert traces.done(RELEASE) is None
    assert traces.about_to(OFF) == "SET"
    assert traces.about_to(ON) == "SET"


def test_nothing_takes_back_what_lasts() -> None:
    traces = Traces()
    traces.learn("1101")
    done(traces, OFF, LOCK)
    assert traces.leave("USE") == "USE"
    assert traces.leave("SET") == "USE"
    assert list(traces.reasons) == ["USE", "SET", "GET_LOCK"]
    assert done(traces, ON, ALL) == "USE"
    assert list(traces.reasons) == ["USE", "SET"]
