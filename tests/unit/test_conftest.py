"""The tests' own machinery: unit tests start no server and reach none; the others start one."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import MySQLdb
import pytest
from django.db import connections

from mysqlpool.session.session import Session
from tests.conftest import BROWSER, are_unit_tests, has_browser
from tests.helpers import HANG, ROOT

# pytest on a machine on which there is no server, wherever it is looked for.
WITHOUT_SERVERS = """
import pathlib, sys
import pytest
from tests.server import flavours
flavours.SYSTEM_DIRECTORIES = ()
flavours.SERVERS = pathlib.Path(sys.argv[1])
sys.exit(pytest.main(["-p", "no:cacheprovider", *sys.argv[2:]]))
"""
UNIT_TEST = f"{Path(__file__).relative_to(ROOT)}::test_pytest_without_arguments_runs_all_tests"


def test_pytest_without_arguments_runs_all_tests(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.getini("testpaths") == ["tests"]
    assert not are_unit_tests(pytestconfig.getini("testpaths"), ROOT)


@pytest.mark.parametrize(
    ("directory", "arguments"),
    [
        (".", ["tests/unit"]),
        (".", ["tests/unit/"]),
        (".", ["./tests/../tests/unit/pool"]),
        (".", [str(ROOT / "tests" / "unit")]),
        (".", ["tests/unit/test_conftest.py::test_a[b::c]"]),
        (".", ["tests/unit/pool", "tests/unit/conf/test_settings.py"]),
        ("tests", ["unit"]),
        ("tests/unit", [str(ROOT / "tests" / "unit")]),
        ("tests/server", ["../unit/pool"]),
    ],
)
def test_paths_in_the_folder_of_unit_tests_need_no_server(
    directory: str, arguments: list[str]
) -> None:
    assert are_unit_tests(arguments, ROOT / directory)


@pytest.mark.parametrize(
    ("directory", "arguments"),
    [
        (".", []),
        (".", ["tests"]),
        (".", ["."]),
        (".", ["tests/unit", "tests/server/session"]),
        (".", ["tests/server/test_runner.py::test_a[tests/unit]"]),
        (".", ["tests/unit/../server"]),
        (".", ["tests.unit"]),
        ("tests/unit", ["tests.server"]),
        ("tests/unit", [str(ROOT / "tests")]),
    ],
)
def test_anything_else_may_need_one(directory: str, arguments: list[str]) -> None:
    assert not are_unit_tests(arguments, ROOT / directory)


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("DATABASE_", "MYSQLPOOL_"))}
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_SERVERS, str(directory), *arguments],
        cwd=ROOT,
        env={**environ, "PATH": str(directory)},
        capture_output=True,
        text=True,
        timeout=HANG,
    )


def test_a_unit_test_runs_where_no_server_is_installed(tmp_path: Path) -> None:
    done = run(tmp_path, "--server", "mysql", UNIT_TEST)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "server: none, these are unit tests" in done.stdout
    assert "1 passed" in done.stdout


def test_other_tests_do_not_run_there(tmp_path: Path) -> None:
    done = run(tmp_path, UNIT_TEST, "tests/server/test_runner.py")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "apt-get install mariadb-server-core" in done.stderr


def test_a_browser_is_there_where_both_of_its_programs_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tests.conftest.find_spec", lambda name: object())
    for number, program in enumerate(BROWSER):
        assert not has_browser(), number
        (tmp_path / program).write_text("#!/bin/sh")
        (tmp_path / program).chmod(0o755)
    assert has_browser()
    monkeypatch.setattr("tests.conftest.find_spec", lambda name: None)  # selenium
    assert not has_browser()


@pytest.mark.parametrize(
    "connect",
    [
        MySQLdb.connect,
        Session,
        lambda: connections["default"].get_new_connection({}),
        lambda: connections["stock"].get_new_connection({}),
    ],
    ids=["driver", "session", "ours", "django's"],
)
def test_a_connection_fails_the_test(connect: Callable[[], Any]) -> None:
    with pytest.raises(pytest.fail.Exception, match="belongs into tests/server"):
        connect()


def test_a_database_fails_the_test(request: pytest.FixtureRequest) -> None:
    with pytest.raises(pytest.fail.Exception, match="belongs into tests/server"):
        request.getfixturevalue("django_db_setup")


def test_a_process_of_a_test_finds_nobody_who_answers() -> None:
    ask = "import os; from tests.server import Server; Server.from_environ(os.environ).version()"
    done = subprocess.run(
        [sys.executable, "-c", ask], cwd=ROOT, capture_output=True, text=True, timeout=HANG
    )
    assert re.search(r"OperationalError: \(200[23], .*127\.0\.0\.1", done.stderr), done.stderr
