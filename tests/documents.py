"""What users read, taken apart: its blocks and tables, and what a section's code leaves behind."""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.helpers import ROOT

TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in (ROOT / "README.rst", ROOT / "example" / "README.rst", *ROOT.glob("docs/*.rst"))
}


@dataclass(frozen=True)
class Block:
    """A block of a document; ``kind`` is its language, or what else it is."""

    document: str
    section: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(text: str, document: str = "") -> Iterator[Block]:
    """Yield whatever is shown as code, and every directive, in whatever way it was written."""
    lines = text.splitlines()
    section = ""
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line and len(following) >= len(line) and re.fullmatch("=+|-+|~+", following):
            section = line
        if kind := _kind(line.strip()):
            yield Block(document, section, number + 1, kind, _body(lines, number))


def _kind(line: str) -> str | None:
    if match := re.match(r"\.\. ([\w-]+):: *(.*)", line):
        return match[2] if match[1] == "code-block" else f"directive {match[1]}"
    if line.endswith("::"):
        return "literal block"
    return "doctest" if line.startswith(">>>") else None


def _body(lines: list[str], start: int) -> str:
    indent = len(lines[start]) - len(lines[start].lstrip())
    body = []
    for line in lines[start + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        body.append(line)
    # As many lines as there are in the file before it, for the tracebacks.
    return "\n" * (start + 1) + textwrap.dedent("\n".join(body))


# What has tests of its own, which run its blocks.
ELSEWHERE = {
    "docs/clusters.rst": "tests/unit/test_size.py",
    "docs/events.rst": "tests/unit/test_events_page.py",
    "docs/integrations.rst": "tests/unit/contrib/test_integrations_docs.py",
    "docs/metrics.rst": "tests/unit/contrib/test_metrics_docs.py",
    "docs/servers.rst": "tests/unit/test_servers.py",
    "docs/status-page.rst": "tests/unit/contrib/status/test_views.py",
}

BLOCKS = [
    block
    for name, text in sorted(TEXTS.items())
    if name not in ELSEWHERE
    for block in blocks_of(text, name)
]


def is_settings(block: Block) -> bool:
    """Whether a Python block assigns to names in capitals, for which it may import and call."""
    targets: list[ast.expr] = []
    for statement in ast.parse(block.text).body if block.kind == "python" else []:
        if isinstance(statement, ast.Assign):
            targets += statement.targets
        elif not isinstance(statement, (ast.Import, ast.ImportFrom, ast.Expr)):
            return False
    return bool(targets) and all(ast.unparse(t).partition("[")[0].isupper() for t in targets)


SETTINGS = [block for block in BLOCKS if is_settings(block)]

CODE = [block for block in BLOCKS if block.kind == "python" and block not in SETTINGS]

COMMANDS = [line for b in BLOCKS if b.kind == "sh" for line in b.text.splitlines() if line]


def table(*headings: str) -> list[list[str]]:
    """The rows of the one table whose first columns have these headings."""
    pattern = "  +".join(map(re.escape, headings)) + r"\b"
    found = [
        (lines, number)
        for lines in map(str.splitlines, TEXTS.values())
        for number, line in enumerate(lines)
        if re.match(pattern, line)
    ]
    assert len(found) == 1, f"{len(found)} tables have the headings {headings}"
    ((lines, start),) = found
    border = lines[start - 1]
    assert re.fullmatch("=+(  =+)+", border), f"no table has the headings {headings}"
    return rows_of(border, lines[start + 2 : lines.index(border, start + 2)])


def tables_of(text: str) -> Iterator[list[list[str]]]:
    """The rows of each simple table, without its headings."""
    for block in re.split(r"\n\s*\n", text):
        lines = textwrap.dedent(block).splitlines()
        border = lines[0] if lines else ""
        if re.fullmatch("=+( +=+)+", border):
            *_, first, last = [n for n, line in enumerate(lines) if line == border]
            yield rows_of(border, lines[first + 1 : last])


def rows_of(border: str, lines: Iterable[str]) -> list[list[str]]:
    """The cells of a simple table. A line without a first cell goes on with the row before."""
    starts = [match.start() for match in re.finditer("=+", border)]
    rows: list[list[str]] = []
    for line in lines:
        ends = [*starts[1:], len(line)]
        cells = [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells, strict=True)]
    return rows


def code(cell: str) -> str:
    match = re.fullmatch("``(.+)``", cell)
    assert match, f"{cell!r} is not set as code"
    return match[1]


@dataclass(frozen=True)
class Result:
    """What the code of a section leaves: the texts of its rows, and a line that it prints."""

    rows: tuple[str, ...] = ()
    prints: str = ""


RESULTS = {
    "Giving sessions back": Result(
        ("in a block", "one", "two"), "default 0 of 5 in use, 0 waiting"
    ),
    "3. Look at it": Result(),
    "Testing your project": Result(("counted",)),
    "release_connections": Result(("one", "two")),
    "released": Result(("paid",)),
    "auto_close_db": Result(("async with", "decorated", "thread", "with")),
    "PooledThreadPoolExecutor": Result(
        ("asyncio", "one", "three", "two"), "['one', 'two', 'three']"
    ),
    "close_pool": Result(),
    "stats": Result(prints="default 0 of 5 in use"),
    "holders": Result(),
    "Receivers, and engines made of this one": Result(("audited",)),
    "Tokens": Result(),
    "Instrumentation": Result(("traced",)),
    "Forking": Result(("child",)),
    "Sizing": Result(),
}
