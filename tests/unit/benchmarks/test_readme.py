"""benchmarks/README.rst and the picture show what is saved, and name what there is."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.__main__ import PICTURE, RESULTS, parser_of
from benchmarks.contestants import contestants
from benchmarks.scenarios import SCENARIOS
from benchmarks.summary import ROWS, read, rst_table, told
from tests.conftest import NOWHERE
from tests.helpers import ROOT

README = (ROOT / "benchmarks" / "README.rst").read_text(encoding="utf-8")
SAVED = sorted(RESULTS.glob("*.json"))


def first_cells(heading: str) -> list[str]:
    """What is in code in the first column of the table with this heading."""
    lines = README.splitlines()
    start = next(n for n, line in enumerate(lines) if line.startswith(f"{heading}  "))
    rows = lines[start + 2 : lines.index(lines[start - 1], start + 2)]
    return [match[1] for row in rows if (match := re.match("``([^`]+)``", row))]


def test_every_scenario_is_explained_and_no_other() -> None:
    assert first_cells("Scenario") == [*SCENARIOS]


def test_every_contestant_is_introduced_by_its_name() -> None:
    assert first_cells("Contestant") == [one.name for one in contestants(NOWHERE)]


def test_every_option_that_it_names_exists() -> None:
    known = {option for action in parser_of()._actions for option in action.option_strings}
    named = set(re.findall(r"(?<=[\s`])--[a-z]+", README))
    assert named <= known
    assert known - {"-h", "--help"} <= named


def test_the_table_is_of_the_results_that_are_saved() -> None:
    results, documents = read(RESULTS, "mariadb")
    assert rst_table(results) in README
    assert told(documents) in README
    for row in ROWS:
        assert row.text in README
    assert {document["versions"]["server"].split()[0] for document in documents} == {"mariadb"}


def test_the_picture_shows_the_same_results() -> None:
    texts = {text.strip() for text in ET.parse(PICTURE).getroot().itertext()}
    results, _ = read(RESULTS, "mariadb")
    for row in (ROWS[0], *ROWS[3:5]):
        (ours,) = (
            result
            for result in results
            if (result.scenario, result.case, result.unit) == (row.scenario, row.case, row.unit)
            and result.contestant == "mysqlpool, transaction"
        )
        assert f"{ours.spread.median:,.0f}" in texts
    assert "mysqlpool, transaction" in texts


@pytest.mark.parametrize("path", SAVED, ids=lambda path: path.stem)
def test_what_is_saved_tells_its_conditions_and_was_no_quick_look(path: Path) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert document["quick"] is False
    assert document["machine"]["processor"]
    assert len(document["load before"]) == len(document["load after"]) == 3
    assert document["date"] > "2026"
    assert document["results"]
    assert str(path.parent.parent.parent) not in json.dumps(document)
