"""What it costs to tell from a statement's text what it does to the session.

Every statement pays it once, before it is sent. It is compared with a round trip of the bare driver
with a query of as many bytes.
"""

from __future__ import annotations

import time
import timeit
from functools import partial

from mysqlpool.session.statements import Classifier

from ..contestants import Contestant
from ..processor import one_processor
from ..results import Result, compare
from ..turns import Stage

__all__ = ["STATEMENTS", "run"]

ROUND_TRIP, MINE = "the driver's round trip", "mysqlpool's look at it"

LOOKUP = (
    b"SELECT `user`.`id`, `user`.`last_login` FROM `user`"
    b" WHERE `user`.`email` = 'a@b.example' LIMIT 21"
)
ROW = rb"""(NULL, 'mail@example.org', 'it\'s a value; with "quotes"', 12, '2026-01-01 00:00:00')"""


def rows(size: int) -> bytes:
    """An INSERT of many rows, as ``bulk_create()`` sends it, of about ``size`` bytes."""
    return b"INSERT INTO `t` (`id`, `a`, `b`, `c`, `d`) VALUES " + b", ".join(
        [ROW] * max(1, size // len(ROW))
    )


def value(size: int) -> bytes:
    """An INSERT of one value of ``size`` bytes."""
    return b"INSERT INTO `t` (`a`) VALUES ('%s')" % (b"x" * size)


STATEMENTS = {
    "a lookup": LOOKUP,
    "a transaction's BEGIN": b"BEGIN",
    "a dirty SET": b"SET SESSION sql_mode = 'ANSI'",
    "a word in doubt, looked at twice": LOOKUP.replace(b"`last_login`", b"row_count"),
    "rows, 10 kB": rows(10_000),
    "rows, 1 MB": rows(1_000_000),
    "one value, 10 kB": value(10_000),
    "one value, 1 MB": value(1_000_000),
}


def run(stage: Stage) -> list[Result]:
    classifier = Classifier()
    (driver,) = stage.contestants("driver")
    results = []
    with one_processor(stage.server):
        for case, sql in STATEMENTS.items():
            timer = timeit.Timer(partial(classifier.effect, sql))
            count = stage.amount(100 if len(sql) < 100_000 else 10, 5)
            number = max(1, timer.autorange()[0] // stage.amount(20, 200))
            ways = {
                ROUND_TRIP: partial(round_trip, driver, of_length(len(sql)), count),
                MINE: partial(look, timer, number),
            }
            found = stage.turns(f"statements: {case}", ways, 15)
            results += compare("statements", case, "µs", found, ROUND_TRIP)
    driver.close()
    return results


def look(timer: timeit.Timer, number: int) -> float:
    return timer.timeit(number) / number * 1e6


def of_length(size: int) -> str:
    """A query of so many bytes, with which the server has as little to do as it can."""
    frame = "SELECT LENGTH('')"
    return frame.replace("''", f"'{'x' * (size - len(frame))}'")


def round_trip(driver: Contestant, sql: str, count: int) -> float:
    driver.query(sql)
    started = time.perf_counter()
    for _ in range(count):
        driver.query(sql)
    return (time.perf_counter() - started) / count * 1e6
