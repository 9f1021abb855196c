"""The words of the status page."""

from __future__ import annotations

import pytest

from mysqlpool.contrib.status.page import spoken


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
