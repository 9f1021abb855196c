"""benchmarks.tables and benchmarks.summary: how figures are shown."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from benchmarks.contestants import CLOSED, HELD, POOLED, TASK, TRANSACTION
from benchmarks.results import Spread, compare
from benchmarks.summary import ROWS, rst_table
from benchmarks.tables import number, print_tables, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.955, "0.95"), (1.5, "1.50"), (12.34, "12.3"), (1234.5, "1,234"), (7.0, "7")],
)
def test_a_number_has_three_digits_that_matter(value: float, text: str) -> None:
    assert number(value) == text


def test_a_median_is_never_shown_without_its_quartiles() -> None:
    assert shown(Spread(1.41, 1.52, 1.58)) == "1.52 (1.41-1.58)"


def test_what_is_always_the_same_is_one_number() -> None:
    assert shown(Spread(3, 3, 3)) == "3"


def test_a_table_tells_what_is_divided_by_what_and_which_way_is_better() -> None:
    found = compare("cycle", "with SELECT 1", "µs", {"held": [10, 10], "ours": [12, 14]}, "held")
    text = io.StringIO()
    print_tables(Console(file=text, width=130), found)
    assert "cycle: µs (less is better)" in text.getvalue()
    assert "times held" in text.getvalue()
    assert "1.30 (1.25-1.35)" in text.getvalue()


def test_the_table_of_the_documents_is_one_and_leaves_out_what_was_not_measured() -> None:
    row = ROWS[0]
    samples = {HELD: [2, 2], CLOSED: [1, 1], POOLED: [1, 2], TRANSACTION: [2, 3], TASK: [2, 2]}
    table = rst_table(compare(row.scenario, row.case, row.unit, samples, HELD))
    border, headings, border_again, line, end = table.splitlines()
    assert border == border_again == end
    assert re.split("  +", headings) == [f"Times {HELD}", CLOSED, POOLED, TRANSACTION, TASK]
    assert re.split("  +", line) == [row.text, "0.50", "0.75 (0.62-0.88)", "1.25 (1.12-1.38)", "1"]
    assert [len(part) for part in border.split("  ")][1:3] == [len(CLOSED), len(POOLED)]
