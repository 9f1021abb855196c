"""Django's own test runner: test databases are made, cloned for --parallel, and destroyed."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers import ROOT

NAMES = {"DATABASE_NAME": "mysqlpool_runner"}


@pytest.mark.parametrize("arguments", [["--parallel", "1"], ["--parallel", "2"]])
def test_every_kind_of_djangos_test_cases_passes(arguments: list[str], observer: Any) -> None:
    before = observer.sessions()
    command = ["example/manage.py", "test", "tests.runner.cases", "--verbosity", "2", "--noinput"]
    done = subprocess.run(
        [sys.executable, "-W", "error", *command, *arguments],
        cwd=ROOT,
        env={**os.environ, **NAMES, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    assert "Ran 14 tests" in done.stderr
    databases = {row[0] for row in observer.query("SHOW DATABASES")}
    assert not [name for name in databases if name.startswith("test_mysqlpool_runner")]
    observer.until(lambda: observer.sessions() <= before)
