"""docs/events.rst: every event stands there as it is logged, and what it shows works."""

from __future__ import annotations

import ast
import dataclasses
import functools
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_django import Settings

import mysqlpool
from mysqlpool.conf.event_log import parse_event_log
from mysqlpool.errors import Holder
from mysqlpool.events.log import JSONLinesFormatter
from mysqlpool.pool.pool import ABSENT, FULL
from mysqlpool.pool.report import _fields
from tests.documents import blocks_of, table
from tests.helpers import ROOT
from tests.unit.events.test_reading import line

PAGE = ROOT / "docs" / "events.rst"
TEXT = PAGE.read_text(encoding="utf-8")
BLOCKS = list(blocks_of(TEXT))
PYTHON = [block for block in BLOCKS if block.kind == "python"]


@dataclasses.dataclass(frozen=True)
class Event:
    """One way in which an event is logged. No level: it is found out as it happens."""

    name: str
    logger: str
    level: str
    fields: frozenset[str]


# What the source says


@functools.cache
def logged() -> list[Event]:
    return [
        event
        for path in sorted(Path(mysqlpool.__file__).parent.rglob("*.py"))
        for event in logged_in(ast.parse(path.read_text(encoding="utf-8")))
    ]


def logged_in(module: ast.Module) -> Iterator[Event]:
    calls = [node for node in ast.walk(module) if isinstance(node, ast.Call)]
    loggers = [call.args[0] for call in calls if ast.unparse(call.func) == "logging.getLogger"]
    events = [call for call in calls if ast.unparse(call.func) == "log_event"]
    for call in events:
        if isinstance(call.args[2], ast.Constant):
            yield event(call.args[2], loggers, call, named(call))
    for call in calls:
        if ast.unparse(call.func) == "self._warn":  # By way of this the others are logged.
            [shared] = [one for one in events if isinstance(one.args[2], ast.Name)]
            fields = named(call) | named(shared) | set_by_key(module)
            yield event(call.args[0], loggers, shared, fields)


def event(name: ast.expr, loggers: list[ast.expr], call: ast.Call, fields: set[str]) -> Event:
    [logger] = map(ast.literal_eval, loggers)
    level = re.fullmatch(r"logging\.([A-Z]+)", ast.unparse(call.args[1]))
    return Event(ast.literal_eval(name), logger, level[1] if level else "", frozenset(fields))


def named(call: ast.Call) -> set[str]:
    return {keyword.arg for keyword in call.keywords if keyword.arg} - {"exc_info"}


def set_by_key(module: ast.Module) -> set[str]:
    """What ``fields["name"] = ...`` adds."""
    targets = [t for node in ast.walk(module) if isinstance(node, ast.Assign) for t in node.targets]
    subscripts = [t for t in targets if isinstance(t, ast.Subscript)]
    return {ast.literal_eval(t.slice) for t in subscripts if ast.unparse(t.value) == "fields"}


# What the page says


@dataclasses.dataclass(frozen=True)
class Row:
    levels: tuple[str, ...]
    logger: str
    fields: frozenset[str]


def rows() -> dict[str, Row]:
    text = TEXT[TEXT.index(".. list-table::") :]
    cells = re.findall(r"^   (?:\* -|  -)(.*(?:\n {7}.*)*)$", text, re.MULTILINE)
    found = [cells[n : n + 5] for n in range(0, len(cells), 5)][1:]
    return {
        code(name)[0]: Row(tuple(levels.strip().split(", ")), code(logger)[0], told(fields))
        for name, levels, logger, _, fields in found
    }


def code(cell: str) -> list[str]:
    return re.findall("``([^`]+)``", cell)


def told(cell: str) -> frozenset[str]:
    """The fields of a cell, without what is said of them in brackets."""
    return frozenset(name for name in code(re.sub(r"\([^)]*\)", "", cell)) if name.isidentifier())


def test_what_to_do_is_said_of_every_event_that_is_a_warning_or_worse() -> None:
    bad = [name for name, row in rows().items() if {"WARNING", "ERROR"} & set(row.levels)]
    assert [code(row[0])[0] for row in table("Event", "What to do")] == bad


def test_the_page_lists_every_event_and_no_other() -> None:
    assert len(rows()) > 15
    assert rows().keys() == {event.name for event in logged()}


@pytest.mark.parametrize("name", sorted(rows()))
def test_the_page_tells_the_level_the_logger_and_the_fields(name: str) -> None:
    row, events = rows()[name], [event for event in logged() if event.name == name]
    assert {event.logger for event in events} == {row.logger}
    assert frozenset().union(*(event.fields for event in events)) == row.fields
    for event in events:
        assert event.level in row.levels or (event.level == "" and len(row.levels) > 1)


def test_the_page_names_the_numbers_of_an_outage_and_of_a_full_server() -> None:
    for numbers in (ABSENT, FULL):
        lists = re.findall(r"\(([\d,\s]+)\)", TEXT)
        assert numbers in [frozenset(map(int, one.split(","))) for one in lists]


def test_a_holder_has_the_fields_that_the_page_tells() -> None:
    [paragraph] = re.findall(r"A holder has (.*?)\. A pool", TEXT, re.DOTALL)
    assert set(code(paragraph)) == _fields(Holder("a", 1, 0.1, "b", "c", False)).keys()


# What it shows


def test_no_block_is_overlooked() -> None:
    kinds = [block.kind for block in BLOCKS if not block.kind.startswith("directive")]
    assert sorted(kinds) == ["json", "python", "python", "python"]


def test_the_line_of_an_exhausted_pool_has_the_keys_that_one_has() -> None:
    [block] = [block for block in BLOCKS if block.kind == "json"]
    shown = json.loads(block.text)
    record = logging.LogRecord("x", 30, "x", 1, "x", (), None)
    assert list(shown) == list(json.loads(JSONLinesFormatter().format(record)))
    assert shown["fields"].keys() == rows()["pool_exhausted"].fields
    [holder] = shown["fields"]["holders"]
    assert holder.keys() == _fields(Holder("a", 1, 0.1, "b", "c", False)).keys()


def test_the_setting_of_the_event_log_is_a_good_one(tmp_path: Path) -> None:
    names: dict[str, Any] = {"BASE_DIR": tmp_path}
    exec(compile(PYTHON[0].text, PAGE.name, "exec"), names)
    assert parse_event_log(names["MYSQLPOOL_LOG"]).stats_interval == 60


def test_the_logging_that_is_shown_writes_lines_of_json() -> None:
    names: dict[str, Any] = {}
    exec(compile(PYTHON[1].text, PAGE.name, "exec"), names)
    program = (
        "import logging, logging.config, sys\n"
        f"logging.config.dictConfig({names['LOGGING']!r})\n"
        "logging.getLogger('mysqlpool.pool').info('told')\n"
        "logging.getLogger('mysqlpool.pool').debug('not told')\n"
    )
    done = subprocess.run(  # dictConfig closes the handlers of all others in a process.
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert json.loads(done.stderr)["message"] == "told"


def test_the_newest_statistics_are_read_as_it_is_shown(
    tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.MYSQLPOOL_LOG = {"filename": tmp_path / "events.log"}
    (tmp_path / "events.log").write_text(line(1, in_use=3, limit=5) + line(2, age=181))
    exec(compile(PYTHON[2].text, PAGE.name, "exec"), {})
    assert capsys.readouterr().out == "manage.py default 3 of 5 in use\n"
