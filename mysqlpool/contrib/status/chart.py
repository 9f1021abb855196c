"""A chart of a pool's last minutes, as paths of SVG.

It needs no script, and no style beside the page's own: what is drawn how is said by classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from .history import INTERVAL, SPAN, Point

__all__ = ["GAP", "HEIGHT", "WIDTH", "Chart", "draw"]

WIDTH, HEIGHT = 600, 120
# Half of the thickest line would be cut off at the edges.
MARGIN = 2
# Seconds between two points from which on nothing is known of the time between them.
GAP = 5 * INTERVAL

Value = Callable[[Point], int]


@dataclass(frozen=True, slots=True)
class Chart:
    """The ``d`` of each path, what the upper edge stands for, and the whole in words.

    ``opened`` is the area of all open sessions, ``in_use`` that of those in use, and ``waiting``
    the line of the waiters. ``limit`` is the line of the pool's limit, and empty where there is
    none.
    """

    opened: str
    in_use: str
    waiting: str
    limit: str
    top: int
    label: str


def draw(points: Sequence[Point], limit: int = 0) -> Chart:
    """Draw points, the oldest first. ``limit`` is how many sessions there may be, 0 for any."""
    top = max(1, limit, *(max(one.in_use + one.idle, one.waiting) for one in points or [NONE]))
    runs = list(_runs(points))
    return Chart(
        opened=_areas(runs, top, lambda one: one.in_use + one.idle),
        in_use=_areas(runs, top, lambda one: one.in_use),
        waiting=" ".join(f"M{_line(run, top, lambda one: one.waiting)}" for run in runs),
        limit=f"M0 {_y(limit, top)}H{WIDTH}" if limit else "",
        top=top,
        label=_label(points),
    )


NONE = Point(0.0, 0, 0, 0)


def _label(points: Sequence[Point]) -> str:
    in_use = [one.in_use for one in points] or [0]
    waiting = max((one.waiting for one in points), default=0)
    between = f"{min(in_use)} to {max(in_use)} in use, at most {waiting} waiting"
    return f"The last {SPAN / 60:.0f} minutes: {between}"


def _runs(points: Sequence[Point]) -> Iterator[list[Point]]:
    """The points without a gap between them."""
    run: list[Point] = []
    for point in points:
        if run and run[-1].seconds_ago - point.seconds_ago > GAP:
            yield run
            run = []
        run.append(point)
    if run:
        yield run


def _areas(runs: Sequence[Sequence[Point]], top: int, value: Value) -> str:
    bottom = _y(0, top)
    return " ".join(f"M{_x(run[0])} {bottom}L{_line(run, top, value)}V{bottom}Z" for run in runs)


def _line(run: Sequence[Point], top: int, value: Value) -> str:
    """Its corners, so that a value holds until the next one is known.

    A point alone is drawn for as long as it takes until the next one would come.
    """
    corners = [f"{_x(run[0])} {_y(value(run[0]), top)}"]
    for before, after in pairwise(run):
        if value(after) != value(before):
            corners.append(f"H{_x(after)}V{_y(value(after), top)}")
    end = _x(run[-1]) if len(run) > 1 else _number(float(_x(run[0])) + WIDTH * INTERVAL / SPAN)
    return "".join([*corners, f"H{end}"])


def _x(point: Point) -> str:
    return _number(WIDTH * (1 - min(point.seconds_ago, SPAN) / SPAN))


def _y(value: int, top: int) -> str:
    return _number(MARGIN + (HEIGHT - 2 * MARGIN) * (1 - value / top))


def _number(value: float) -> str:
    """In as few letters as it takes, and in no language's own way."""
    return f"{value:.1f}".removesuffix(".0")
