"""What is true of every product: its sessions on the server, and that it ends well."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tests.observer import Observer

from .conftest import DATABASES
from .load import Answer
from .products import Product
from .project.work import expected
from .running import Running, until

__all__ = ["ends_well", "parameters", "right", "rows_are_right", "within_limits"]

LEFT_SECONDS = 5.0
"""Until the server has seen that a process is gone. It takes some milliseconds; this is a bound for
a busy machine.
"""


def parameters(products: Sequence[Product], *, in_ci: bool = True) -> list[object]:
    """One for each product; those that not every run has are marked, which may be all."""
    rare = pytest.mark.servers(everything=True)
    return [
        pytest.param(one, id=one.name, marks=() if one.in_ci and in_ci else rare)
        for one in products
    ]


@contextmanager
def within_limits(observer: Observer, running: Running, times: int = 1) -> Iterator[None]:
    """The server never has more sessions than the processes may have, nor are there more connects.

    ``times`` is 2 where new processes start while the old ones end.
    """
    product = running.product
    own = observer.reset_peak()
    (before,) = observer.status("Connections")
    yield
    peak, after = observer.status("Max_used_connections", "Connections")
    assert 0 < peak - own <= times * product.limit, f"{peak - own} sessions{running.log()}"
    processes = max(len(running.pids()), product.processes)
    most = processes * product.process_limit
    assert 0 < after - before <= most, f"{after - before} connects{running.log()}"


def right(answers: Sequence[Answer]) -> None:
    """Each answer is the one to what was asked."""
    for answer in answers:
        if answer.kind == "fail":
            assert answer.status == 500, answer
        else:
            assert answer.status == 200, answer
            assert answer.text == expected(answer.kind, answer.n), answer


def rows_are_right(observer: Observer, written: Sequence[int]) -> None:
    """What was acknowledged is there once, and nothing of what failed."""
    rows = observer.query("SELECT text, number FROM mysqlpool_servers.rows_row ORDER BY number")
    assert rows == tuple((f"write {n}", n) for n in sorted(written))


def ends_well(observer: Observer, running: Running) -> None:
    """It stops within its own grace, leaves no session, and wrote of no unwanted error."""
    running.stop()

    def sessions() -> set[int]:
        return set().union(*(observer.sessions(name) for name in DATABASES))

    until(lambda: not sessions(), LEFT_SECONDS, "no session is left")
    assert not running.tracebacks(), running.log()
