"""What a request or a job does, and what it has to answer. Each answer comes from the database."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from django.db import connections, transaction

from tests.rows.models import Row

__all__ = ["BASIC", "Wanted", "do", "expected", "lines", "read", "write"]

SLOW_SECONDS = 0.05
LINES = 3


class Wanted(Exception):
    """The failure of a view or a job that is to fail."""


def read(n: int, alias: str = "default") -> str:
    """The number, and what the session knows of the database and of whom it was with before."""
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT CONCAT_WS(' ', %s, DATABASE(), @@SESSION.time_zone)", [n])
        return str(cursor.fetchone()[0])


def other(n: int) -> str:
    return read(n, "other")


def write(n: int) -> str:
    with transaction.atomic():
        row = Row.objects.create(text=f"write {n}", number=n)
        return f"{Row.objects.get(pk=row.pk).number} written"


def slow(n: int) -> str:
    before = read(n)
    time.sleep(SLOW_SECONDS)
    assert read(n) == before
    return before


def dirty(n: int) -> str:
    """Leave something in the sessions that nobody else may find."""
    for alias in ("other", "default"):
        with connections[alias].cursor() as cursor:
            cursor.execute("SET time_zone = '+05:00'")
    return read(n)


def fail(n: int) -> str:
    with transaction.atomic():
        Row.objects.create(text=f"fail {n}", number=n)
        raise Wanted(n)


def lines(n: int) -> Iterator[str]:
    """What a stream has: a query for each line."""
    for number in range(n, n + LINES):
        yield read(number) + "\n"


BASIC: dict[str, Callable[[int], str]] = {
    "read": read,
    "write": write,
    "slow": slow,
    "dirty": dirty,
    "other": other,
    "fail": fail,
}


def do(kind: str, n: int) -> str:
    return BASIC[kind](n)


def expected(kind: str, n: int, name: str = "mysqlpool_servers") -> str:
    """What has to be answered."""
    zone = "+05:00" if kind == "dirty" else "SYSTEM"
    if kind == "other":
        name += "_other"
    if kind in ("write", "awrite"):
        return f"{n} written"
    if kind in ("stream", "astream"):
        return "".join(f"{number} {name} {zone}\n" for number in range(n, n + LINES))
    return "failed" if kind == "fail" else f"{n} {name} {zone}"
