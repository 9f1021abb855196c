"""python -m benchmarks: what it refuses, and what it says is missing, before anything runs."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks.scenarios import SCENARIOS, requests

WRK = """Running 1s test @ http://127.0.0.1:20000/
  1 threads and 8 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     5.20ms    2.11ms  30.11ms   78.12%
  Latency Distribution
     50%    4.92ms
     75%    6.10ms
     90%    7.51ms
     99%   11.47ms
  1475 requests in 1.00s, 262.11KB read
Requests/sec:   1474.31
Transfer/sec:    261.99KB
"""


def test_each_scenario_is_a_module_that_runs_one() -> None:
    for name in SCENARIOS:
        module = importlib.import_module(f"benchmarks.scenarios.{name}")
        assert module.__doc__
        assert callable(module.run)
    folder = Path(requests.__file__).parent
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == SCENARIOS.keys()


def test_the_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [*SCENARIOS]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["cycles"], "'cycles' is none of calls, "),
        (["--rounds", "0"], "must be a whole number from 1 to 10000, not '0'"),
        (["--rounds", "many"], "must be a whole number from 1 to 10000, not 'many'"),
        (["--seconds", "-1"], "must be a number of seconds above 0 and up to 86400, not '-1'"),
        (["--seconds", "inf"], "must be a number of seconds above 0 and up to 86400, not 'inf'"),
        (["--seconds", "x"], "must be a number of seconds above 0 and up to 86400, not 'x'"),
        (["cycle", "--quick", "--save"], "no figures that are worth to --save"),
    ],
)
def test_what_makes_no_sense_is_refused(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert complaint in capsys.readouterr().err


def test_a_machine_without_wrk_is_told_how_to_get_it_and_how_to_do_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert command.main(["cycle", "requests"]) == 2
    error = capsys.readouterr().err
    assert "apt-get install wrk" in error
    assert error.rstrip().endswith("Without: python -m benchmarks cycle")
    assert "Without" not in (command.lacking(["requests"]) or "")


def test_what_needs_no_wrk_runs_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert command.lacking(["cycle", "busy"]) is None


def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def without(name: str, *arguments: Any) -> Any:
        return None if name == "gunicorn" else name

    monkeypatch.setattr(command, "find_spec", without)
    assert command.main(["cycle"]) == 2
    error = capsys.readouterr().err
    assert "gunicorn missing" in error
    assert "bench" in error


def test_what_wrk_says_is_read() -> None:
    assert requests.read_wrk(WRK) == requests.Wrk(1474.31, 1475, 0, 11.47)


@pytest.mark.parametrize(("text", "milliseconds"), [("870.00us", 0.87), ("1.20s", 1200.0)])
def test_times_of_every_size_become_milliseconds(text: str, milliseconds: float) -> None:
    assert requests.read_wrk(WRK.replace("11.47ms", text)).p99 == pytest.approx(milliseconds)


def test_errors_of_the_site_and_of_its_sockets_are_counted() -> None:
    told = (
        "  Socket errors: connect 0, read 2, write 0, timeout 1\n"
        "  Non-2xx or 3xx responses: 17\nRequests/sec"
    )
    assert requests.read_wrk(WRK.replace("Requests/sec", told)).failed == 20


@pytest.mark.parametrize(
    "text", ["unable to connect to 127.0.0.1:1", WRK.replace("1475 requests", "0 requests")]
)
def test_a_run_without_an_answer_is_no_result(text: str) -> None:
    with pytest.raises(ValueError, match="wrk says"):
        requests.read_wrk(text)
