"""Numbers, as people read and write them."""

from __future__ import annotations

import argparse
import math

__all__ = ["count", "duration", "percent", "plural", "positive_integer", "positive_seconds"]

MAX_SECONDS = 86400


def duration(seconds: float | None) -> str:
    """Seconds with a fitting unit and two digits that count: ``0.35 ms``, ``12 ms``, ``3.0 min``.

    A dash for None, which is for what was not measured.
    """
    if seconds is None:
        return "-"
    if seconds < 1:
        return f"{_two_digits(seconds * 1000)} ms"
    if seconds < 120:
        return f"{_two_digits(seconds)} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def _two_digits(number: float) -> str:
    number = float(f"{number:.2g}")
    places = 1 - math.floor(math.log10(number)) if number else 0
    return f"{number:.{max(0, min(3, places))}f}"


def percent(share: float) -> str:
    return f"{share:.0%}".replace("%", " %")


def count(number: float) -> str:
    """A number of things, with commas between thousands."""
    return f"{number:,.0f}"


def plural(number: int, one: str, more: str = "") -> str:
    """``1 waiter``, ``2 waiters``."""
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def positive_integer(text: str) -> int:
    """For argparse: a whole number from 1 to 10,000."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 0 < number <= 10_000:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to 10000, not {text!r}")
    return number


def positive_seconds(text: str) -> float:
    """For argparse: a number of seconds above 0 and up to a day."""
    try:
        number = float(text)
    except ValueError:
        number = 0
    if not 0 < number <= MAX_SECONDS:
        raise argparse.ArgumentTypeError(
            f"must be a number of seconds above 0 and up to {MAX_SECONDS}, not {text!r}"
        )
    return number
