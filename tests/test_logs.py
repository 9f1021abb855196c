"""Events: what loggers get, how a line reads, and one file for many processes."""

from __future__ import annotations

import io
import json
import logging
import logging.config
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from mysqlpool import logfile
from mysqlpool.logs import JSONLinesFormatter, event_log, log_event, set_event_log

logger = logging.getLogger("mysqlpool.test")
ROOT = Path(logfile.__file__).parents[1]


@pytest.fixture(autouse=True)
def no_event_log() -> Iterator[None]:
    """Take away the event log of the test project, and every one that a test opens."""
    previous = set_event_log(None)
    yield
    logfile.configure(None)
    set_event_log(previous)


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


class TestEvents:
    def test_an_event_is_an_ordinary_record_with_its_particulars(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.DEBUG, "mysqlpool"):
            log_event(logger, logging.DEBUG, "session_opened", "default", session=123, why="a b")
        [record] = caplog.records
        assert record.getMessage() == "session opened: alias=default session=123 why=a b"
        assert vars(record)["alias"] == "default"
        assert vars(record)["event"] == "session_opened"
        assert vars(record)["fields"] == {"session": 123, "why": "a b"}
        assert (record.name, record.levelno) == ("mysqlpool.test", logging.DEBUG)

    def test_an_event_needs_neither_alias_nor_fields(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        log_event(logger, logging.WARNING, "log_100%_full")
        log_event(logger, logging.WARNING, "one_field", states={"a": 1})
        first, second = caplog.records
        assert first.getMessage() == "log 100% full"
        assert second.getMessage() == "one field: states={'a': 1}"

    def test_the_record_tells_the_line_that_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        log_event(logger, logging.WARNING, "here")
        [record] = caplog.records
        assert record.filename == "test_logs.py"
        assert record.funcName == "test_the_record_tells_the_line_that_logged"

    @pytest.mark.parametrize("given", [True, ValueError("no")])
    def test_an_exception_goes_along(self, caplog: pytest.LogCaptureFixture, given: Any) -> None:
        try:
            raise ValueError("no")
        except ValueError:
            log_event(logger, logging.WARNING, "failed", exc_info=given)
        [record] = caplog.records
        assert record.exc_info is not None
        assert record.exc_info[0] is ValueError

    def test_nothing_is_made_where_the_level_is_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("a record was made")

        monkeypatch.setattr(logger, "makeRecord", fail)
        monkeypatch.setattr(logger, "findCaller", fail)
        log_event(logger, logging.DEBUG, "quiet", "default", session=1)
        with pytest.raises(AssertionError):
            log_event(logger, logging.WARNING, "loud")


class TestTheEventLogAndTheProjectsLogging:
    def test_the_file_gets_what_the_projects_handlers_do_not(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        logfile.configure(tmp_path / "events.log")
        log_event(logger, logging.DEBUG, "session_opened", "default", session=1)
        log_event(logger, logging.WARNING, "trouble", "default")
        assert [r.getMessage() for r in caplog.records] == ["trouble: alias=default"]
        events = [line["event"] for line in read(tmp_path / "events.log")]
        assert events == ["session_opened", "trouble"]

    def test_loggers_are_left_as_the_project_set_them(self, tmp_path: Path) -> None:
        top = logging.getLogger("mysqlpool")
        before = (top.level, top.propagate, list(top.handlers), logging.getLogger().level)
        logfile.configure(tmp_path / "events.log")
        assert (top.level, top.propagate, list(top.handlers), logging.getLogger().level) == before

    def test_a_level_of_the_projects_logging_does_not_thin_out_the_file(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        logfile.configure(tmp_path / "events.log")
        with caplog.at_level(logging.ERROR, "mysqlpool"):
            log_event(logger, logging.WARNING, "trouble")
        assert caplog.records == []
        assert len(read(tmp_path / "events.log")) == 1

    def test_the_files_own_level_holds(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        logfile.configure({"filename": tmp_path / "events.log", "level": "WARNING"})
        with caplog.at_level(logging.DEBUG, "mysqlpool"):
            log_event(logger, logging.INFO, "detail")
            log_event(logger, logging.WARNING, "trouble")
        assert len(caplog.records) == 2
        assert [line["event"] for line in read(tmp_path / "events.log")] == ["trouble"]

    def test_logging_disable_silences_the_file_too(self, tmp_path: Path) -> None:
        logfile.configure(tmp_path / "events.log")
        logging.disable(logging.WARNING)
        try:
            log_event(logger, logging.WARNING, "silent")
        finally:
            logging.disable(logging.NOTSET)
        log_event(logger, logging.WARNING, "told")
        assert [line["event"] for line in read(tmp_path / "events.log")] == ["told"]

    def test_a_later_dict_config_does_not_end_the_file(self, tmp_path: Path) -> None:
        """Run in another process, because dictConfig closes the handlers of all others."""
        code = (
            "import logging, logging.config, sys\n"
            "from mysqlpool import logfile, logs\n"
            "logger = logging.getLogger('mysqlpool.test')\n"
            "logfile.configure(sys.argv[1])\n"
            "logs.log_event(logger, logging.DEBUG, 'before')\n"
            "logging.config.dictConfig({'version': 1, 'loggers': {'mysqlpool': {'level': 40}}})\n"
            "logs.log_event(logger, logging.DEBUG, 'after')\n"
        )
        path = tmp_path / "events.log"
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=True, timeout=60)
        assert [line["event"] for line in read(path)] == ["before", "after"]

    def test_a_file_that_cannot_be_written_any_more_stops_nobody(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        folder = tmp_path / "logs"
        folder.mkdir()
        logfile.configure(folder / "events.log")
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
        log_event(logger, logging.WARNING, "trouble")
        assert "--- Logging error ---" in capsys.readouterr().err


class TestConfigure:
    def test_doing_it_twice_doubles_no_line(self, tmp_path: Path) -> None:
        logfile.configure(str(tmp_path / "events.log"))
        first = event_log()
        logfile.configure({"filename": tmp_path / "events.log"})
        assert event_log() is first
        log_event(logger, logging.DEBUG, "once")
        assert len(read(tmp_path / "events.log")) == 1

    def test_another_setting_takes_the_place_of_the_first(self, tmp_path: Path) -> None:
        logfile.configure(tmp_path / "first.log")
        logfile.configure(tmp_path / "second.log")
        log_event(logger, logging.DEBUG, "once")
        assert read(tmp_path / "first.log") == []
        assert len(read(tmp_path / "second.log")) == 1

    def test_none_ends_the_log(self, tmp_path: Path) -> None:
        logfile.configure(tmp_path / "events.log")
        logfile.configure(None)
        log_event(logger, logging.DEBUG, "unheard")
        assert event_log() is None
        assert read(tmp_path / "events.log") == []

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
        ],
    )
    def test_a_bad_setting_is_refused_with_its_rule(self, setting: Any, message: str) -> None:
        with pytest.raises(ImproperlyConfigured) as caught:
            logfile.configure(setting)
        assert message in str(caught.value)
        assert event_log() is None

    def test_a_missing_folder_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ImproperlyConfigured, match=r"folder '.*nowhere' does not exist"):
            logfile.configure(tmp_path / "nowhere" / "events.log")

    def test_a_file_that_cannot_be_written_is_refused_with_the_cause(self, tmp_path: Path) -> None:
        with pytest.raises(ImproperlyConfigured, match="Is a directory"):
            logfile.configure(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    def test_a_folder_without_room_for_the_lock_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "events.log").touch()
        tmp_path.chmod(0o500)
        with pytest.raises(ImproperlyConfigured, match="cannot be written to"):
            logfile.configure(tmp_path / "events.log")


class TestJSONLines:
    @pytest.fixture
    def told(self) -> Iterator[Callable[[], dict[str, Any]]]:
        """What a handler with the formatter wrote, on a logger of the test's own."""
        handler = logging.StreamHandler(stream := io.StringIO())
        handler.setFormatter(JSONLinesFormatter())
        logger.addHandler(handler)

        def line() -> dict[str, Any]:
            text = stream.getvalue()
            assert text.endswith("\n")
            assert len(text.splitlines()) == 1
            parsed: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
            return parsed

        yield line
        logger.removeHandler(handler)

    def test_a_line_tells_who_when_where_and_what(
        self, told: Callable[[], dict[str, Any]], caplog: pytest.LogCaptureFixture
    ) -> None:
        log_event(logger, logging.WARNING, "session_discarded", "default", session=7)
        [record] = caplog.records
        line = told()
        stamp = line.pop("time")
        assert stamp.endswith("+00:00")
        assert len(stamp) == len("2025-01-31T12:00:00.000000+00:00")
        assert line == {
            "level": "WARNING",
            "pid": os.getpid(),
            "thread": threading.current_thread().name,
            "logger": "mysqlpool.test",
            "alias": "default",
            "event": "session_discarded",
            "fields": {"session": 7},
            "message": record.getMessage(),
        }

    def test_an_exception_and_odd_characters_stay_on_one_line(
        self, told: Callable[[], dict[str, Any]]
    ) -> None:
        odd = "a\nb\r\u2028\x85\ud800é"
        try:
            raise ValueError(odd)
        except ValueError:
            log_event(logger, logging.WARNING, "failed", text=odd, exc_info=True)
        line = told()
        assert line["fields"]["text"] == odd
        assert "Traceback" in line["exception"]

    def test_what_json_cannot_hold_is_written_as_its_repr(
        self, told: Callable[[], dict[str, Any]]
    ) -> None:
        loop: list[Any] = []
        loop.append(loop)
        log_event(
            logger, logging.WARNING, "odd", nan=float("nan"), keys={(1,): 2}, loop=loop, kind=int
        )
        assert told()["fields"] == {
            "nan": "nan",
            "keys": "{(1,): 2}",
            "loop": "[[...]]",
            "kind": "<class 'int'>",
        }

    def test_a_record_of_somebody_elses_is_told_too(
        self, told: Callable[[], dict[str, Any]]
    ) -> None:
        logger.warning("plain %s", "words")
        line = told()
        assert line["message"] == "plain words"
        assert (line["alias"], line["event"], line["fields"]) == (None, None, {})


LINES = 250
WRITER = """
import logging, sys
from mysqlpool import logfile, logs
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
    return [(line["alias"], line["fields"]["number"]) for p in files for line in read(p)]


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
        assert sorted(all_lines(path)) == sorted([*expected, ("parent", 0)])
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
            for i in range(100):
                name = f"child-{i}"
                pid = fork(partial(write_lines, name, 3))
                assert exit_codes([pid]) == [0]
                written.extend((name, n) for n in range(3))
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert sorted(all_lines(path)) == sorted(written)
