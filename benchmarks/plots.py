"""Results as pictures: SVG for pages, PNG for whoever takes no SVG.

What is drawn are the ratios, each with its quartiles, and a line at 1. Where the cases are numbers
of threads, lines show the medians by their number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .results import Result, by_table, more_is_better

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
MOST_PANELS, ROW = 8, 0.1  # inches for each dot


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

    panels = [panel for panel in by_table(results) if others(panel[2])]
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
    if is_by_threads(results):
        return 3.2
    return 0.9 + max(1.0, ROW * len(others(results)))


def others(results: Iterable[Result]) -> list[Result]:
    """Those that are drawn as dots: the reference is the line at 1."""
    return [one for one in results if one.ratio and one.contestant != one.reference]


def draw_ratios(axis: Any, results: Sequence[Result], colours: Mapping[str, str]) -> None:
    """For each case a dot for each contestant, at its median, with a line over the quartiles."""
    cases = list(dict.fromkeys(result.case for result in results))
    names = list(dict.fromkeys(result.contestant for result in others(results)))
    for number, name in enumerate(names):
        mine = [result for result in others(results) if result.contestant == name]
        shift = ((number + 0.5) / len(names) - 0.5) * 0.75
        places = [cases.index(result.case) + shift for result in mine]
        ratios = [result.ratio for result in mine if result.ratio]
        lows, highs = [ratio.low for ratio in ratios], [ratio.high for ratio in ratios]
        axis.hlines(places, lows, highs, colours[name], lw=1.5)
        medians = [ratio.median for ratio in ratios]
        axis.scatter(medians, places, s=12, color=colours[name], label=name, zorder=3)
    axis.set_yticks(range(len(cases)), cases, fontsize=8)
    axis.set_ylim(len(cases) - 0.4, -0.6)  # The first is on top.
    scale_of(axis, [result.ratio.median for result in others(results) if result.ratio])
    axis.axvline(1, color="#999999", lw=0.8, zorder=0)
    axis.set_xlabel(f"times {results[0].reference}")
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


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
    axis.legend(fontsize=7, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
