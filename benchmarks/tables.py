"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from .results import Result, Spread, by_case, by_table, more_is_better

__all__ = ["print_tables", "shown", "table"]


def print_tables(console: Console, results: Iterable[Result]) -> None:
    for scenario, unit, mine in by_table(results):
        console.print(table(scenario, unit, mine))


def table(scenario: str, unit: str, results: list[Result]) -> Table:
    """One of a scenario and a unit. Medians, with the quartiles in parentheses."""
    better = "more" if more_is_better(unit) else "less"
    drawn = Table(title=f"{scenario}: {unit} ({better} is better)", title_justify="left")
    drawn.add_column("case")
    drawn.add_column("contestant")
    drawn.add_column(unit, justify="right")
    drawn.add_column(f"times {results[0].reference}", justify="right")
    for case, mine in by_case(results):
        for number, result in enumerate(mine):
            drawn.add_row(
                case if number == 0 else "",
                result.contestant,
                shown(result.spread),
                "" if result.ratio is None else shown(result.ratio),
                end_section=number == len(mine) - 1,
            )
    return drawn


def shown(spread: Spread) -> str:
    """``1.52 (1.49-1.58)``, or one number where all values are the same."""
    median = number(spread.median)
    if spread.low == spread.high:
        return median
    return f"{median} ({number(spread.low)}-{number(spread.high)})"


def number(value: float) -> str:
    """With three digits that matter, and no more than the value has."""
    if value == round(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
