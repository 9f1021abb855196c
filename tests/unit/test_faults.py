"""Each fault stands in the table, and each promise names tests that exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.table import rst
from tests.helpers import ROOT

TESTS = ROOT / "tests"
TABLE = ROOT / "docs" / "faults.rst"
PROMISES = 15


def functions(path: Path) -> Iterator[ast.FunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


def marks(function: ast.FunctionDef, name: str) -> Iterator[ast.Call]:
    for mark in function.decorator_list:
        if isinstance(mark, ast.Call) and ast.unparse(mark.func) == f"pytest.mark.{name}":
            yield mark


def faults() -> set[str]:
    """Each fault that a test is about."""
    found = set()
    for path in sorted((TESTS / "faults").glob("test_*.py")):
        for function in functions(path):
            for mark in marks(function, "fault"):
                [name] = [arg.value for arg in mark.args if isinstance(arg, ast.Constant)]
                assert isinstance(name, str)
                found.add(name)
    return found


def told_faults() -> dict[str, set[str]]:
    """The servers of each fault in the table."""
    text = TABLE.read_text(encoding="utf-8")
    rows = re.findall(r"^   \* - (.+)\n     - (MariaDB|MySQL)$", text, re.MULTILINE)
    told: dict[str, set[str]] = {}
    for fault, server in rows:
        told.setdefault(fault, set()).add(server)
    return told


def test_every_fault_stands_in_the_table_for_both_servers() -> None:
    assert len(faults()) > 40
    assert told_faults() == {fault: {"MariaDB", "MySQL"} for fault in faults()}


def test_every_test_of_a_fault_names_one() -> None:
    for path in sorted((TESTS / "faults").glob("test_*.py")):
        for function in functions(path):
            takes = [argument.arg for argument in function.args.args]
            if function.name.startswith("test_") and "fault" in takes:
                assert list(marks(function, "fault")), function.name


def promises() -> dict[int, list[tuple[str, str]]]:
    """Module and name of each test that a promise of CONTRIBUTING.rst names."""
    text = (ROOT / "CONTRIBUTING.rst").read_text(encoding="utf-8")
    chapter = text.partition("\nPromises\n--------\n")[2].partition("\nDecisions\n")[0]
    found: dict[int, list[tuple[str, str]]] = {}
    for row in re.split(r"^   \* - ", chapter, flags=re.MULTILINE)[2:]:
        module = ""
        tests = found.setdefault(int(row.partition(".")[0]), [])
        for word in re.findall(r"\| ``([^`]+)``", row):
            if word.endswith(".py"):
                module = word
            else:
                tests.append((module, word))
    return found


@pytest.mark.parametrize("number", range(1, PROMISES + 1))
def test_every_promise_names_tests_that_exist(number: int) -> None:
    named = promises()[number]
    assert named
    for module, name in named:
        assert name in {function.name for function in functions(TESTS / module)}, (module, name)


def test_there_are_no_other_promises() -> None:
    assert sorted(promises()) == list(range(1, PROMISES + 1))


def row(**values: object) -> dict[str, object]:
    lone = {"fault": "a", "server": "mysql", "lease": "task", "seen": "nothing", "lost": 0}
    return {**lone, "recovery": 0.0021, **values}


def test_the_table_tells_the_worst_of_what_was_the_same() -> None:
    same = [row(), row(lease="transaction", lost=2, recovery=0.0051), row(recovery=None)]
    cells = ["a", "MySQL", "task and transaction", "nothing", "0 to 2", "5"]
    assert [line[7:] for line in rst(same).splitlines()[-6:]] == cells


def test_and_apart_what_was_different() -> None:
    told = rst([row(seen="OperationalError 2013"), row(lease="transaction"), row(server="mariadb")])
    assert told.count("* - a\n") == 3
