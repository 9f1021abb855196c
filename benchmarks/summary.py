"""What README.rst and docs/ show of the saved results: one table and one picture."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .contestants import CLOSED, HELD, POOLED, TASK, TRANSACTION
from .plots import COLOURS, STYLE
from .results import Result, from_json
from .tables import shown

__all__ = ["ROWS", "Row", "draw", "read", "rst_table", "told"]

# Beside the reference, which is 1.
COLUMNS = (CLOSED, POOLED, TRANSACTION, TASK)


TOLD = ("Python", "Django", "SQLAlchemy", "mysqlclient", "django-db-connection-pool")


@dataclass(frozen=True)
class Row:
    """One line of the table: a case in a unit, and how it is called there."""

    text: str
    scenario: str
    case: str
    unit: str


ROWS = (
    Row("requests/s, gunicorn", "requests", "gunicorn", "requests/s"),
    Row("... and µs of processor", "requests", "gunicorn", "µs of processor"),
    Row("requests/s, uvicorn", "requests", "uvicorn", "requests/s"),
    Row("tasks/s, 64 threads, 50 ms calls", "slow_calls", "64 threads, 50 ms", "tasks/s"),
    Row("... and sessions", "slow_calls", "64 threads, 50 ms", "sessions"),
    Row("tasks/s, 16 busy threads", "tasks", "16 threads", "tasks/s"),
    Row("tasks/s, 256 busy threads", "tasks", "256 threads", "tasks/s"),
    Row("µs, a query, one thread", "cycle", "with SELECT 1", "µs"),
    Row("µs, a new thread a query", "thread_per_task", "start, query, release, join", "µs"),
    Row("ms, one write, 1 ms away", "latency", "one write, 1 ms added", "ms"),
    Row("calls, a request", "calls", "request", "calls"),
)


def read(folder: Path, flavour: str) -> tuple[list[Result], list[Mapping[str, Any]]]:
    """All saved results of one kind of server, and the files that they are from."""
    documents = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob(f"*-{flavour}.json"))
    ]
    return [result for document in documents for result in from_json(document)], documents


def told(documents: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on when, where and on what these were measured, and what else the machine did."""
    dates = sorted(document["date"] for document in documents)
    loads = [d[when][0] for d in documents for when in ("load before", "load after")]
    last = max(documents, key=lambda document: document["date"])
    machine, versions = last["machine"], last["versions"]
    packages = ", ".join(f"{name} {versions[name]}" for name in TOLD)
    text = (
        f"Measured from {dates[0][:16]} to {dates[-1][:16]} UTC on {versions['server']}, "
        f"{packages}, on {machine['processors']} processors ({machine['processor']}). "
        f"The load average was {min(loads):.1f} to {max(loads):.1f} before and after each scenario."
    )
    return "\n".join(textwrap.wrap(text, 100, break_on_hyphens=False)) + "\n"


def rst_table(results: Iterable[Result]) -> str:
    """The ratios as a table in reStructuredText; rows without results are left out."""
    by_key = {(r.scenario, r.case, r.unit, r.contestant): r for r in results}
    lines: list[Sequence[str]] = [("Times Django, CONN_MAX_AGE=None", *COLUMNS)]
    for row in ROWS:
        found = [by_key.get((row.scenario, row.case, row.unit, name)) for name in COLUMNS]
        if any(found):
            lines.append((row.text, *(cell(result) for result in found)))
    return simple_table(lines)


def cell(result: Result | None) -> str:
    return "" if result is None or result.ratio is None else shown(result.ratio)


def simple_table(lines: Sequence[Sequence[str]]) -> str:
    """A simple table, whose first line has the headings."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    border = "  ".join("=" * width for width in widths)
    drawn = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([border, drawn[0], border, *drawn[1:], border]) + "\n"


def draw(results: Sequence[Result], target: Path) -> None:
    """The picture: requests a second, and what threads with slow calls do on how many sessions."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        drawn = Figure(figsize=(7.6, 2.2), layout="constrained")
        panels = drawn.subplots(1, 3, sharey=True)
        titles = ("requests/s, gunicorn", "tasks/s, 64 threads, 50 ms calls", "sessions for them")
        for axis, title, row in zip(panels, titles, (ROWS[0], *ROWS[3:5]), strict=True):
            bars(axis, title, row, results)
        panels[0].invert_yaxis()
        drawn.savefig(target, metadata={"Date": None})
    # matplotlib ends lines of paths with a space.
    lines = target.read_text(encoding="utf-8").splitlines()
    target.write_text("".join(f"{line.rstrip()}\n" for line in lines), encoding="utf-8")


def bars(axis: Any, title: str, row: Row, results: Sequence[Result]) -> None:
    """A bar at the median for each contestant, and a line over its quartiles."""
    shown_here = [
        next(
            result
            for result in results
            if (result.scenario, result.case, result.unit) == (row.scenario, row.case, row.unit)
            and result.contestant == name
        )
        for name in (HELD, *COLUMNS)
    ]
    for place, result in enumerate(shown_here):
        spread = result.spread
        axis.barh(place, spread.median, color=COLOURS[place + 1], height=0.7)
        axis.plot([spread.low, spread.high], [place, place], color="#000000", lw=1)
        axis.annotate(f" {spread.median:,.0f}", (spread.high, place), va="center", fontsize=7)
    axis.set_yticks(range(len(shown_here)), [r.contestant for r in shown_here], fontsize=7)
    axis.set_title(title, loc="left", fontsize=8)
    axis.set_xlim(left=0, right=1.2 * max(result.spread.high for result in shown_here))
    axis.tick_params(axis="x", labelsize=7)
