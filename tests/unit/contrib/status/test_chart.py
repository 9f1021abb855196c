"""The chart: values in, paths of SVG out."""

from __future__ import annotations

import re

import pytest

from mysqlpool.contrib.status.chart import GAP, HEIGHT, MARGIN, WIDTH, Chart, draw
from mysqlpool.contrib.status.history import SPAN, Point

TOP, BOTTOM = str(MARGIN), str(HEIGHT - MARGIN)


def points(*levels: tuple[float, int, int, int]) -> list[Point]:
    return [Point(*level) for level in levels]


def test_without_points_nothing_is_drawn_but_the_limit() -> None:
    assert draw([]) == Chart("", "", "", "", 1, draw([]).label)
    assert draw([], 5).limit == f"M0 {TOP}H{WIDTH}"
    assert "0 to 0 in use, at most 0 waiting" in draw([]).label


def test_a_value_holds_until_the_next_one_is_known() -> None:
    chart = draw(points((6, 0, 0, 0), (4, 2, 0, 4), (2, 2, 2, 4), (0, 4, 0, 0)))
    assert chart.top == 4
    assert chart.waiting == f"M588 {BOTTOM}H592V{TOP}H600V{BOTTOM}H600"
    assert chart.in_use == f"M588 {BOTTOM}L588 {BOTTOM}H592V60H600V{TOP}H600V{BOTTOM}Z"
    assert chart.opened == f"M588 {BOTTOM}L588 {BOTTOM}H592V60H596V{TOP}H600V{BOTTOM}Z"


def test_the_oldest_is_at_the_left_edge_and_the_present_at_the_right() -> None:
    steady = [Point(float(ago), 1, 0, 0) for ago in range(int(SPAN), -1, -2)]
    assert draw(steady).in_use == f"M0 {BOTTOM}L0 {TOP}H{WIDTH}V{BOTTOM}Z"


def test_what_is_older_than_the_chart_stays_within_it() -> None:
    assert draw(points((SPAN + 8, 1, 0, 0), (SPAN, 1, 0, 0))).in_use.startswith("M0 ")


def test_a_time_of_which_nothing_is_known_is_a_gap() -> None:
    chart = draw(points((100, 1, 0, 0), (98, 1, 0, 0), (2, 1, 0, 0), (0, 1, 0, 0)))
    assert chart.in_use.count("M") == chart.in_use.count("Z") == 2
    assert chart.waiting.count("M") == 2
    close = draw(points((GAP, 1, 0, 0), (0, 1, 0, 0)))
    assert close.waiting.count("M") == 1


def test_a_point_alone_can_be_seen() -> None:
    chart = draw(points((150, 1, 0, 1)))
    assert chart.waiting == f"M300 {TOP}H304"


@pytest.mark.parametrize(
    ("level", "limit", "top"),
    [((0, 0, 0), 0, 1), ((2, 1, 0), 10, 10), ((12, 0, 0), 10, 12), ((1, 0, 200), 10, 200)],
)
def test_all_of_it_is_in_sight(level: tuple[int, int, int], limit: int, top: int) -> None:
    chart = draw(points((0, *level)), limit)
    assert chart.top == top
    heights = re.findall(r"[MLV](?:[\d.]+ )?([\d.]+)", f"{chart.opened}{chart.waiting}")
    assert all(MARGIN <= float(y) <= HEIGHT - MARGIN for y in heights)


def test_a_pool_without_a_limit_has_no_line_of_it() -> None:
    assert draw(points((0, 3, 0, 0)), 0).limit == ""


def test_the_chart_in_words() -> None:
    label = draw(points((4, 1, 0, 0), (2, 3, 0, 7), (0, 2, 0, 0))).label
    assert label == "The last 5 minutes: 1 to 3 in use, at most 7 waiting"
