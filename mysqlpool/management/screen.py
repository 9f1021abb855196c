"""What a command shows: pages of tables and sentences, in a terminal or as plain text."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.core.management.base import BaseCommand

from .terminal import encodable, terminal

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table as RichTable

__all__ = ["Line", "Page", "Screen", "Table", "plain"]

LONGEST_ROW = 1000  # characters
INDENT = 2


@dataclass(frozen=True, slots=True)
class Line:
    """A sentence. ``style`` is one of rich's, such as "bold" or "red"; plain text has none."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text under headings.

    The first ``names`` columns are aligned to the left, as they name something, and the others to
    the right. ``dimmed`` has the numbers of the rows that matter less.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    dimmed: frozenset[int] = frozenset()


Page = Sequence[Line | Table]


def plain(page: Page) -> str:
    """The page as text without any colour, with an empty line around each table."""
    parts = [part.text if isinstance(part, Line) else _plain_table(part) for part in page]
    return "\n".join(parts).strip("\n") + "\n"


def _plain_table(table: Table) -> str:
    rows = [table.headings, *table.rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(_aligned(row, widths, table.names)).rstrip() for row in rows]
    return "\n".join(["", table.title, *lines, ""])


def _aligned(row: Sequence[str], widths: Sequence[int], names: int) -> Iterator[str]:
    for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
        yield cell.ljust(width) if place < names else cell.rjust(width)


class Screen:
    """Where a command shows its pages, or its documents of JSON; used as a ``with`` block.

    Whoever reads the standard output may go at any moment, as ``head`` does. That ends the block,
    and nothing is raised.
    """

    def __init__(self, command: BaseCommand, options: dict[str, Any]) -> None:
        self.stdout, self.stderr = command.stdout, command.stderr
        self.console: Console | None = None if options.get("json") else terminal(command, options)
        self._live: Live | None = None

    def __enter__(self) -> Screen:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> bool:
        try:
            self._end_live()
            self.stdout.flush()
        except BrokenPipeError:
            self._leave_pipe()
        if kind is None or not issubclass(kind, BrokenPipeError):
            return False
        self._leave_pipe()
        return True

    def show(self, page: Page) -> None:
        if self.console is None:
            self._write(plain(page))
        else:
            for part in page:
                _print(self.console, part)

    def redraw(self, page: Page) -> None:
        """Show the page in the place of the last one; below it, where it is no terminal."""
        if self.console is None or not self.console.is_terminal or self.console.is_dumb_terminal:
            self.show([*page, Line("")])
            self.stdout.flush()
            return
        from rich.console import Group

        drawn = Group(*(_fitting(self.console, part) for part in page))
        if self._live is None:
            self._live = self._begin_live(self.console)
        self._live.update(drawn, refresh=True)

    @contextlib.contextmanager
    def progress(self, steps: int) -> Iterator[Callable[[str], None]]:
        """Yield a function that is told which step begins, and shows it on the standard error.

        That is a bar where a terminal and ``rich`` are there, a line in a terminal without, and
        nothing where no person looks.
        """
        if not self.stderr.isatty():
            yield lambda step: None
        elif self.console is None:
            yield lambda step: self.stderr.write(f"{step} ...")
        else:
            yield from _bar(steps)

    def document(self, content: object, *, lines: bool = False) -> None:
        """Write JSON: indented, or with ``lines`` in one line, which is sent at once."""
        self._write(json.dumps(content, indent=None if lines else 2, allow_nan=False) + "\n")
        if lines:
            self.stdout.flush()

    def _begin_live(self, console: Console) -> Live:
        from rich.live import Live

        # Nothing moves between two turns, and what others print is not for this page.
        live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        live.start()
        return live

    def _end_live(self) -> None:
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _leave_pipe(self) -> None:
        """Let what is still buffered go nowhere, or Python would complain of it as it ends.

        https://docs.python.org/3/library/signal.html#note-on-sigpipe
        """
        with contextlib.suppress(OSError, ValueError, AttributeError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stdout.fileno())
            os.close(nowhere)

    def _write(self, text: str) -> None:
        self.stdout.write(encodable(self.stdout, text), ending="")


def _bar(steps: int) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task, begun = bar.add_task("", total=steps), 0

        def begins(step: str) -> None:
            nonlocal begun
            bar.update(task, description=step, completed=begun)
            begun += 1

        yield begins


def _print(console: Console, part: Line | Table) -> None:
    """Print a sentence wrapped at the terminal's width, and a table with its lines whole.

    The terminal wraps those that are too long for it, as it does those of ``ps``. rich would break
    the words in each cell instead, so that a row had four lines.
    """
    from rich.segment import Segments

    if isinstance(part, Line):
        console.print(_rich(part))
        return
    options = console.options.update(max_width=LONGEST_ROW)
    console.print(Segments(console.render(_rich(part), options)), crop=False, end="")


def _rich(part: Line | Table) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    if isinstance(part, Line):
        return Text(part.text, style=part.style)
    return Group("", Text(part.title, style="bold"), _rich_table(part))


def _fitting(console: Console, part: Line | Table) -> RenderableType:
    """The same within the width of the terminal, which cuts off what is redrawn at its edge.

    A table that is too wide has its rows below each other, as rich would break the words in each
    cell.
    """
    from rich.console import Group
    from rich.text import Text

    if isinstance(part, Line):
        return _rich(part)
    room = console.options.update(max_width=LONGEST_ROW)
    if console.measure(_rich_table(part), options=room).maximum <= console.width:
        return _rich(part)
    return Group("", Text(part.title, style="bold"), "", *_rows_below(part, console.width))


def _rows_below(table: Table, width: int) -> Iterator[RenderableType]:
    """Each row as its names, and below them the other cells behind their headings."""
    from rich.padding import Padding
    from rich.text import Text

    for number, row in enumerate(table.rows):
        style = "dim" if number in table.dimmed else ""
        yield Text("  ".join(row[: table.names]), style=style)
        pairs = zip(table.headings[table.names :], row[table.names :], strict=True)
        for line in _filled([f"{heading} {cell}" for heading, cell in pairs], width - INDENT):
            yield Padding(Text(line, style=style), (0, 0, 0, INDENT))


def _filled(words: Sequence[str], width: int) -> Iterator[str]:
    """Lines of so many of these as there is room for, none of which is broken in two."""
    line = ""
    for word in words:
        longer = f"{line}   {word}" if line else word
        if line and len(longer) > width:
            yield line
            line = word
        else:
            line = longer
    if line:
        yield line


def _rich_table(table: Table) -> RichTable:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for place, heading in enumerate(table.headings):
        left = place < table.names
        drawn.add_column(heading, justify="left" if left else "right", overflow="fold")
    for number, row in enumerate(table.rows):
        # As text, because brackets in a name would be taken for rich's own markup.
        drawn.add_row(*map(Text, row), style="dim" if number in table.dimmed else "")
    return drawn
