"""A plugin for pytest that writes down how every test ended, for django_mysql_suite."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

_ends: dict[str, tuple[str, str]] = {}  # by node id: passed, failed or skipped, and why


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _ends[report.nodeid] = ("failed", report.longreprtext)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """The worst of set-up, call and tear-down is the end of a test."""
    before, _why = _ends.get(report.nodeid, ("passed", ""))
    if report.failed:
        _ends[report.nodeid] = ("failed", report.longreprtext)
    elif report.skipped and before != "failed":
        _ends[report.nodeid] = ("skipped", str(report.longrepr))
    else:
        _ends.setdefault(report.nodeid, ("passed", ""))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Let the tests of locks run where the server was installed without its plugins."""
    if (module := sys.modules.get("tests.testapp.test_locks")) is not None:
        _without_plugin(module)


def _without_plugin(module: Any) -> None:
    # Their set-up installs the plugin metadata_lock_info on MariaDB, to see who waits for a table.
    module.connection_is_mariadb = lambda connection: False


def pytest_sessionfinish(session: pytest.Session) -> None:
    record = {
        "run": len(_ends),
        "bad": {id_: why for id_, (end, why) in _ends.items() if end == "failed"},
        "skipped": {id_: why for id_, (end, why) in _ends.items() if end == "skipped"},
    }
    Path(os.environ["FIELD_RECORD"]).write_text(json.dumps(record), encoding="utf-8")
