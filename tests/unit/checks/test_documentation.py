"""docs/checks.rst has every check, and docs/command.rst every line of ``mysqlpool check``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mysqlpool import checks
from tests.helpers import ROOT

DOCS = ROOT / "docs"
SOURCES = "".join(path.read_text("utf-8") for path in Path(checks.__file__).parent.glob("*.py"))


def headings(name: str) -> list[str]:
    text = (DOCS / name).read_text("utf-8")
    return [
        heading
        for heading, line in re.findall(r"^(\S.*)\n([=~-]+)$", text, re.M)
        if len(line) >= len(heading)
    ]


def test_every_id_has_a_chapter_and_no_other_has() -> None:
    given = re.findall(r'\bid="mysqlpool\.([EWI]\d{3})"', SOURCES)
    told = re.findall(r"mysqlpool\.([EWI]\d{3})", " ".join(headings("checks.rst")))
    assert sorted(told) == sorted(given), "an ID is one function's, and one chapter's"


def test_ids_are_numbered_without_gaps() -> None:
    for letter in "EWI":
        numbers = {int(n) for n in re.findall(rf'\bid="mysqlpool\.{letter}(\d+)"', SOURCES)}
        assert numbers == set(range(1, max(numbers) + 1)), letter


def test_every_chapter_of_a_check_has_a_remedy() -> None:
    text = (DOCS / "checks.rst").read_text("utf-8")
    chapters = re.split(r"^(?=mysqlpool\.[EW]\d)", text, flags=re.M)[1:]
    missing = [chapter.split(":")[0] for chapter in chapters if "\nRemedy: " not in chapter]
    # Information is mended like the warnings before it.
    assert missing == []


def test_the_table_of_the_command_has_every_line_that_it_prints() -> None:
    table = (DOCS / "command.rst").read_text("utf-8")
    topics = re.findall(r'Level\.\w+,\s+"([\w -]+)"', SOURCES)
    topics += re.findall(r'Finding\(\s*level, "(\w+)"', SOURCES)
    assert {"TLS", "account", "max_connections", "connect", "settings"} <= set(topics)
    for topic in set(topics):
        assert f"\n``{topic}``" in table, topic


@pytest.mark.parametrize("name", ["checks.rst", "command.rst"])
def test_the_page_is_good_restructuredtext(name: str) -> None:
    core = pytest.importorskip("docutils.core")
    roles = pytest.importorskip("docutils.parsers.rst.roles")
    roles.register_generic_role("doc", roles.nodes.literal)  # Sphinx', whose build checks links
    strict = {"halt_level": 2, "report_level": 2}
    core.publish_doctree((DOCS / name).read_text("utf-8"), settings_overrides=strict)
