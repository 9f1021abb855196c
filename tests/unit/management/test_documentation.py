"""docs/command.rst has every option and every column of status and bench, and no other."""

from __future__ import annotations

import re
from types import ModuleType

import pytest
from django.core.management.base import CommandParser

from mysqlpool.management import bench, status
from tests.helpers import ROOT

TEXT = (ROOT / "docs" / "command.rst").read_text("utf-8")


def chapter(name: str) -> str:
    """What stands under a heading, up to the next one."""
    match = re.search(rf"\n{name}\n-+\n(.*?)(?=\n\w+\n-+\n|\Z)", TEXT, re.DOTALL)
    assert match is not None
    return match[1]


@pytest.mark.parametrize(("name", "module"), [("status", status), ("bench", bench)])
def test_every_option_is_documented_and_no_other(name: str, module: ModuleType) -> None:
    parser = CommandParser(add_help=False)
    module.add_arguments(parser)
    known = {string for action in parser._actions for string in action.option_strings}
    assert set(re.findall(r"^``(--\w+)", chapter(name), re.MULTILINE)) == known


@pytest.mark.parametrize(
    ("name", "headings"), [("status", status.HEADINGS), ("bench", bench.HEADINGS)]
)
def test_the_output_that_is_shown_has_the_columns_of_today(
    name: str, headings: tuple[str, ...]
) -> None:
    lines = [re.split("  +", line.strip()) for line in chapter(name).splitlines()]
    assert list(headings) in lines


def test_every_column_of_status_is_explained() -> None:
    explained = set(re.findall(r"^``([a-z][a-z0-9 ]+)`` ", chapter("status"), re.MULTILINE))
    assert explained == set(status.HEADINGS) - {"alias", "pid"}
