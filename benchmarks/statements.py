"""What it costs to tell from a statement's text what it does to the session.

Every statement pays it once, before it is sent. ``python -m benchmarks statements`` prints the
time for 100 bytes, 10 kB and 1 MB of SQL, in many short values and in one long one. It needs no
server.
"""

import argparse
import timeit
from collections.abc import Sequence

from mysqlpool.session.statements import PLAIN, Classifier

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


def main(argv: Sequence[str]) -> int:
    """Print a line for each kind of statement; return the exit code."""
    parser = argparse.ArgumentParser(prog="benchmarks statements", description=__doc__)
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="best of N (5)")
    arguments = parser.parse_args(argv)
    classifier = Classifier()
    print(f"{'statement':<34}{'bytes':>9}{'microseconds':>15}{'ns a byte':>11}  verdict")
    for name, sql in STATEMENTS.items():
        seconds = _best(classifier, sql, arguments.repeat)
        effect = classifier.effect(sql)
        verdict = "plain" if effect is PLAIN else effect.dirty or "looked at"
        print(
            f"{name:<34}{len(sql):>9}{seconds * 1e6:>15.2f}{seconds * 1e9 / len(sql):>11.1f}"
            f"  {verdict}"
        )
    return 0


def _best(classifier: Classifier, sql: bytes, repeat: int) -> float:
    timer = timeit.Timer(lambda: classifier.effect(sql))
    number, _ = timer.autorange()
    return min(timer.repeat(repeat, number)) / number
