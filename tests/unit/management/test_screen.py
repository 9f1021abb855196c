"""Pages are shown as text, in colour, or as JSON; who stops reading is no error."""

from __future__ import annotations

import io
import json
import re
import sys
from typing import Any

import pytest
import rich.progress
from django.core.management.base import BaseCommand

from mysqlpool.management.screen import Line, Screen, Table, plain

TABLE = Table("Pools", ["program", "in use"], [["a [b]", "3"], ["longer", "12"]])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Closed(io.StringIO):
    """A pipe whose reader has gone."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_plain_text_has_aligned_columns_and_no_space_at_the_end_of_a_line() -> None:
    text = plain([Line("Now", "bold"), TABLE, Line("End")])
    assert text.splitlines() == [
        *("Now", "", "Pools", "program  in use", "a [b]         3", "longer       12"),
        *("", "End"),
    ]


def test_where_it_is_no_terminal_there_is_no_colour() -> None:
    out = io.StringIO()
    with Screen(BaseCommand(stdout=out), {"stdout": out}) as screen:
        screen.show([Line("red", "red"), TABLE])
        screen.redraw([Line("again", "red")])
    assert "\x1b" not in out.getvalue()
    assert "again\n" in out.getvalue()


def test_colours_are_shown_where_they_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    with Screen(BaseCommand(), {"force_color": True}) as screen:
        screen.show([Line("red", "red"), TABLE])
    assert "\x1b[31mred" in out.getvalue()
    assert "a [b]" in out.getvalue(), "a name's brackets are no markup"


def test_a_table_keeps_its_words_whole_on_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "20")
    out = io.StringIO()
    monkeypatch.setattr("sys.stdout", out)
    names = ("program", "waiting", "timeouts")
    with Screen(BaseCommand(), {"force_color": True}) as screen:
        screen.show([Table("Pools", names, [("manage.py (ended)", "12,345", "67,890")])])
    text = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    assert [line.split() for line in text.splitlines() if "program" in line] == [list(names)]
    assert any("manage.py (ended)" in line and "67,890" in line for line in text.splitlines())


@pytest.mark.parametrize("columns", [30, 40, 80, 200])
def test_a_live_table_keeps_its_words_whole_and_within_the_terminal(
    columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    names = ("program", "alias", "pid", "in use", "waiting", "timeouts", "wait p95", "lease p95")
    row = ("manage.py (ended)", "default", "4711", "5 of 10", "12,345", "0", "0.35 ms", "24 ms")
    with Screen(BaseCommand(), {}) as screen:
        screen.redraw([Line("first"), Table("Pools", names, [row, row], names=2)])
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    lines = text.replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= columns
    for cell in row:
        assert sum(cell in line for line in lines) >= 2, f"{cell} is broken in two"
    pairs = [f"{name} {cell}" for name, cell in zip(names[2:], row[2:], strict=True)]
    shown = {any(pair in line for line in lines) for pair in pairs}
    assert shown == {columns < 200}, "below each other only where the table is too wide"


@pytest.mark.parametrize("how", ["option", "environment"])
def test_colours_can_be_switched_off_on_a_terminal(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1" if how == "environment" else "")
    with Screen(BaseCommand(), {"no_color": how == "option"}) as screen:
        screen.show([Line("red", "red")])
    assert "\x1b[31m" not in out.getvalue()


def test_without_rich_a_terminal_gets_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    with Screen(BaseCommand(), {}) as screen:
        screen.redraw([TABLE])
        screen.redraw([TABLE])
    assert out.getvalue().count("program  in use") == 2


def test_a_live_page_replaces_the_last_one_and_ends_with_the_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    with Screen(BaseCommand(), {}) as screen:
        screen.redraw([Line("first")])
        screen.redraw([Line("second")])
    text = out.getvalue()
    assert "\x1b[?25l" in text
    assert text.index("first") < text.index("\x1b[2K") < text.index("second")
    assert text.rindex("\x1b[?25h") > text.index("second"), "the cursor is back"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_live_page_gives_the_terminal_back_whatever_is_raised(
    error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setenv("TERM", "xterm")
    with pytest.raises(error), Screen(BaseCommand(), {}) as screen:
        screen.redraw([Line("first")])
        raise error
    assert out.getvalue().rstrip().endswith("\x1b[?25h")


def test_json_is_one_document_or_one_line_each_time() -> None:
    out = io.StringIO()
    with Screen(BaseCommand(stdout=out), {"json": True}) as screen:
        screen.document({"name": "käse"}, lines=True)
        screen.document({"name": [1]}, lines=True)
        screen.document({"name": [1]})
    first, second, *rest = out.getvalue().splitlines()
    assert out.getvalue().isascii()
    assert [json.loads(first), json.loads(second)] == [{"name": "käse"}, {"name": [1]}]
    assert json.loads("\n".join(rest)) == {"name": [1]}


def test_nothing_is_raised_where_the_reader_has_gone() -> None:
    def show(what: Any) -> None:
        with Screen(BaseCommand(stdout=Closed()), {"json": True}) as screen:
            what(screen)
            raise AssertionError("it goes on without a reader")

    show(lambda screen: screen.document({}))
    show(lambda screen: screen.show([TABLE]))


def test_nothing_is_raised_where_the_reader_has_gone_before_the_last_words() -> None:
    """What was written is still in Python's buffer then, which is flushed at the end."""

    class Full(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    out = Full()
    with Screen(BaseCommand(stdout=out), {"json": True}) as screen:
        screen.document({})
    with pytest.raises(ValueError, match="its own"), Screen(BaseCommand(stdout=out), {}) as screen:
        raise ValueError("its own")


def test_a_bar_on_a_terminal_names_the_step_and_how_many_are_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = Terminal(), Terminal()
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    bars: list[tuple[str, float, float | None]] = []

    class Noted(rich.progress.Progress):
        def update(self, *args: Any, **kwargs: Any) -> None:
            super().update(*args, **kwargs)
            bars.extend((one.description, one.completed, one.total) for one in self.tasks)

    monkeypatch.setattr(rich.progress, "Progress", Noted)
    with Screen(BaseCommand(), {}) as screen, screen.progress(2) as begins:
        begins("first [b]")
        begins("second")
    assert bars == [("first [b]", 0, 2), ("second", 1, 2)]
    assert "second" in err.getvalue()
    assert out.getvalue() == ""


def test_steps_are_lines_where_the_terminal_has_no_rich_and_nothing_where_nobody_looks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "rich.console", None)
    for err, expected in [(Terminal(), "first ...\n"), (io.StringIO(), "")]:
        monkeypatch.setattr("sys.stderr", err)
        with Screen(BaseCommand(), {}) as screen, screen.progress(1) as begins:
            begins("first")
        assert err.getvalue() == expected


def test_a_name_that_the_stream_cannot_write_is_escaped() -> None:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="ascii")
    with Screen(BaseCommand(stdout=out), {"stdout": out}) as screen:
        screen.show([Line("k\u00e4se")])
    assert raw.getvalue() == b"k\\xe4se\n"


def test_progress_is_told_to_people_only() -> None:
    for stream, lines in ((io.StringIO(), ""), (Terminal(), "first ...\nsecond ...\n")):
        command = BaseCommand(stderr=stream, no_color=True)
        screen = Screen(command, {"no_color": True})
        with screen.progress(2) as begins:
            begins("first")
            begins("second")
        assert stream.getvalue() == lines
