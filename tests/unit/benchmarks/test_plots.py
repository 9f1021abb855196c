"""benchmarks.plots: pictures of results, without a display."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks.plots import figure, save, threads_of
from benchmarks.results import Result, compare

BY_CASE = compare("cycle", "with SELECT 1", "µs", {"held": [9, 10], "ours": [12, 14]}, "held")


def by_threads() -> list[Result]:
    return [
        result
        for threads in ("1 thread", "16 threads", "1,000 threads")
        for result in compare("tasks", threads, "tasks/s", {"held": [9, 8], "ours": [7, 6]}, "held")
    ]


def test_an_svg_and_a_png_are_drawn(tmp_path: Path) -> None:
    files = save(BY_CASE, tmp_path / "cycle-mariadb")
    assert files == [tmp_path / "cycle-mariadb.svg", tmp_path / "cycle-mariadb.png"]
    text = "".join(ET.parse(files[0]).getroot().itertext())
    assert "cycle: µs, less is better" in text
    assert "times held" in text
    assert "ours" in text
    assert files[1].read_bytes().startswith(b"\x89PNG")


def test_the_same_results_give_the_same_picture(tmp_path: Path) -> None:
    """So that a commit holds no change where there is none."""
    (one,) = save(BY_CASE, tmp_path / "one", ["svg"])
    (two,) = save(BY_CASE, tmp_path / "two", ["svg"])
    assert one.read_bytes() == two.read_bytes()


def test_numbers_of_threads_are_drawn_as_lines() -> None:
    (axis,) = figure(by_threads()).axes
    lines = {line.get_label(): line for line in axis.lines}
    assert lines.keys() == {"held", "ours"}
    assert list(lines["ours"].get_xdata()) == [1, 16, 1000]
    assert list(lines["ours"].get_ydata()) == [6.5, 6.5, 6.5]


def test_what_has_no_ratio_is_left_out() -> None:
    zero = compare("requests", "gunicorn", "failed requests", {"held": [0], "ours": [0]}, "held")
    assert len(figure([*BY_CASE, *zero]).axes) == 1
    with pytest.raises(ValueError, match="nothing to draw"):
        figure(zero)


@pytest.mark.parametrize(
    ("case", "threads"),
    [("1 thread", 1), ("1,000 threads", 1000), ("64 threads, 50 ms", None), ("gunicorn", None)],
)
def test_a_number_of_threads_is_known_by_its_words(case: str, threads: int | None) -> None:
    assert threads_of(case) == threads
