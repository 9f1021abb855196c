""".ci/parts: what is told of parts that pass, fail and hang."""

from __future__ import annotations

import re
import subprocess

import pytest

from tests.helpers import HANG, ROOT

pytestmark = pytest.mark.skipif(not (ROOT / ".ci").exists(), reason="an sdist has no .ci")


def run(script: str) -> tuple[int, str]:
    """Exit code and output of a script that has sourced .ci/parts."""
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", f". .ci/parts\n{script}\nstart_all\nfinish .\ntell"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=HANG * 2,
    )
    return result.returncode, result.stdout


def after_the_table(output: str) -> list[str]:
    return output.partition("What ran, in the order in which it ended:")[2].splitlines()


def test_what_passed_is_counted() -> None:
    code, output = run("part a 'echo 2 passed in 0.5s'; part b 'echo == 3 passed in 1.00s =='")
    assert code == 0
    assert output.splitlines()[-1].startswith("==== 5 passed in")
    assert output.endswith("s: all tests of all 2 parts ====\n")


def test_parts_that_end_while_another_is_shown_are_not_lost() -> None:
    """Each has ended when `finish` looks for it."""
    code, output = run("at_once=9; for n in 1 2 3 4; do part $n true; done; start_all; sleep 1; :")
    assert code == 0
    assert output.splitlines()[-1].endswith("all tests of all 4 parts ====")


def test_why_a_part_failed_is_told_once_more_in_the_end() -> None:
    code, output = run("part good 'echo fine'; part bad 'seq 100; echo no mirror >&2; exit 7'")
    lines = after_the_table(output)
    assert code == 1
    start = lines.index("The end of bad:")
    assert lines[start + 1 : start + 16] == [*map(str, range(87, 101)), "no mirror"]
    assert "The end of good:" not in lines
    assert lines[-2:-1] == ["FAILED: bad"]
    assert re.search(r"^=== bad: FAILED after \d+ s, with exit code 7$", output, re.MULTILINE)


@pytest.mark.parametrize(
    "line",
    [
        "FAILED tests/unit/test_scopes.py::test_x - assert 0",
        "ERROR tests/unit/test_scopes.py::test_y - OSError",
        "+++++++++++++++++++++ Timeout +++++++++++++++++++++",
        "tests/unit/pool/test_stress.py ..Fatal Python error: Segmentation fault",
        "E: Unable to locate package mariadb-server-core",
        "ERROR: No matching distribution found for Django",
    ],
)
def test_what_failed_is_told_however_much_follows(line: str) -> None:
    _, output = run(f"part bad 'echo \"{line}\"; seq 100; false'")
    lines = after_the_table(output)
    assert lines[-3:-1] == ["FAILED: bad", line]


def test_of_many_failures_the_first_are_told_and_the_ends_of_all() -> None:
    many = "for i in {1..30}; do echo FAILED test_$i; done; echo the end of"
    _, output = run(f"at_once=1\nfor n in a b c; do part $n '{many} '$n'; false'; done")
    lines = after_the_table(output)
    assert sum(line.startswith("FAILED test_") for line in lines) == 40
    assert [line for line in lines if line.startswith("the end of")] == [
        "the end of a",
        "the end of b",
        "the end of c",
    ]


def test_a_part_that_hangs_fails_and_the_others_go_on() -> None:
    code, output = run("limit=1; part stuck 'echo begun; sleep 600'; part good 'echo fine'")
    lines = after_the_table(output)
    assert code == 1
    start = lines.index("The end of stuck:")
    assert lines[start + 1] == "begun"
    assert "sending signal TERM" in lines[start + 2]
    assert lines[-2:-1] == ["FAILED: stuck"]
    assert "=== good: passed" in output


def test_a_run_that_a_signal_ends_tells_how_far_it_had_come() -> None:
    """The end of `long` shows that the signal came while it ran; a shell waits for its child."""
    parts = (
        "part bad 'echo FAILED test_x; false'; part long 'echo half; sleep 600'; part later true"
    )
    code, output = run(f"at_once=1; {parts}; (sleep 3; kill -TERM $$) & start_all")
    lines = after_the_table(output)
    assert code == 143
    assert "FAILED  bad" in lines[1]
    start = next(
        n for n, line in enumerate(lines) if re.fullmatch(r"Under way for \d+ s: long", line)
    )
    assert lines[start + 1 :][:-1] == ["half", "Not begun: later", "FAILED: bad", "FAILED test_x"]
    assert re.fullmatch(r"==== ended by a signal after \d+ s, 1 failed of 2 parts ====", lines[-1])
