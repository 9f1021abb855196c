"""What the tests of faults share: an alias of ours beside one of Django's, and a look at both.

A test does the same to both, and compares what the application sees. Then it has the pool recover,
which proves that its limit held and that no slot was lost. What was seen goes into the table.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import MySQLdb
from django.db import InterfaceError, OperationalError, connections, transaction

from mysqlpool import close_pool, release_connections, stats
from tests.helpers import HANG, error_of, run_threads
from tests.observer import Observer

__all__ = ["DATABASE", "OURS", "STOCK", "Fault", "Row", "ask", "until", "write", "written"]

OURS, STOCK = "faults", "faults_stock"
DATABASE = "faults"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Row:
    """A row of the table."""

    fault: str
    server: str
    lease: str
    seen: str
    lost: int
    recovery: float | None  # seconds


def ask(alias: str, sql: str = "SELECT CONNECTION_ID()", *args: Any) -> Any:
    """The first value of an answer."""
    with connections[alias].cursor() as cursor:
        cursor.execute(sql, args or None)
        rows = cursor.fetchall() if cursor.description else ()
    return rows[0][0] if rows else None


def write(alias: str, text: str) -> None:
    ask(alias, "INSERT INTO written (text) VALUES (%s)", text)


def written(server: Any) -> list[str]:
    """What is there, by a connection that belongs to no pool, in the order in which it came."""
    with Observer(server) as observer:
        return [text for (text,) in observer.query(f"SELECT text FROM {DATABASE}.written")]


def until(condition: Callable[[], Any], seconds: float = HANG) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.002)


def told(error: BaseException | None) -> str:
    """An error as the application sees it: its class and number."""
    if error is None:
        return "nothing"
    number = error.args[0] if error.args and isinstance(error.args[0], int) else ""
    return f"{type(error).__name__} {number}".strip()


class Fault:
    """One fault on one server, in one lease mode."""

    def __init__(self, name: str, flavour: str, lease: str) -> None:
        self.name = name
        self.flavour = flavour
        self.lease = lease
        self.seen: list[str] = []
        self.recovery: float | None = None
        self.lost = 0
        self.size = 0
        self.server: Any = None

    def aim(
        self,
        server: Any,
        address: Any = None,
        *,
        pool: dict[str, Any] | None = None,
        options: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Make both aliases: on this server, by that address (a proxy's) if one is given.

        A proxy understands no TLS, which Oracle's client library speaks where it can.
        """
        self.server = server
        plain = {} if address is None else {"ssl_mode": "DISABLED"}
        address = address or server
        # A pool that is opened again goes on counting; one of another name begins.
        name = f"{OURS} {next(_numbers)}"
        ours = {"pool_size": 2, "timeout": 5, "lease": self.lease, **(pool or {})}
        ours["logging_name"] = name
        self.size = ours["pool_size"] + ours.get("max_overflow", 0)
        values = {
            **connections.settings["default"],
            "HOST": address.host,
            "PORT": str(address.port),
            "USER": server.user,
            "PASSWORD": server.password,
            "NAME": DATABASE,
            "CONN_MAX_AGE": 0,
            **settings,
        }
        self.forget()
        further = {**plain, **(options or {})}
        connections.settings[OURS] = {**values, "OPTIONS": {**further, "pool": ours}}
        engine = "django.db.backends.mysql"
        connections.settings[STOCK] = {**values, "ENGINE": engine, "OPTIONS": further}

    def forget(self) -> None:
        """Take both aliases away."""
        release_connections()
        close_pool()
        for alias in (OURS, STOCK):
            if hasattr(connections._connections, alias):  # type: ignore[attr-defined]
                connections[alias].close()
                del connections[alias]
            connections.settings.pop(alias, None)

    # What the application sees

    def sees(self, action: Callable[[str], Any], same: bool = True) -> str:
        """Do it on Django's engine and then on ours; what comes of it is the same."""
        theirs = told(error_of(lambda: action(STOCK)))
        connections[STOCK].close()
        ours = self.sees_alone(action)
        if same:
            assert ours == theirs
        return ours

    def sees_alone(self, action: Callable[[str], Any]) -> str:
        """Do it on ours alone, where Django's engine is no measure."""
        ours = told(error_of(lambda: action(OURS)))
        release_connections(OURS)
        self.note(ours)
        return ours

    def note(self, seen: str) -> None:
        if seen not in self.seen:
            self.seen.append(seen)

    # Afterwards

    def recovers(self, *, errors: int = 0) -> None:
        """The fault is over: the first lease succeeds, after so many errors at most.

        Then slots are conserved, and the limit holds on the server.
        """
        self.recovery = recovered(errors)
        self.conserves()

    def conserves(self) -> None:
        """As many leases as the pool may have succeed at once, and the server has no more."""
        all_out = threading.Barrier(self.size)

        def lease() -> int:
            try:
                with transaction.atomic(using=OURS):
                    number = ask(OURS)
                    all_out.wait(HANG)
                return int(number)
            except BaseException:
                all_out.abort()
                raise
            finally:
                release_connections(OURS)

        assert len(set(run_threads(*[lease] * self.size))) == self.size
        figures = stats()[OURS]
        assert figures.in_use == figures.waiting == 0
        assert figures.in_use + figures.idle <= self.size
        self.lost = sum(self.discards().values())
        with Observer(self.server) as observer:
            connections[STOCK].close()
            observer.until(lambda: len(observer.sessions(DATABASE)) <= self.size)

    def discards(self) -> dict[str, int]:
        """The sessions that were closed since this test began, by reason."""
        return dict(stats()[OURS].discards)

    def row(self) -> dict[str, Any]:
        seen = ", ".join(self.seen)
        return asdict(Row(self.name, self.flavour, self.lease, seen, self.lost, self.recovery))


def recovered(errors: int) -> float:
    """How many seconds it takes until a lease succeeds, after so many errors at most."""
    started, failed = time.monotonic(), 0
    while True:
        try:
            ask(OURS)
            took = time.monotonic() - started
            assert took < HANG / 3  # How long it really takes stands in the table.
            return took
        except (OperationalError, InterfaceError, MySQLdb.Error):
            failed += 1
            if failed > errors:
                raise
        finally:
            release_connections(OURS)
