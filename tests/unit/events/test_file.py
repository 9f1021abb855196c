"""The file of the event log: its settings, and many processes that write it."""

from __future__ import annotations

import logging
import logging.config
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from mysqlpool.events import file as logfile
from mysqlpool.events.log import event_log, log_event
from tests.helpers import ROOT, json_lines

logger = logging.getLogger("mysqlpool.test")


class TestConfigure:
    def test_doing_it_twice_doubles_no_line(self, tmp_path: Path) -> None:
        logfile.configure(str(tmp_path / "events.log"))
        first = event_log()
        logfile.configure({"filename": tmp_path / "events.log"})
        assert event_log() is first
        log_event(logger, logging.DEBUG, "once")
        assert len(json_lines(tmp_path / "events.log")) == 1

    def test_another_setting_takes_the_place_of_the_first(self, tmp_path: Path) -> None:
        logfile.configure(tmp_path / "first.log")
        logfile.configure(tmp_path / "second.log")
        log_event(logger, logging.DEBUG, "once")
        assert json_lines(tmp_path / "first.log") == []
        assert len(json_lines(tmp_path / "second.log")) == 1

    def test_none_ends_the_log(self, tmp_path: Path) -> None:
        logfile.configure(tmp_path / "events.log")
        logfile.configure(None)
        log_event(logger, logging.DEBUG, "unheard")
        assert event_log() is None
        assert json_lines(tmp_path / "events.log") == []

    def test_a_record_that_comes_after_the_end_is_written_and_leaves_no_file_open(
        self, tmp_path: Path
    ) -> None:
        """A thread had got the handler just before another replaced it."""
        logfile.configure(tmp_path / "events.log")
        handler: Any = event_log()
        logfile.configure(None)
        handler.handle(logger.makeRecord("late", logging.INFO, "", 1, "late", (), None))
        assert [one["message"] for one in json_lines(tmp_path / "events.log")] == ["late"]
        assert (handler.stream, handler.stream_lock) == (None, None)

    @pytest.mark.parametrize(
        ("setting", "message"),
        [
            (5, "MYSQLPOOL_LOG must be a path or a dict, not 5"),
            (True, "MYSQLPOOL_LOG must be a path or a dict, not True"),
            ("", "MYSQLPOOL_LOG['filename'] must be the path of a file, not ''"),
            ({}, "MYSQLPOOL_LOG['filename'] is missing: the path of a file"),
            ({"filename": b"x"}, "['filename'] must be the path of a file, not b'x'"),
            ({"filename": "x", "max_byte": 1}, "did you mean 'max_bytes'?"),
            ({"filename": "x", 3: 1}, "The keys of MYSQLPOOL_LOG must be strings, not 3"),
            ({"filename": "x", "max_bytes": 0}, "['max_bytes'] must be a positive integer, not 0"),
            ({"filename": "x", "backups": 0}, "['backups'] must be a positive integer, not 0"),
            ({"filename": "x", "backups": True}, "must be a positive integer, not True"),
            ({"filename": "x", "level": "LOUD"}, "['level'] must be the name of a logging level"),
            ({"filename": "x", "level": 10}, "such as 'DEBUG' or 'WARNING', not 10"),
            ({"filename": "x", "stats_interval": -1}, "['stats_interval'] must be a number of sec"),
            ({"filename": "x", "stats_interval": "60"}, "where 0 or None means never, not '60'"),
            ({"filename": "x", "stats_interval": True}, "where 0 or None means never, not True"),
            ({"filename": "x", "stats_intervall": 1}, "did you mean 'stats_interval'?"),
            (
                {"filename": "x", "stats_interval": 5, "level": "WARNING"},
                "MYSQLPOOL_LOG['stats_interval'] has no effect with a 'level' of 'WARNING'",
            ),
        ],
    )
    def test_a_bad_setting_is_refused_with_its_rule(self, setting: Any, message: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            logfile.configure(setting)
        assert message in str(caught.value)
        assert event_log() is None

    @pytest.mark.parametrize(
        ("setting", "seconds"),
        [
            ({}, 60),
            ({"stats_interval": 5}, 5),
            ({"stats_interval": 0.5, "level": "INFO"}, 0.5),
            ({"stats_interval": 0}, 0),
            ({"stats_interval": None}, 0),
            ({"stats_interval": None, "level": "ERROR"}, 0),
            ({"level": "WARNING"}, 0),
        ],
    )
    def test_statistics_are_written_every_minute_unless_the_setting_says_else(
        self, setting: Any, seconds: float, tmp_path: Path
    ) -> None:
        told = logfile.configure({"filename": tmp_path / "events.log", **setting})
        assert told is not None
        assert told.stats_interval == seconds

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"folder '.*nowhere' does not exist"):
            logfile.configure(tmp_path / "nowhere" / "events.log")

    def test_a_file_that_cannot_be_written_is_refused_with_the_cause(self, tmp_path: Path) -> None:
        with pytest.raises(ImproperlyConfigured, match="Is a directory"):
            logfile.configure(tmp_path)

    def test_a_folder_without_room_for_the_lock_file_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "events.log").touch()
        tmp_path.chmod(0o500)
        if os.geteuid() == 0:  # It may write everywhere, so the system is not asked.
            monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
        with pytest.raises(ImproperlyConfigured, match="cannot be written to"):
            logfile.configure(tmp_path / "events.log")

    def test_a_lock_file_that_cannot_be_written_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As root leaves it, where somebody gave the log itself to the workers' user."""
        lock = tmp_path / ".__events.lock"
        lock.touch(mode=0o444)
        if os.geteuid() == 0:  # It may write everywhere, so the system is not asked.
            monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(lock))
        with pytest.raises(ImproperlyConfigured, match=r"lock file '.*' cannot be written"):
            logfile.configure(tmp_path / "events.log")
        assert event_log() is None

    @pytest.mark.parametrize(("user", "rotates"), [(0, False), (None, True)])
    def test_root_does_not_rotate_the_file_of_another(
        self, user: int | None, rotates: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The workers could not write to the new one."""
        if user == 0:
            owner = 65534 if os.geteuid() == 0 else os.geteuid()
            (tmp_path / "events.log").touch()
            os.chown(tmp_path / "events.log", owner, -1)
            monkeypatch.setattr(os, "geteuid", lambda: 0)
        logfile.configure({"filename": tmp_path / "events.log", "max_bytes": 100})
        for _ in range(3):
            log_event(logger, logging.DEBUG, "line")
        assert (tmp_path / "events.log.1").exists() == rotates


LINES = 250

WRITER = """
import logging, sys
from mysqlpool.events import file as logfile
from mysqlpool.events import log as logs
name, path, lines = sys.argv[1], sys.argv[2], int(sys.argv[3])
logfile.configure({"filename": path, "max_bytes": 20_000, "backups": 500})
print("ready", flush=True)
sys.stdin.readline()
for number in range(lines):
    logs.log_event(logging.getLogger("mysqlpool.test"), 10, "line", name, number=number)
"""


def write_lines(name: str, lines: int = LINES) -> None:
    for number in range(lines):
        log_event(logger, logging.DEBUG, "line", name, number=number)


def fork(work: Callable[[], None]) -> int:
    """Fork a child that does ``work`` and leaves; its exit code is 0 where that went well."""
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(60)  # Ends a child that hangs.
    try:
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def all_lines(path: Path) -> list[tuple[str, int]]:
    """The writer and number of every line in the log and its backups."""
    files = [p for p in path.parent.iterdir() if p.name.startswith(path.name)]
    return [(line["alias"], line["fields"]["number"]) for p in files for line in json_lines(p)]


def assert_lines(path: Path, expected: Iterable[tuple[str, int]]) -> None:
    """Each line is in the log once.

    The lists themselves are not compared. They have thousands of lines, and on CI pytest would look
    for their whole difference for minutes, until the time limit ended the run without a name.
    """
    found, wanted = Counter(all_lines(path)), Counter(expected)
    assert (list(wanted - found)[:20], list(found - wanted)[:20]) == ([], [])


def exit_codes(pids: list[int]) -> list[int]:
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
class TestManyProcesses:
    def test_eight_processes_write_and_rotate_at_once_and_every_line_is_found(
        self, tmp_path: Path
    ) -> None:
        """Four are started anew, four forked from a parent that has the log open."""
        path = tmp_path / "events.log"
        logfile.configure({"filename": path, "max_bytes": 20_000, "backups": 500})
        log_event(logger, logging.DEBUG, "line", "parent", number=0)
        started = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, f"started-{i}", str(path), str(LINES)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for i in range(4)
        ]
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        gate, opener = os.pipe()

        def forked(name: str) -> None:
            os.close(opener)
            os.read(gate, 1)  # End of file when the parent opens the gate.
            write_lines(name)

        pids = [fork(partial(forked, f"forked-{i}")) for i in range(4)]
        os.close(opener)
        for process in started:
            process.communicate("go\n", timeout=120)
        assert exit_codes(pids) == [0] * 4
        assert [process.returncode for process in started] == [0] * 4
        os.close(gate)
        names = [f"{kind}-{i}" for kind in ("started", "forked") for i in range(4)]
        expected = [(name, number) for name in names for number in range(LINES)]
        assert_lines(path, [*expected, ("parent", 0)])
        assert len(list(tmp_path.iterdir())) > 10  # It did rotate.

    def test_a_fork_while_other_threads_write_neither_hangs_nor_doubles_nor_loses_a_line(
        self, tmp_path: Path
    ) -> None:
        path = tmp_path / "events.log"
        logfile.configure({"filename": path, "max_bytes": 20_000, "backups": 2000})
        stop = threading.Event()
        written: list[tuple[str, int]] = []

        def churn(name: str) -> None:
            number = 0
            while not stop.is_set():
                log_event(logger, logging.DEBUG, "line", name, number=number)
                written.append((name, number))
                number += 1

        threads = [threading.Thread(target=churn, args=(f"thread-{i}",)) for i in range(3)]
        for thread in threads:
            thread.start()
        try:
            for i in range(25):
                name = f"child-{i}"
                pid = fork(partial(write_lines, name, 3))
                assert exit_codes([pid]) == [0]
                written.extend((name, n) for n in range(3))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert_lines(path, written)
