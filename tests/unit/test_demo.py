"""The demo: what it makes of the server's counters."""

from __future__ import annotations

from dataclasses import replace

import demo
import observer as demo_observer
import pytest

COUNTERS = demo_observer.Counters(connects=5, refused=0, statements=1040)

POOLED = demo.Outcome(demo.POOLED, demo.Summary(1000, 2, 0.5), 5, 4, COUNTERS)

STOCK = replace(POOLED, engine=demo.STOCK, peak=32, sampled_peak=30)


def test_the_summary_of_index_is_read() -> None:
    summary = demo.parse_summary("1234 files indexed, 2 skipped, in 0.50 s\n")
    assert summary == demo.Summary(indexed=1234, skipped=2, seconds=0.5)


def test_any_other_summary_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"manage\.py index ended with 'hello'"):
        demo.parse_summary("hello")


def test_a_column_has_the_rates() -> None:
    assert demo.column_of(POOLED) == {
        "files indexed": "1,000",
        "peak sessions": "5",
        "peak, sampled": "4",
        "connects": "5",
        "statements": "1,040",
        "statements / file": "1.04",
        "files / second": "2,000",
    }


def test_a_column_of_no_files_has_no_rates() -> None:
    column = demo.column_of(replace(POOLED, summary=demo.Summary(0, 0, 0.0)))
    assert column["statements / file"] == column["files / second"] == ""


def test_a_failure_that_is_not_the_servers_is_called_so() -> None:
    assert demo.column_of(replace(STOCK, summary=None))["files indexed"] == "failed"


def test_a_peak_within_the_pool_is_right_whatever_the_stock_engine_does() -> None:
    assert demo.verdict([replace(STOCK, summary=None), POOLED], 5) is None


@pytest.mark.parametrize("outcome", [replace(POOLED, peak=6), replace(POOLED, sampled_peak=6)])
def test_a_peak_above_the_pool_is_wrong(outcome: demo.Outcome) -> None:
    verdict = demo.verdict([STOCK, outcome], 5)
    assert verdict == "the server saw more than 5 sessions of mysqlpool.backends.mysqlpool"


def test_a_pooled_job_that_fails_is_wrong() -> None:
    outcome = replace(POOLED, summary=None)
    assert demo.verdict([STOCK, outcome], 5) == "mysqlpool.backends.mysqlpool failed"
