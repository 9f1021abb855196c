"""benchmarks.results: ratios of turns side by side, quartiles, and what a file has."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.results import (
    Result,
    Spread,
    by_case,
    by_table,
    compare,
    from_json,
    more_is_better,
    ratios,
    to_json,
)

FINITE = st.floats(min_value=0, max_value=1e9)


def test_quartiles_are_interpolated_between_values() -> None:
    assert Spread.of([4, 1, 3, 2, 5]) == Spread(2, 3, 4)
    assert Spread.of([1, 2]) == Spread(1.25, 1.5, 1.75)


def test_one_value_is_its_own_spread() -> None:
    assert Spread.of([7.0]) == Spread(7, 7, 7)


def test_there_is_no_spread_of_nothing() -> None:
    with pytest.raises(ValueError, match="of no values"):
        Spread.of([])


@given(st.lists(FINITE, min_size=1))
def test_quartiles_stand_in_their_order_within_the_values(values: list[float]) -> None:
    spread = Spread.of(values)
    nearly = 1e-6 * max(values)
    assert min(values) - nearly <= spread.low <= spread.median + nearly
    assert spread.median - nearly <= spread.high <= max(values) + nearly


def test_a_ratio_is_of_turns_of_one_round() -> None:
    """Noise that falls on a whole round is in none of them."""
    assert ratios([2, 20, 200], [1, 10, 100]) == [2, 2, 2]


def test_turns_of_different_number_are_not_compared() -> None:
    with pytest.raises(ValueError, match="shorter"):
        ratios([1, 2], [1])


def test_nothing_is_divided_by_zero() -> None:
    (one, reference) = compare("s", "c", "connects", {"one": [1, 1], "held": [0, 1]}, "held")
    assert one.ratio is None
    assert reference.ratio is None
    assert one.spread == Spread(1, 1, 1)


def test_the_reference_is_once_itself() -> None:
    held, ours = compare("s", "c", "µs", {"held": [10, 30], "ours": [5, 60]}, "held")
    assert held.ratio == Spread(1, 1, 1)
    assert ours == Result("s", "c", "ours", "µs", (5, 60), "held", Spread(0.875, 1.25, 1.625))


@pytest.mark.parametrize(
    ("unit", "more"),
    [
        ("requests/s", True),
        ("tasks/s", True),
        ("µs", False),
        ("sessions", False),
        ("ms, p99", False),
    ],
)
def test_of_a_rate_more_is_better_and_of_all_else_less(unit: str, more: bool) -> None:
    assert more_is_better(unit) is more


def results() -> list[Result]:
    found = []
    for case in ("one", "two"):
        for unit in ("µs", "sessions"):
            found += compare("s", case, unit, {"held": [1.0, 2.0], "ours": [0.0, 3.0]}, "held")
    return found


def test_a_table_has_one_unit_and_each_case_once() -> None:
    tables = list(by_table(results()))
    assert [(scenario, unit) for scenario, unit, _ in tables] == [("s", "µs"), ("s", "sessions")]
    for _, _, mine in tables:
        assert [case for case, _ in by_case(mine)] == ["one", "two"]


def test_what_was_written_is_read_again() -> None:
    document = json.loads(to_json(results(), {"date": "2026-11-29", "machine": {"processors": 2}}))
    assert from_json(document) == results()
    assert (document["date"], document["machine"]) == ("2026-11-29", {"processors": 2})
    assert from_json(json.loads(to_json([], {}))) == []


def test_a_result_is_a_line_whose_numbers_have_six_digits() -> None:
    (one,) = compare("s", "c", "µs", {"held": [10 / 3, 1_000_000 / 3]}, "held")
    (line,) = [line for line in to_json([one], {}).splitlines() if "samples" in line]
    assert json.loads(line)["samples"] == [3.33333, 333333.0]


def test_a_file_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 1, not 2"):
        from_json({"format": 2, "results": []})
