"""The table of what was seen, as docs/faults.rst has it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

__all__ = ["rst"]

HEAD = """\
Faults
======

What an application sees of each fault, made by ``python -m tests.faults``, which runs
``tests/faults`` on MariaDB and on MySQL. Each of these tests also proves that the pool's limit held
on the server, and that afterwards as many leases succeed at once as the pool may have sessions.
Where Django's own engine is a measure, the same was done to it, and the application saw the same.

*Lost* is how many sessions were discarded in the test, and *back after* how long the first lease
took once the fault was over, in milliseconds; where a test ran several times, the worst of them.

"""

COLUMNS = ("Fault", "Server", "Lease", "The application sees", "Lost", "Back after")


def rst(rows: Iterable[dict[str, Any]]) -> str:
    """The whole file: a line for each fault and server, and two where the lease mode matters."""
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for row in (COLUMNS, *merged(rows)):
        lines += [f"   {'*' if n == 0 else ' '} - {cell}" for n, cell in enumerate(row)]
    return HEAD + "\n".join(lines) + "\n"


def merged(rows: Iterable[dict[str, Any]]) -> list[tuple[str, ...]]:
    """Rows of the same fault, server and sight are one."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["fault"], row["server"], row["seen"]), []).append(row)
    names = {"mariadb": "MariaDB", "mysql": "MySQL"}
    lines: list[tuple[str, ...]] = [
        (
            fault,
            names[server],
            " and ".join(sorted({row["lease"] for row in group})),
            seen or "nothing",
            span([row["lost"] for row in group]),
            milliseconds([row["recovery"] for row in group]),
        )
        for (fault, server, seen), group in groups.items()
    ]
    return sorted(lines)


def span(numbers: Sequence[int]) -> str:
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least} to {most}"


def milliseconds(seconds: Sequence[float | None]) -> str:
    known = [one for one in seconds if one is not None]
    return f"{max(known) * 1000:.0f}" if known else ""
