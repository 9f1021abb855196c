"""A test that is about one server's own words is left out on the other one, and the run says so."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.server import FLAVOURS

BOTH = """
def test_about_both(flavour): pass
"""
MARKED = """
import os
import pytest
HERE = os.environ["MYSQLPOOL_SERVER"]

@pytest.mark.mariadb
def test_of_mariadb(flavour): assert flavour == HERE == "mariadb"

@pytest.mark.mysql
def test_of_mysql(flavour): assert flavour == HERE == "mysql"

@pytest.mark.parametrize("name", [
    "both",
    pytest.param("mariadb", marks=pytest.mark.mariadb),
    pytest.param("mysql", marks=pytest.mark.mysql),
])
def test_of_rows(name, flavour): assert name in ("both", flavour, HERE)
"""


def run(directory: Path, tests: str) -> str:
    """The last lines of a run with our conftest, on the server that runs already."""
    path = directory / "test_small.py"
    path.write_text(tests)
    plugins = ["-p", "tests.conftest", "-p", "tests.server.conftest", "-p", "no:cacheprovider"]
    options = [*plugins, "--strict-markers", "--rootdir"]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "pytest", *options, str(directory), str(path)],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "example")])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_is_about_the_other_server_is_left_out_and_counted(
    tmp_path: Path, flavour: str
) -> None:
    (other,) = FLAVOURS.keys() - {flavour}
    last = run(tmp_path, BOTH + MARKED)
    assert "4 passed, 2 deselected" in last
    assert f"2 tests are about {other} alone, and were left out: this ran on {flavour}" in last


def test_where_nothing_is_left_out_nothing_is_said(tmp_path: Path) -> None:
    last = run(tmp_path, BOTH)
    assert "1 passed" in last
    assert "left out" not in last


@pytest.mark.parametrize("name", FLAVOURS)
def test_the_marker_of_each_server_is_known(name: str, pytestconfig: pytest.Config) -> None:
    markers = [line.partition(":")[0] for line in pytestconfig.getini("markers")]
    assert name in markers
