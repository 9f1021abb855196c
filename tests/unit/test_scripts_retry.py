"""scripts/retry: a step that needs the network has three attempts, and each failure is told."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers import HANG, ROOT

# Fails as often as its first argument says, and counts its attempts in a file.
STEP = """
step() {
    echo attempt >>"$2"
    [ "$(wc -l <"$2")" -gt "$1" ] || { echo "the mirror is away" >&2 && return 100; }
}
"""


def run(failures: int, count: Path) -> subprocess.CompletedProcess[str]:
    script = f'. scripts/retry\n{STEP}\nretry step {failures} "{count}"\necho went on'
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=ROOT,
        env={**os.environ, "RETRY_PAUSE": "0"},
        capture_output=True,
        text=True,
        timeout=HANG,
    )


@pytest.mark.parametrize("failures", [0, 1, 2])
def test_a_step_that_fails_now_and_then_ends_well(failures: int, tmp_path: Path) -> None:
    result = run(failures, tmp_path / "count")
    assert (result.returncode, result.stdout) == (0, "went on\n")
    assert (tmp_path / "count").read_text().count("attempt") == failures + 1
    assert result.stderr.count("of 3 failed with exit code 100: step") == failures


def test_a_step_that_always_fails_ends_the_script_with_its_exit_code(tmp_path: Path) -> None:
    result = run(9, tmp_path / "count")
    assert (result.returncode, result.stdout) == (100, "")
    assert (tmp_path / "count").read_text().count("attempt") == 3
    assert result.stderr.count("the mirror is away") == 3
    assert "Attempt 3 of 3 failed with exit code 100: step 9" in result.stderr
