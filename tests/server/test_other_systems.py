"""Nothing at import or at a lease needs what Windows lacks: tests pass without those names."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from tests.helpers import HANG, ROOT

# The library's. Those of its tools, which start shells and pytest itself, are for other systems.
TESTS = [
    *(str(folder) for folder in sorted((ROOT / "tests/unit").iterdir()) if folder.is_dir()),
    *(f"tests/unit/test_{name}.py" for name in ("checks", "executor", "release", "scopes")),
    *(f"tests/server/session/test_{name}.py" for name in ("session", "sockets", "tls")),
]


@pytest.mark.django_db(transaction=True, databases="__all__")  # made here, and used there
def test_the_unit_tests_and_the_leases_pass_where_the_names_are_not_there(server: Any) -> None:
    options = ["-q", "--reuse-db", "-p", "no:cacheprovider", "-m", "not long"]
    result = subprocess.run(
        [sys.executable, "-m", "tests.other_system", *options, *TESTS],
        cwd=ROOT,
        env={**os.environ, **server.environ(), "MYSQLPOOL_STRESS_SECONDS": "0.5"},
        capture_output=True,
        text=True,
        timeout=HANG * 10,
    )
    told = result.stdout + result.stderr
    # First what matters, as of a long message often only the beginning is kept.
    failed = [line for line in told.splitlines() if line.startswith(("FAILED", "ERROR", "E  "))]
    assert result.returncode == 0, "\n".join([*failed, told])
