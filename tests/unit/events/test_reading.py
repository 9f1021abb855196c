"""The newest statistics of each process are found, whatever else is in the log."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mysqlpool.events import file as logfile
from mysqlpool.events import machine, reading
from mysqlpool.events.log import log_event
from mysqlpool.events.reading import latest_statistics
from tests.helpers import HANG, ROOT

logger = logging.getLogger("mysqlpool.test")


def line(
    pid: int, alias: str = "default", age: float = 0.0, host: str | None = None, **fields: Any
) -> str:
    moment = datetime.fromtimestamp(time.time() - age, UTC).isoformat(timespec="microseconds")
    fields = {"program": "manage.py", "ended": False, **fields}
    said = {"time": moment, "level": "INFO", "pid": pid, "thread": "t", "logger": "mysqlpool.pool"}
    said |= {} if host is None else {"host": host}
    return json.dumps({**said, "alias": alias, "event": "statistics", "fields": fields}) + "\n"


def other(number: int) -> str:
    return line(number).replace('"event": "statistics"', '"event": "session_opened"')


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "events.log"


def test_the_newest_line_of_each_process_and_alias_is_told(log: Path) -> None:
    lines = [line(1, age=3, in_use=1), line(2, in_use=2), line(1, "other", in_use=3)]
    log.write_text("".join([*lines, other(3), line(1, age=1, in_use=4, ended=True)]))
    told = [(one.alias, one.pid, one.fields["in_use"], one.ended) for one in latest_statistics(log)]
    assert told == [("default", 1, 4, True), ("default", 2, 2, False), ("other", 1, 3, False)]
    assert {one.program for one in latest_statistics(str(log))} == {"manage.py"}


def test_processes_of_several_machines_may_have_the_same_number(log: Path) -> None:
    places = [("a", "1"), ("b", "1"), ("b", "2"), ("b", None)]
    log.write_text(
        "".join(
            line(7, host=host, pid_space=space, idle=n) for n, (host, space) in enumerate(places)
        )
    )
    told = [(one.host, one.pid_space, one.fields) for one in latest_statistics(log)]
    assert told == [
        ("a", "1", {"idle": 0}),
        ("b", "", {"idle": 3}),
        ("b", "1", {"idle": 1}),
        ("b", "2", {"idle": 2}),
    ]
    log.write_text(line(7))  # As long as there were no such fields.
    [one] = latest_statistics(log)
    assert (one.host, one.pid_space, one.is_numbered_here) == ("", "", False)


@pytest.mark.parametrize(
    ("name", "space", "is_here"),
    [(None, None, True), ("another", None, False), (None, "another", False)],
)
def test_a_number_means_something_on_the_same_machine_alone(
    name: str | None, space: str | None, is_here: bool, log: Path
) -> None:
    own = machine.pid_space()
    log.write_text(line(7, host=name or machine.host(), pid_space=space or own))
    assert [one.is_numbered_here for one in latest_statistics(log)] == [is_here]


@pytest.mark.skipif(not Path("/proc/self/ns/pid").exists(), reason="only Linux tells")
def test_a_container_with_numbers_of_its_own_is_told_from_another() -> None:
    shown = "from mysqlpool.events import machine; print(machine.pid_space())"
    python = [sys.executable, "-c", shown]

    def told(*around: str) -> str:
        done = subprocess.run(
            [*around, *python], cwd=ROOT, text=True, capture_output=True, timeout=HANG, check=False
        )
        if done.returncode and around:
            pytest.skip(f"nobody may make a namespace here: {done.stderr}")
        return done.stdout.strip()

    assert told() == machine.pid_space()
    assert told("unshare", "--pid", "--fork", "--mount-proc") != machine.pid_space()


def test_what_is_written_is_read(log: Path) -> None:
    logfile.configure(log)
    before = datetime.now(UTC)
    log_event(
        logger, logging.INFO, "statistics", "a", program="x", ended=False, idle=1, wait={"p50": 0.5}
    )
    [one] = latest_statistics(log)
    assert before <= one.time <= datetime.now(UTC)
    assert (one.pid, one.program, one.alias, one.ended) == (os.getpid(), "x", "a", False)
    assert one.fields == {"idle": 1, "wait": {"p50": 0.5}}


def test_what_is_too_old_is_not_told(log: Path) -> None:
    log.write_text(line(1, age=61) + line(2, age=59))
    assert [one.pid for one in latest_statistics(log, 60)] == [2]
    assert [one.pid for one in latest_statistics(log)] == [1, 2]
    assert [one.pid for one in latest_statistics(log, float("inf"))] == [1, 2]


def test_rotated_files_are_read_too(log: Path) -> None:
    for number, pid in enumerate([1, 2, 3]):
        path = log if not number else log.with_name(f"{log.name}.{number}")
        path.write_text(line(pid, in_use=number) + line(9, in_use=number) + other(0))
    assert [(one.pid, one.fields["in_use"]) for one in latest_statistics(log)] == [
        (1, 0),
        (2, 1),
        (3, 2),
        (9, 0),
    ]


def test_a_file_that_is_just_being_rotated_hides_no_other(log: Path) -> None:
    log.with_name(f"{log.name}.2").write_text(line(1))
    log.write_text(line(2))
    assert [one.pid for one in latest_statistics(log)] == [1, 2]
    log.unlink()
    log.with_name(f"{log.name}.2").rename(log.with_name(f"{log.name}.1"))
    assert [one.pid for one in latest_statistics(log)] == [1]


ODD: Mapping[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "empty lines": lambda: b"\n\n",
    "no JSON": lambda: b"hello\n",
    "no text": lambda: b"\xff\x00\n",
    "an event alone": lambda: b'{"event": "statistics"}\n',
    "broken JSON": lambda: b'["event": "statistics"\n',
    "a list": lambda: b'[1, {"event": "statistics"}]\n',
    "no number of a process": lambda: line(2).replace('"pid": 2', '"pid": null').encode(),
    "no name of an alias": lambda: line(2).replace('"default"', "7").encode(),
    "no fields": lambda: (
        line(2).replace('"fields": {', '"fields": [{').replace("}}", "}]}").encode()
    ),
    "no time zone": lambda: line(2).replace("+00:00", "").encode(),
    "no program": lambda: line(2).replace('"program"', '"programme"').encode(),
    "most of a line": lambda: line(2)[:-30].encode(),
    "little of a line": lambda: line(2)[:40].encode(),
}


@pytest.mark.parametrize("kind", ODD)
def test_a_line_that_is_none_of_ours_or_half_written_is_passed_over(log: Path, kind: str) -> None:
    odd = ODD[kind]()
    log.write_bytes(line(1).encode() + odd)
    assert [one.pid for one in latest_statistics(log)] == [1]
    log.write_bytes(odd.rstrip(b"\n") + b"\n" + line(1).encode())
    assert [one.pid for one in latest_statistics(log)] == [1]


def test_where_there_is_no_file_nothing_is_told(log: Path) -> None:
    assert latest_statistics(log) == []
    log.touch()
    assert latest_statistics(log) == []


@pytest.mark.parametrize("block", [1, 7, 100, 65536])
def test_lines_are_whole_wherever_a_block_ends(
    log: Path, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "BLOCK", block)
    log.write_text("".join(line(pid) + other(pid) for pid in range(20)))
    assert [one.pid for one in latest_statistics(log)] == list(range(20))


def test_no_more_is_read_than_what_is_young_enough(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = "".join(line(pid, age=1000) for pid in range(5000))
    log.with_name(f"{log.name}.1").write_text(old)
    log.write_text(old + line(7777))
    read: list[bytes] = []
    backwards = reading._backwards

    def watched(path: str) -> Any:
        for one in backwards(path):
            read.append(one)
            yield one

    monkeypatch.setattr(reading, "_backwards", watched)
    assert [one.pid for one in latest_statistics(log)] == [7777]
    assert len(read) <= 3  # The end of the file, the line, and the first that is too old.


def test_lines_that_are_a_little_out_of_order_are_all_found(log: Path) -> None:
    log.write_text(line(1, age=50) + line(2, age=65) + line(3, age=1))
    assert [one.pid for one in latest_statistics(log, 60)] == [1, 3]
