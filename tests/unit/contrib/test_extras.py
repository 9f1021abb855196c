"""What an integration says where the package is not installed, and what shows statements."""

from __future__ import annotations

import importlib
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from mysqlpool.backends.mysqlpool import observers
from mysqlpool.contrib.debug_toolbar import PoolPanel
from mysqlpool.contrib.redaction import without_values


@pytest.mark.parametrize(
    ("module", "extra", "packages"),
    [
        ("debug_toolbar", "debug-toolbar", ["debug_toolbar", "debug_toolbar.panels"]),
        (
            "health_check",
            "health-check",
            ["health_check", "health_check.base", "health_check.exceptions"],
        ),
    ],
)
def test_without_its_package_an_integration_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, module: str, extra: str, packages: list[str]
) -> None:
    for package in packages:
        monkeypatch.setitem(sys.modules, package, None)  # Python refuses to import such.
    monkeypatch.delitem(sys.modules, f"mysqlpool.contrib.{module}", raising=False)
    with pytest.raises(ImproperlyConfigured, match=rf"pip install 'mysqlpool\[{extra}\]'"):
        importlib.import_module(f"mysqlpool.contrib.{module}")


def test_nobody_looks_on_once_a_panel_looks_away_however_often_it_is_told() -> None:
    class Toolbar:
        pass

    panel, other = PoolPanel(Toolbar(), None), PoolPanel(Toolbar(), None)
    panel.enable_instrumentation()
    panel.enable_instrumentation()
    assert observers.onlookers == {panel.recorder}
    other.disable_instrumentation()
    assert observers.onlookers == {panel.recorder}
    panel.disable_instrumentation()
    panel.disable_instrumentation()
    assert not observers.onlookers


@pytest.mark.parametrize(
    ("sql", "shown"),
    [
        ("SET @a = 'it''s', @b = 0x41", "SET @a = ??, @b = ?"),
        ('SET PASSWORD FOR me = PASSWORD("secret")', "SET PASSWORD FOR me = PASSWORD(?)"),
        ("/* secret */ SELECT GET_LOCK('secret', 10) -- secret", "SELECT GET_LOCK(?, ?)"),
        ("CREATE TEMPORARY TABLE `t 1` (n INT)", "CREATE TEMPORARY TABLE `t 1` (n INT)"),
        ("SET @a = 'secret", "SET @a = ?"),
        ("SET @a = 'it\\'s secret'", None),
    ],
)
def test_a_statement_is_shown_without_values_or_not_at_all(sql: str, shown: str | None) -> None:
    assert without_values(sql) == shown
