"""The words of the status page."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest

from mysqlpool.contrib.status.page import page_of, spoken
from mysqlpool.contrib.status.report import PoolReport, Report
from mysqlpool.errors import Holder
from mysqlpool.stats import PoolStats


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123, "12 ms"),
        (3.44, "3.4 s"),
        (310.4, "5 min 10 s"),
        (3599.6, "1 h 0 min"),
        (7384, "2 h 3 min"),
        (90_000, "25 h 0 min"),
    ],
)
def test_a_time_is_told_as_somebody_would_say_it(seconds: float, text: str) -> None:
    assert spoken(seconds) == text


def test_a_name_that_is_no_utf8_is_escaped() -> None:
    """Of a file or a thread: Python keeps what it could not decode as a surrogate."""
    name = os.fsdecode(b"caf\xe9")
    holder = Holder(name, 1, 1.0, "now at x.py:1 in f", f"{name}.py:1 in f", waits=False)
    pool = PoolReport(name, PoolStats(in_use=1), 0.0, (holder,), ())
    page = page_of(Report(datetime.now(UTC), 1, (pool,)), style="style.css")
    assert b"caf\\udce9.py:1" in page.encode()
