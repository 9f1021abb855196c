"""The demo: a run of it, and what its observer leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import observer as demo_observer
import pytest

from tests.helpers import HANG, ROOT
from tests.server import PrivateServer

VARIABLES = {
    "COLUMNS": "100",
    "DJANGO_SETTINGS_MODULE": "filesite.settings",
    "PYTHONPATH": str(ROOT),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(300):
        (tmp_path / str(number)).write_text(str(number))
    return tmp_path


def run_demo(folder: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "example" / "demo.py"), str(folder)],
        env={**os.environ, **VARIABLES, **environ},
        capture_output=True,
        text=True,
        timeout=4 * HANG,
    )


def rows_of(output: str) -> dict[str, list[str]]:
    rows = [line.strip("│┃").split("│") for line in output.splitlines() if "│" in line]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in rows}


def test_the_demo_ends_with_its_table_and_what_to_paste(folder: Path, observer: Any) -> None:
    """And it leaves neither a database nor a session."""
    before = observer.sessions()
    result = run_demo(folder)
    assert (result.returncode, result.stderr) == (0, "")
    rows = rows_of(result.stdout)
    assert rows["files indexed"] == ["300", "300"]
    stock, pooled = (int(cell) for cell in rows["peak sessions"])
    assert stock > 5 >= pooled
    assert result.stdout.rstrip().endswith(
        '        "OPTIONS": {"pool": {"pool_size": 5}},\n    }\n}'
    )
    assert observer.query("SHOW DATABASES LIKE 'mysqlpool\\_demo\\_%%'") == ()
    observer.until(lambda: observer.sessions() <= before)


def test_the_demo_tells_of_too_many_connections(folder: Path) -> None:
    """A server for 6 sessions: the observer's and those of the pool."""
    with PrivateServer(["--max-connections=6"]) as small:
        result = run_demo(folder, **small.environ())
    assert result.returncode == 0
    stock, pooled = rows_of(result.stdout)["files indexed"]
    assert stock.startswith("Too many connections (")
    assert pooled == "300"


def test_the_demo_wants_a_server_named(folder: Path) -> None:
    result = run_demo(folder, DATABASE_HOST="")
    assert result.returncode == 1
    assert "DATABASE_HOST is not set; run scripts/demo" in result.stderr


def test_the_observer_leaves_its_own_statements_out(server: Any, observer: Any) -> None:
    own = demo_observer.Observer()
    before = own.counters()
    own.sessions("mysql")
    assert own.counters().since(before) == demo_observer.Counters(0, 0, 0)
    for _ in range(3):
        observer.query("SELECT 1")
    assert own.counters().since(before) == demo_observer.Counters(0, 0, 3)
    own.close()


def test_the_observer_leaves_its_own_session_out(server: Any, observer: Any) -> None:
    own = demo_observer.Observer()
    own.reset_peak()
    assert own.peak() == 0
    with type(observer)(server):
        assert own.peak() == 1
    own.close()


def test_sessions_of_an_earlier_job_are_not_in_the_peak(server: Any, observer: Any) -> None:
    own = demo_observer.Observer()
    with type(observer)(server), type(observer)(server):
        assert own.peak() >= 2
    own.reset_peak()
    assert own.peak() == 0
    own.close()


def test_a_peak_that_the_server_keeps_is_an_error(
    server: Any, observer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = demo_observer.Observer()
    with type(observer)(server):
        pass
    ask = own.rows

    def deaf_to_flush(statement: str, *values: str) -> Sequence[tuple[object, ...]]:
        return () if statement.startswith("FLUSH") else ask(statement, *values)

    monkeypatch.setattr(own, "rows", deaf_to_flush)
    with pytest.raises(RuntimeError, match="Max_used_connections anew"):
        own.reset_peak()
    own.close()
