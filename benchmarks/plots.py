"""Results as pictures: SVG for pages, PNG for whoever takes no SVG.

What is drawn are the ratios, each with its quartiles, and a line at 1. Where the cases are numbers
of threads, lines show the medians by their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .results import Result, by_case, by_table, more_is_better

__all__ = ["FORMATS", "figure", "save", "threads_of"]

FORMATS = ("svg", "png")
# One colour for each contestant, in the order in which they first appear (Okabe and Ito's).
COLOURS = ("#000000", "#0072b2", "#56b4e9", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#999999")
STYLE: Any = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # Text stays text, which is small and can be searched.
    "svg.hashsalt": "mysqlpool",  # The same results give the same file.
}
MOST_PANELS, ROW = 8, 0.19  # inches


def save(results: Sequence[Result], path: Path, formats: Iterable[str] = FORMATS) -> list[Path]:
    """Draw them; the files that were made: ``path`` with each format's suffix."""
    import matplotlib as mpl

    mpl.use("Agg")
    files = []
    with mpl.rc_context(STYLE):
        drawn = figure(results)
        for kind in formats:
            target = path.with_suffix(f".{kind}")
            metadata = {"Date": None} if kind == "svg" else None
            drawn.savefig(target, metadata=metadata, dpi=150)
            files.append(target)
    return files


def figure(results: Sequence[Result]) -> Any:
    """A figure with a panel for each scenario and unit that has ratios."""
    from matplotlib.figure import Figure

    panels = [panel for panel in by_table(results) if any(r.ratio for r in panel[2])]
    panels = panels[:MOST_PANELS]
    if not panels:
        raise ValueError("there is nothing to draw: no result has a ratio")
    colours = colours_of(results)
    heights = [height(mine) for _, _, mine in panels]
    drawn = Figure(figsize=(8, sum(heights)), layout="constrained")
    axes = drawn.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for axis, (scenario, unit, mine) in zip(axes, panels, strict=True):
        if is_by_threads(mine):
            draw_lines(axis, unit, mine, colours)
        else:
            draw_ratios(axis, mine, colours)
        better = "more" if more_is_better(unit) else "less"
        axis.set_title(f"{scenario}: {unit}, {better} is better", loc="left", fontsize=9)
    return drawn


def colours_of(results: Iterable[Result]) -> Mapping[str, str]:
    names = dict.fromkeys(result.contestant for result in results)
    return {name: COLOURS[number % len(COLOURS)] for number, name in enumerate(names)}


def height(results: Sequence[Result]) -> float:
    """Inches that a panel wants."""
    return 3.2 if is_by_threads(results) else 0.9 + ROW * len(results)


def draw_ratios(axis: Any, results: Sequence[Result], colours: Mapping[str, str]) -> None:
    """A row for each contestant of each case: a dot at the median, a line over the quartiles."""
    rows = [(case, one) for case, mine in by_case(results) for one in mine if one.ratio]
    several = len({case for case, _ in rows}) > 1
    ratios = [result.ratio for _, result in rows if result.ratio]
    each = [colours[result.contestant] for _, result in rows]
    axis.hlines(range(len(rows)), [r.low for r in ratios], [r.high for r in ratios], each, lw=2)
    axis.scatter([r.median for r in ratios], range(len(rows)), s=14, c=each, zorder=3)
    labels = [f"{case}: {r.contestant}" if several else r.contestant for case, r in rows]
    axis.set_yticks(range(len(rows)), labels, fontsize=7)
    axis.invert_yaxis()
    scale_of(axis, [ratio.median for ratio in ratios])
    axis.axvline(1, color="#999999", lw=0.8, zorder=0)
    axis.set_xlabel(f"times {results[0].reference}")


def scale_of(axis: Any, values: Sequence[float]) -> None:
    """From nothing, or by powers where the greatest is many times the least."""
    if min(values) > 0 and max(values) > 8 * min(values):
        axis.set_xscale("log")
        axis.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
    else:
        axis.set_xlim(left=0)


def is_by_threads(results: Sequence[Result]) -> bool:
    cases = dict.fromkeys(result.case for result in results)
    return len(cases) > 2 and all(threads_of(case) for case in cases)


def threads_of(case: str) -> int | None:
    """64 for "64 threads"; None where a case is something else."""
    match = re.fullmatch(r"([\d,]+) threads?", case)
    return int(match[1].replace(",", "")) if match else None


def draw_lines(axis: Any, unit: str, results: Sequence[Result], colours: Mapping[str, str]) -> None:
    """A line for each contestant over the numbers of threads, with its quartiles."""
    for name in dict.fromkeys(result.contestant for result in results):
        mine = [result for result in results if result.contestant == name]
        threads = [threads_of(result.case) for result in mine]
        axis.plot(
            threads, [r.spread.median for r in mine], "o-", ms=3, color=colours[name], label=name
        )
        axis.fill_between(
            threads,
            [r.spread.low for r in mine],
            [r.spread.high for r in mine],
            color=colours[name],
            alpha=0.15,
            lw=0,
        )
    axis.set_xscale("log", base=2)
    axis.xaxis.set_major_formatter(lambda value, place: f"{value:g}")
    axis.set_xlabel("threads")
    axis.set_ylabel(unit)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7, frameon=False)
