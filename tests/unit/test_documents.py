"""README.rst and docs/ are true: all blocks are known, and tables are compared with the code."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import logging
import os
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import demo
import pytest
from django.core.management import get_commands, load_command_class
from django.test import override_settings
from django.utils.module_loading import import_string
from sqlalchemy.pool import AssertionPool

import mysqlpool
from mysqlpool import PoolStats
from mysqlpool.conf.event_log import DEFAULTS as LOG_DEFAULTS
from mysqlpool.conf.rules import LOG_RULES, RULES, SESSION_DEFAULTS
from mysqlpool.conf.settings import DEFAULT_POOL_CLASS, POOL_CLASSES, _keywords, parse_pool_settings
from mysqlpool.events.log import JSONLinesFormatter, log_event
from mysqlpool.session.failures import Failure
from mysqlpool.session.renewal import clears
from mysqlpool.session.statements import Classifier
from tests.documents import (
    BLOCKS,
    CODE,
    COMMANDS,
    ELSEWHERE,
    RESULTS,
    TEXTS,
    blocks_of,
    code,
    table,
    tables_of,
)
from tests.helpers import ROOT

LIBRARY = Path(mysqlpool.__file__).parent

# Blocks


MARKUP = {"image", "include", "toctree", "autoclass", "autofunction", "automodule", "list-table"}


def test_no_block_is_overlooked() -> None:
    shown = [block for block in BLOCKS if block.kind.removeprefix("directive ") not in MARKUP]
    assert {block.kind for block in shown} == {"python", "sh", "json", "text"}
    texts = [text for name, text in TEXTS.items() if name not in ELSEWHERE]
    directives = [re.findall(r"^\s*\.\. [\w-]+::", text, re.M) for text in texts]
    assert len(BLOCKS) == sum(map(len, directives)) + sum(t.count("::\n\n ") for t in texts)


def test_the_code_of_each_section_is_run_and_says_what_it_leaves() -> None:
    assert {block.section for block in CODE} == RESULTS.keys()
    assert len({(block.document, block.section) for block in CODE}) == len(RESULTS)


@pytest.mark.parametrize("document", ELSEWHERE)
def test_a_document_with_tests_of_its_own_is_named_there(document: str) -> None:
    assert document in TEXTS
    assert document in (ROOT / ELSEWHERE[document]).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("So::\n\n    x = 1\n", ["literal block"]),
        ("- So:\n\n  .. code-block:: ruby\n\n     x\n", ["ruby"]),
        (".. code:: python\n\n   x\n", ["directive code"]),
        (">>> x\n1\n", ["doctest"]),
        ("x::y and ``a::``\n", []),
    ],
)
def test_a_block_of_any_other_kind_is_seen_too(text: str, kinds: list[str]) -> None:
    assert [block.kind for block in blocks_of(text)] == kinds


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists_and_knows_its_arguments(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    match [word for word in shlex.split(command) if word != "sudo"]:
        case ["scripts/demo", *arguments]:
            assert os.access(ROOT / "scripts" / "demo", os.X_OK)
            monkeypatch.setattr(sys, "argv", ["demo.py", *arguments])
            demo.parse_arguments()
        case [script, *_] if script.startswith("scripts/"):
            assert os.access(ROOT / script, os.X_OK)
        case ["pip", "install", *what]:
            assert what[0] == "." or (what[0] == "-e" and extra(what[1]) in extras())
        case ["apt-get", "install", *packages]:
            assert set(packages) <= set((ROOT / "scripts" / "install").read_text().split())
        case ["python", "manage.py" | "example/manage.py", name, *arguments]:
            assert (ROOT / "example" / "manage.py").is_file()
            load_command_class(get_commands()[name], name).create_parser("", name).parse_args(
                arguments
            )
        case _:
            pytest.fail(f"nobody knows how to test {command!r}")


def extra(requirement: str) -> str:
    match = re.fullmatch(r"\.\[(\w+)\]", requirement)
    assert match, f"{requirement!r} is not this project with an extra"
    return match[1]


def extras() -> list[str]:
    return re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(), re.M)


def test_the_line_of_the_event_log_is_one_that_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (block,) = (block for block in BLOCKS if block.kind == "json")
    shown = json.loads(block.text)
    logger, level = logging.getLogger(shown["logger"]), getattr(logging, shown["level"])
    with caplog.at_level(level, logger.name):
        log_event(logger, level, shown["event"], shown["alias"], **shown["fields"])
    written = json.loads(JSONLinesFormatter().format(caplog.records[-1]))
    assert list(written) == list(shown)
    assert re.sub(r"\d", "0", written["time"]) == re.sub(r"\d", "0", shown["time"])
    for own in ("time", "host", "pid", "thread"):
        written[own] = shown[own]
    assert written == shown


@pytest.mark.parametrize("document", TEXTS)
def test_no_page_has_contents_of_its_own(document: str) -> None:
    """The theme has them at the side, and shows an error in the place of others."""
    assert ".. contents::" not in TEXTS[document]


# Tables


@pytest.mark.parametrize("document", [*TEXTS, "CONTRIBUTING.rst", "benchmarks/README.rst"])
def test_no_row_of_a_table_goes_on_in_its_first_cell(document: str) -> None:
    """A simple table takes that for another row. A list-table has as many lines as it likes."""
    text = (ROOT / document).read_text(encoding="utf-8")
    for rows in tables_of(text):
        for row in rows:
            assert any(row[1:]), f"{row} has a first cell alone"
            for cell in row:
                assert cell.count("(") == cell.count(")"), f"{row} is cut"
                assert not cell.count("``") % 2, f"{row} is cut"
            assert row[0][-1] not in ",:;", f"{row} is cut"


LETTERS = {
    "F": "FairQueuePool",
    "Q": "QueuePool",
    "N": "NullPool",
    "T": "StaticPool",
    "S": "SingletonThreadPool",
    "A": "AssertionPool",
}
KEYWORDS = {name: _keywords(import_string(path)) for name, path in POOL_CLASSES.items()}
CONFIGURATION = {code(row[0]): row[1:] for row in table("Key", "Classes")}


def test_the_configuration_table_has_every_key_and_no_other() -> None:
    assert CONFIGURATION.keys() == {"class", *SESSION_DEFAULTS}.union(*KEYWORDS.values())
    assert KEYWORDS.keys() == set(LETTERS.values())


@pytest.mark.parametrize("key", CONFIGURATION)
def test_a_key_has_the_classes_the_default_and_the_unit_of_the_table(key: str) -> None:
    classes, default, unit, _ = CONFIGURATION[key]
    known = [letter for letter, name in LETTERS.items() if key in KEYWORDS[name]]
    if key == "class" or key in SESSION_DEFAULTS:
        known = list(LETTERS)
    assert classes == ("all" if len(known) == len(LETTERS) else " ".join(known))
    if key == "logging_name":
        assert default == "the alias"
    else:
        assert ast.literal_eval(code(default)) == default_of(key)
    if key in RULES:
        rule = RULES[key].text
        assert (unit == "seconds") == ("seconds" in rule)
        assert (unit in ("sessions", "waiters")) == ("integer" in rule)


def default_of(key: str) -> Any:
    if key == "class":
        return DEFAULT_POOL_CLASS
    if key == "store_traceback":  # Which is in no signature.
        return AssertionPool(object)._store_traceback
    with override_settings(MYSQLPOOL_ARGUMENTS={}):
        parsed = parse_pool_settings("default", {})
    known = {**parsed.arguments, **{name: getattr(parsed, name) for name in SESSION_DEFAULTS}}
    value = known[key] if key in known else in_signature(parsed.pool_class, key)
    # For SQLAlchemy None is the same as False here.
    return False if (key, value) == ("echo", None) else RULES[key].convert(value)


def in_signature(pool_class: type, key: str) -> Any:
    for base in pool_class.__mro__:
        parameters = inspect.signature(vars(base).get("__init__", object)).parameters
        if key in parameters:
            return parameters[key].default
    raise AssertionError(f"{pool_class.__name__} does not know {key!r}")


def test_the_table_of_classes_has_each_class() -> None:
    assert [code(row[0]) for row in table("``class``", "What")] == list(POOL_CLASSES)


def test_the_table_of_statistics_has_each_attribute() -> None:
    fields = [field.name for field in dataclasses.fields(PoolStats)]
    assert [code(row[0]) for row in table("Attribute", "Meaning")] == fields


def test_the_table_of_reasons_has_each_for_which_a_session_is_closed() -> None:
    named = {name for row in table("Reason", "The") for name in re.findall("``([^`]+)``", row[0])}
    said = r"broken = |condemn\((?:\w+, )?|discard\(|abandon\(|distrust = |reason = (?=.fit)"
    said += r"|\n(?:DEAD|NOT_RENEWED|IDENTITY|NO_ANSWER) = "
    given = re.findall(rf'(?:{said})"([a-z_ -]+)"', sources())
    assert len(given) > 15
    assert set(given) <= named
    for name in named - {"SET", "CALL", "a user variable", "error 2013", "commit unknown: ..."}:
        assert f'"{name}"' in sources(), name


def test_the_table_of_failures_has_each_that_costs_a_session() -> None:
    told = [code(row[0]) for row in table("Failure", "The")]
    assert sorted(told) == sorted(one.name.lower() for one in Failure if one.is_unfit)


def sources() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in LIBRARY.rglob("*.py"))


def test_the_table_of_the_event_log_has_each_key_and_its_default() -> None:
    rows = {code(row[0]): row[1] for row in table("Key", "Default")}
    defaults = {key: ast.literal_eval(code(cell)) for key, cell in rows.items() if cell}
    assert defaults == LOG_DEFAULTS
    assert rows.keys() == LOG_RULES.keys()


@pytest.mark.parametrize(("statement", "state"), table("Statement", "Session"))
def test_a_statement_leaves_the_session_as_the_table_tells(statement: str, state: str) -> None:
    sql = code(statement).encode()
    effect = Classifier().effect(sql)
    found = "dirty" if effect.dirty else "in transaction" if effect.transaction else "clean"
    if effect.dirty and clears(sql, Classifier()):
        found = "dirty, renewed"
    assert found == state


# Words


def test_the_versions_are_those_of_the_metadata() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    python = re.findall(r"Python :: (3\.\d+)", setup)
    *django, last = re.findall(r"Django :: (\d\.\d)", setup)
    (mysqlclient,) = re.findall(r"mysqlclient>=([\d.]+)", setup)
    words = " ".join(TEXTS["README.rst"].split())
    assert f"Python {python[0]} to {python[-1]}, Django {', '.join(django)} or {last}" in words
    assert f"mysqlclient {mysqlclient} or newer" in words
    assert set(re.findall(r"mysqlpool[ =]+(\d+\.[\d.]+\d)", words)) <= {mysqlpool.__version__}


@pytest.mark.parametrize("document", TEXTS)
def test_every_path_that_is_named_exists(document: str) -> None:
    text = TEXTS[document]
    named = set(re.findall(r"``((?:docs|example|scripts|tests|mysqlpool)/[\w/.-]*)``", text))
    named |= set(re.findall(r"``(\w+\.rst)``", text))
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    readme = TEXTS["README.rst"]
    assert len(readme.splitlines()) < 200
    index = TEXTS["docs/index.rst"]
    pages = [Path(name).stem for name in TEXTS if name.startswith("docs/")]
    assert [page for page in pages if f"   {page}\n" not in index] == ["index"]


def test_the_pages_come_in_the_order_in_which_they_are_needed() -> None:
    captions = re.findall(r":caption: (\w+)", TEXTS["docs/index.rst"])
    assert captions == ["Tutorial", "How", "How", "Reference", "Explanation", "The"]


def test_what_somebody_sees_who_looks_for_help_is_what_is_said() -> None:
    headings = re.findall(r"^(.*``.*)\n~+$", TEXTS["docs/trouble.rst"], re.MULTILINE)
    seen = [text for heading in headings for text in re.findall("``([^`]+)``", heading)]
    seen += re.findall("``([^`]+)``", "".join(row[0] for row in table("The line ends with")))
    assert len(seen) > 14
    for text in set(seen) - {"connection.connection", "pinned by SET"}:
        assert text in sources(), text


def test_every_name_of_the_package_exists() -> None:
    everything = "".join(TEXTS.values())
    for name in mysqlpool.__all__:
        assert name in everything
    for dotted in re.findall(r"``(mysqlpool\.(?:errors|middleware)\.\w+)``", everything):
        import_string(dotted)
