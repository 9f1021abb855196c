"""Numbers are read and written as people do it."""

from __future__ import annotations

from argparse import ArgumentTypeError

import pytest

from mysqlpool.management.words import (
    count,
    duration,
    percent,
    plural,
    positive_integer,
    positive_seconds,
)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0 ms"),
        (0.0000254, "0.025 ms"),
        (0.000996, "1.0 ms"),
        (0.0121, "12 ms"),
        (0.1234, "120 ms"),
        (3.04, "3.0 s"),
        (57, "57 s"),
        (180, "3 min"),
        (86400, "24 h"),
    ],
)
def test_a_duration_has_two_digits_and_a_fitting_unit(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_numbers_of_things() -> None:
    assert count(12345.6) == "12,346"
    assert percent(0.305) == "30 %"
    assert [plural(n, "process", "processes") for n in (1, 2)] == ["1 process", "2 processes"]
    assert plural(0, "waiter") == "0 waiters"


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1e9", "soon", ""])
def test_what_is_no_time_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"above 0 and up to 86400, not "):
        positive_seconds(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", "", "10001"])
def test_what_is_no_number_of_threads_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match=r"from 1 to 10000, not "):
        positive_integer(text)


def test_what_is_given_is_taken() -> None:
    assert positive_seconds("0.5") == 0.5
    assert positive_integer("16") == 16
