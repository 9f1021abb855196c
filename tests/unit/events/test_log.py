"""Events: what loggers get, how a line reads, and one file for many processes."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import logging.config
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from mysqlpool.events import file as logfile
from mysqlpool.events.log import (
    JSONLinesFormatter,
    event_log,
    log_event,
    set_event_log,
    told_afterwards,
)
from tests.helpers import ROOT, json_lines, run_threads

logger = logging.getLogger("mysqlpool.test")


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
        assert record.filename == "test_log.py"
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

    def test_nothing_is_made_where_the_level_is_off(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        def fail(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("a record was made")

        monkeypatch.setattr(logger, "makeRecord", fail)
        monkeypatch.setattr(logger, "findCaller", fail)
        log_event(logger, logging.DEBUG, "quiet", "default", session=1)
        assert capsys.readouterr().err == ""
        log_event(logger, logging.WARNING, "loud")
        assert "a record was made" in capsys.readouterr().err


class Raises:
    """A handler, a filter or a factory of records that raises."""

    level = logging.NOTSET

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def handle(self, record: logging.LogRecord) -> None:
        raise self.error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error


@contextlib.contextmanager
def raising(where: str, error: BaseException) -> Iterator[None]:
    raises: Any = Raises(error)
    factory, sink = logging.getLogRecordFactory(), event_log()
    if where == "handler":
        logger.addHandler(raises)
    elif where == "filter":
        logger.addFilter(raises)
    elif where == "factory":
        logging.setLogRecordFactory(raises)
    else:
        set_event_log(raises)
    try:
        yield
    finally:
        logger.removeHandler(raises)
        logger.removeFilter(raises)
        logging.setLogRecordFactory(factory)
        set_event_log(sink)


class TestWhatRaisesAsItIsTold:
    """It neither hides nor replaces what the application is about, and is reported all the same."""

    @pytest.mark.parametrize("where", ["handler", "filter", "factory", "event log"])
    def test_it_is_reported_as_logging_does_and_never_raised(
        self, where: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with raising(where, ValueError("of a handler")):
            log_event(logger, logging.WARNING, "trouble")
            told = capsys.readouterr().err
            assert told.startswith("--- Logging error ---")
            assert "ValueError: of a handler" in told
            assert "trouble" in told
            assert "test_it_is_reported" in told or where == "factory"
            monkeypatch.setattr(logging, "raiseExceptions", False)
            log_event(logger, logging.WARNING, "trouble")
            assert capsys.readouterr().err == ""

    def test_the_error_that_is_being_handled_stays_the_applications(self) -> None:
        with pytest.raises(KeyError, match="own") as caught, raising("handler", ValueError("no")):
            try:
                raise KeyError("own")
            finally:
                log_event(logger, logging.WARNING, "trouble")
        assert caught.value.__context__ is None

    def test_it_stops_nobody_where_the_standard_error_is_closed(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        closed = io.StringIO()
        closed.close()
        monkeypatch.setattr(sys, "stderr", closed)
        with raising("handler", ValueError("no")):
            log_event(logger, logging.WARNING, "trouble")

    @pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
    def test_what_asks_the_thread_to_stop_is_raised(self, error: BaseException) -> None:
        with raising("handler", error), pytest.raises(type(error)):
            log_event(logger, logging.WARNING, "trouble")
        with raising("handler", ValueError("no")):
            log_event(logger, logging.WARNING, "trouble")


class TestWhatIsToldAfterwards:
    def test_it_is_told_in_order_when_the_outermost_has_ended(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def inner() -> None:
            log_event(logger, logging.WARNING, "second")

        def outer() -> str:
            log_event(logger, logging.WARNING, "first")
            told_afterwards(inner)
            assert caplog.records == []
            return "its value"

        assert told_afterwards(outer) == "its value"
        assert [vars(one)["event"] for one in caplog.records] == ["first", "second"]
        assert caplog.records[1].funcName == "inner"

    def test_it_is_told_though_the_function_raises(self, caplog: pytest.LogCaptureFixture) -> None:
        def fails() -> None:
            try:
                raise ValueError("the cause")
            finally:
                log_event(logger, logging.WARNING, "failed", exc_info=True)

        with pytest.raises(ValueError, match="the cause"):
            told_afterwards(fails)
        log_event(logger, logging.WARNING, "next")
        assert [vars(one)["event"] for one in caplog.records] == ["failed", "next"]
        assert "the cause" in caplog.text

    def test_another_thread_tells_of_its_own_at_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def outer() -> None:
            run_threads(lambda: log_event(logger, logging.WARNING, "elsewhere"))
            assert len(caplog.records) == 1

        told_afterwards(outer)


class TestTheEventLogAndTheProjectsLogging:
    def test_the_file_gets_what_the_projects_handlers_do_not(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        logfile.configure(tmp_path / "events.log")
        log_event(logger, logging.DEBUG, "session_opened", "default", session=1)
        log_event(logger, logging.WARNING, "trouble", "default")
        assert [r.getMessage() for r in caplog.records] == ["trouble: alias=default"]
        events = [line["event"] for line in json_lines(tmp_path / "events.log")]
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
        assert len(json_lines(tmp_path / "events.log")) == 1

    def test_the_files_own_level_holds(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        logfile.configure({"filename": tmp_path / "events.log", "level": "WARNING"})
        with caplog.at_level(logging.DEBUG, "mysqlpool"):
            log_event(logger, logging.INFO, "detail")
            log_event(logger, logging.WARNING, "trouble")
        assert len(caplog.records) == 2
        assert [line["event"] for line in json_lines(tmp_path / "events.log")] == ["trouble"]

    def test_logging_disable_silences_the_file_too(self, tmp_path: Path) -> None:
        logfile.configure(tmp_path / "events.log")
        logging.disable(logging.WARNING)
        try:
            log_event(logger, logging.WARNING, "silent")
        finally:
            logging.disable(logging.NOTSET)
        log_event(logger, logging.WARNING, "told")
        assert [line["event"] for line in json_lines(tmp_path / "events.log")] == ["told"]

    def test_what_a_handler_causes_itself_does_not_call_it_again(
        self,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        """One that leases to keep a record would open a session for that, which is an event, and so
        on until no session is left.
        """
        logfile.configure(tmp_path / "events.log")

        class Leases(logging.Handler):
            def emit(self, record: logging.LogRecord) -> None:
                if len(json_lines(tmp_path / "events.log")) < 9:
                    log_event(logger, logging.WARNING, "caused")
                    raise ValueError("no")

        logger.addHandler(handler := Leases())
        try:
            for _ in range(2):
                log_event(logger, logging.WARNING, "trouble")
        finally:
            logger.removeHandler(handler)
        assert capsys.readouterr().err.count("ValueError: no") == 2
        log_event(logger, logging.WARNING, "last")
        assert [vars(r)["event"] for r in caplog.records] == ["last"]
        events = [line["event"] for line in json_lines(tmp_path / "events.log")]
        assert events == [*["caused", "trouble"] * 2, "last"]

    def test_a_later_dict_config_does_not_end_the_file(self, tmp_path: Path) -> None:
        """Run in another process, because dictConfig closes the handlers of all others."""
        code = (
            "import logging, logging.config, sys\n"
            "from mysqlpool.events import file as logfile, log as logs\n"
            "logger = logging.getLogger('mysqlpool.test')\n"
            "logfile.configure(sys.argv[1])\n"
            "logs.log_event(logger, logging.DEBUG, 'before')\n"
            "logging.config.dictConfig({'version': 1, 'loggers': {'mysqlpool': {'level': 40}}})\n"
            "logs.log_event(logger, logging.DEBUG, 'after')\n"
        )
        path = tmp_path / "events.log"
        subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=True, timeout=60)
        assert [line["event"] for line in json_lines(path)] == ["before", "after"]

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
            "host": socket.gethostname(),
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
