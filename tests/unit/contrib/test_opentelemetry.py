"""What a span shows of a statement, and what is said where OpenTelemetry is missing."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from mysqlpool.backends.mysqlpool import observers
from mysqlpool.contrib import opentelemetry
from mysqlpool.contrib.opentelemetry import _place, _summary, _text
from tests.helpers import ROOT


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SELECT 1", "SELECT ?"),
        ("SELECT 'a', \"b\", 1.5, 0x4D, 1e10, x'4D' FROM t1", "SELECT ?, ?, ?, ?, ?, x? FROM t1"),
        ("SELECT 'it''s', '' FROM `2024` WHERE a1 = 5", "SELECT ??, ? FROM `2024` WHERE a1 = ?"),
        ("SELECT a FROM t -- it's a comment\nWHERE b = 'x'", "SELECT a FROM t  \nWHERE b = ?"),
        ("/* it's */ SELECT 5--1 # it's", "SELECT ?--?"),
        ("SELECT '/*', 'a', '*/', '--', '#'", "SELECT ?, ?, ?, ?, ?"),
        ("SELECT `a'b`, 'c'", "SELECT `a'b`, ?"),
        ("SELECT a IS TRUE, trueish", "SELECT a IS ?, trueish"),
        ("SET PASSWORD FOR me = 'x'", "SET PASSWORD FOR me = ?"),
        ("CREATE TABLE t (a VARCHAR(20))", "CREATE TABLE t (a VARCHAR(?))"),
        ("SELECT 'unclosed", "SELECT ?"),
        ("SELECT /* unclosed", "SELECT"),
        ("SELECT @x1 + größe2", "SELECT @x1 + größe2"),
    ],
)
def test_a_bare_statement_is_shown_without_its_literals(sql: str, shown: str) -> None:
    assert _text(sql, None) == _text(sql, ()) == shown


def test_where_the_sql_mode_decides_what_is_a_string_nothing_is_shown() -> None:
    assert _text(r"SELECT 'a\', 's3cret', 'b\'", None) is None


def test_a_long_bare_statement_is_cut_within_a_literal_too() -> None:
    shown = _text("SELECT '" + "s" * 10_000 + "', 's3cret'", None)
    assert shown == "SELECT ?"


def test_a_statement_with_parameters_is_shown_as_it_is() -> None:
    sql = "SELECT 'a\\'', %s /* by */ " + "x" * 5000
    assert _text(sql, ["s3cret"]) == sql
    assert _text(sql.encode(), {"a": "s3cret"}) == sql


def test_what_is_no_text_is_not_shown() -> None:
    assert _text(object(), None) is None
    assert _summary(None) is None
    assert _summary("") is None


LITERALS = st.text(st.sampled_from("'\"`-#/* sS"), max_size=12)


@given(before=LITERALS, after=LITERALS)
def test_no_string_is_shown_whatever_stands_beside_it(before: str, after: str) -> None:
    def quoted(text: str) -> str:
        return "'" + text.replace("'", "''") + "'"

    sql = f"SELECT {quoted(before)}, {quoted('s3cret')}, {quoted(after)} FROM t"
    shown = _text(sql, None)
    assert shown is not None
    assert shown.replace("?", "") == "SELECT , ,  FROM t"


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("SELECT `a`.`id` FROM `a` WHERE `a`.`id` = %s", "SELECT a"),
        ("select x from shop.orders o", "select shop.orders"),
        ("SELECT `a FROM b`, ' FROM c', (SELECT 1 FROM d) FROM e", "SELECT e"),
        ("SELECT EXTRACT(YEAR FROM a.day) FROM `a` WHERE 1", "SELECT a"),
        ("(SELECT a FROM b) UNION (SELECT a FROM c)", "SELECT b"),
        ("SELECT * FROM (SELECT 1 FROM a) b", "SELECT"),
        ("SELECT DISTINCT a FROM b", "SELECT b"),
        ("SELECT %s", "SELECT"),
        ("INSERT INTO `a` (`b`) VALUES (%s)", "INSERT a"),
        ("INSERT IGNORE INTO a VALUES (%s)", "INSERT a"),
        ("REPLACE a VALUES (%s)", "REPLACE a"),
        ("UPDATE `a` SET `b` = %s", "UPDATE a"),
        ("UPDATE LOW_PRIORITY IGNORE a SET b = %s", "UPDATE a"),
        ("DELETE FROM `a` WHERE b = %s", "DELETE a"),
        ("DELETE QUICK FROM a", "DELETE a"),
        ("/* by */ -- me\n SELECT a FROM b", "SELECT b"),
        ("SAVEPOINT `s1_x2`", "SAVEPOINT"),
        ("WITH a AS (SELECT 1) SELECT * FROM a", "WITH"),
        ("CREATE TABLE a (b INT)", "CREATE"),
        ("%s", None),
        ("SELECT 1 FROM " + "a" * 300, "SELECT"),
    ],
)
def test_a_summary_is_the_first_word_and_the_first_table(sql: str, summary: str | None) -> None:
    assert _summary(sql) == summary


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'mysqlpool\[opentelemetry\]'"):
        opentelemetry.instrument()
    assert observers.present is None
    opentelemetry.uninstrument()


def test_the_extra_that_is_named_has_the_package() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert '"opentelemetry": ["opentelemetry-api' in setup


def test_importing_the_module_imports_no_opentelemetry() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None\nimport mysqlpool.contrib.opentelemetry"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_list_of_execute_wrappers_is_told_once_and_left_as_it_was() -> None:
    class Nobody:
        def statement(self, execute: Any, *args: Any) -> Any:
            return execute(*args)

        def ending(self, wrapper: Any, verb: str, end: Any) -> Any:
            return end()

    others = [print]
    try:
        observers.observe(Nobody())
        observers.adjust(others)
        assert others == [observers.watched, print]
    finally:
        observers.observe(None)
    observers.adjust(others)
    assert others == [print]


@pytest.mark.parametrize("host", [["db1", "db2:3307"], "db1,db2:3307"])
@pytest.mark.parametrize(
    ("server", "address"),
    [
        (("db2", 3307), {"server.address": "db2", "server.port": 3307}),
        ("/run/s", {"server.address": "/run/s"}),
    ],
)
def test_of_several_servers_the_place_is_the_sessions(
    host: Any, server: Any, address: dict[str, Any]
) -> None:
    identity = SimpleNamespace(params={"host": "db1:3306,db2:3307"})
    session = SimpleNamespace(server=server, identity=identity, get_server_info=lambda: "8.4.0")
    settings = {"HOST": host, "PORT": "3306", "NAME": "shop", "OPTIONS": {}}
    found = _place(SimpleNamespace(settings_dict=settings, connection=session))
    assert found == {"db.system.name": "mysql", "db.namespace": "shop", **address}
    unconnected = _place(SimpleNamespace(settings_dict=settings, connection=None))
    assert unconnected == {"db.system.name": "mysql", "db.namespace": "shop"}
