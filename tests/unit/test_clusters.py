"""What the tests on clusters rest on: the audit finds what is wrong, and nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.clusters.workload import Failed, Outage, Workload
from tests.helpers import HANG, ROOT

# Starts a program, tells which and where, and dies without a word.
DYING = """
import os, signal
from tests.clusters.cluster import Processes
processes = Processes()
folder = processes.make("node")
process = processes.spawn(["/usr/bin/env", "sleep", "600"], folder)
print(processes.directory, process.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def workload() -> Workload:
    workload = Workload("default")
    workload.tried = {"a", "b", "lost", "undone"}
    workload.acknowledged = ["a", "b"]
    workload.unknown = {"lost"}
    return workload


@pytest.mark.parametrize("rows", [["a", "b"], ["b", "lost", "a"]])
def test_what_is_as_promised_passes(workload: Workload, rows: list[str]) -> None:
    workload.audit(rows)


@pytest.mark.parametrize(
    ("rows", "finds"),
    [
        (["a"], "missing"),
        (["a", "b", "a"], "twice"),
        (["a", "b", "lost", "lost"], "twice"),
        (["a", "b", "c"], "nobody wrote"),
        (["a", "b", "undone"], "failed before COMMIT"),
    ],
)
def test_the_audit_finds_what_is_not_as_promised(
    workload: Workload, rows: list[str], finds: str
) -> None:
    with pytest.raises(AssertionError, match=finds):
        workload.audit(rows)


def test_an_outage_tells_what_it_cost() -> None:
    outage = Outage("killed", 0.0)
    outage.failed = [
        Failed("OperationalError 2013", 1, committing=True, opening=False),
        Failed("OperationalError 2013", 2, committing=False, opening=False),
        Failed("OperationalError 2013", None, committing=False, opening=True),
        Failed("OperationalError 2003", None, committing=False, opening=False),
    ]
    assert outage.lost == 2
    assert outage.by_session == {1: 1, 2: 1}
    outage.back = 0.5
    told = "2 sessions lost; 1 x OperationalError 2003, 3 x OperationalError 2013"
    assert str(outage) == f"killed: back after 0.50 s; {told}"


def test_nothing_of_a_cluster_is_left_when_its_owner_is_killed() -> None:
    dying = subprocess.run(
        [sys.executable, "-c", DYING], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert dying.returncode == -signal.SIGKILL, dying.stderr
    directory, process = dying.stdout.split()
    deadline = time.monotonic() + HANG
    while Path(directory).exists() or is_alive(process):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_alive(process: str) -> bool:
    """Whether it runs; one that has ended may wait for somebody to ask how."""
    try:
        state = Path("/proc", process, "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"
