"""docs/servers.rst tells what the records of tests/servers tell, and its code is what they run."""

from __future__ import annotations

import re
import textwrap
import traceback
from pathlib import Path

import pytest

from tests.conftest import is_under
from tests.helpers import ROOT
from tests.servers.products import PRODUCTS, QUEUES, SERVERS, Product
from tests.servers.project.work import Wanted
from tests.servers.running import unwanted
from tests.servers.table import commands, releases

PAGE = (ROOT / "docs" / "servers.rst").read_text(encoding="utf-8")
PROJECT = ROOT / "tests" / "servers" / "project"


def test_the_tables_are_those_of_the_records() -> None:
    assert f"\n{releases()}\n" in PAGE
    assert f"\n{commands()}\n" in PAGE
    assert PAGE.count(".. list-table::") == 2


def test_each_name_is_one_products_alone() -> None:
    names = [product.name for product in PRODUCTS]
    assert len(names) == len(set(names)) > 15


def test_six_of_them_run_in_ci() -> None:
    assert [product.name for product in PRODUCTS if product.in_ci] == [
        "gunicorn (gthread)",
        "uvicorn",
        "daphne",
        "runserver",
        "Celery (prefork)",
        "Celery (threads)",
    ]


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_tox_installs_what_each_needs(product: Product) -> None:
    text = (ROOT / "tox.ini").read_text(encoding="utf-8")
    section = re.split(r"^\[testenv:servers\]\n", text, flags=re.MULTILINE)[1].partition("\n[")[0]
    wanted = {line.strip().partition("[")[0] for line in section.splitlines()} | {"Django"}
    assert wanted & set(product.package.split())


def code() -> list[str]:
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE, re.MULTILINE)
    return [textwrap.dedent(block).strip() for block in blocks]


@pytest.mark.parametrize("block", code())
def test_the_code_on_the_page_is_what_the_tests_run(block: str) -> None:
    sources = [path.read_text(encoding="utf-8") for path in PROJECT.glob("*.py")]
    assert any(block in textwrap.dedent(source) or indented(block, source) for source in sources)


def indented(block: str, source: str) -> bool:
    """Whether it stands in a block of the source."""
    return textwrap.indent(block, "    ") in source


def test_there_is_code_on_the_page() -> None:
    assert len(code()) == PAGE.count(".. code-block::") >= 6


def test_what_is_asked_by_message_or_by_module_exists() -> None:
    for queue in QUEUES:
        assert Path(PROJECT, f"with_{queue.module}.py").exists()
    assert any(server.websocket for server in SERVERS)


class Item:
    """What pytest's items tell of their marks."""

    def __init__(self, *marks: pytest.MarkDecorator) -> None:
        self.marks = [mark.mark for mark in marks]

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return [mark for mark in self.marks if mark.name == name]


ONE, RARE = pytest.mark.servers, pytest.mark.servers(everything=True)


@pytest.mark.parametrize(
    ("option", "item", "runs"),
    [
        (None, Item(), True),
        ("some", Item(), True),
        (None, Item(ONE), False),
        ("some", Item(ONE), True),
        ("some", Item(ONE, RARE), False),
        (None, Item(ONE, RARE), False),
        ("all", Item(ONE, RARE), True),
    ],
)
def test_a_run_leaves_out_the_servers_that_it_was_not_asked_for(
    option: str | None, item: Item, runs: bool
) -> None:
    assert is_under(option, item) == runs  # type: ignore[arg-type]


def traceback_of(error: Exception) -> str:
    try:
        raise error
    except Exception:
        return traceback.format_exc()


def test_of_a_log_only_the_failures_that_are_wanted_are_overlooked() -> None:
    wanted, other = traceback_of(Wanted(7)), traceback_of(ValueError("a"))
    assert unwanted(f"began\n{wanted}{wanted}ended") == []
    (found,) = unwanted(f"{wanted}{other}{wanted}")
    assert "ValueError: a" in found
