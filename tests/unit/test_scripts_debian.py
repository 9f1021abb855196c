"""scripts/debian: what it says to bad use. What it does needs root, Debian and the network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers import ROOT


def run(*arguments: str, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(ROOT / "scripts" / "debian"), *arguments],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=30,
    )


@pytest.mark.parametrize("arguments", [(), ("trixie",)])
def test_a_suite_and_a_command_are_wanted(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "usage: scripts/debian SUITE COMMAND [ARG...]" in result.stderr


def test_what_cannot_be_a_suite_is_never_made_part_of_a_path() -> None:
    result = run("../sid", "true")
    assert result.returncode == 2
    assert "'../sid' is not the name of a Debian suite" in result.stderr


def test_whoever_is_not_root_is_told_so(tmp_path: Path) -> None:
    """By the answer of ``id``: root, who may run this, becomes nobody else here."""
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    result = run("trixie", "true", path=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert result.returncode == 2
    assert "needs root: sudo scripts/debian trixie true" in result.stderr
