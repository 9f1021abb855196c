"""What the server counts, without the session that asks."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass

import MySQLdb

NAMES = (
    "Connections",
    "Connection_errors_max_connections",
    "Max_used_connections",
    "Questions",
    "Threads_connected",
)
SETTLE_SECONDS = 5.0
POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Counters:
    """What the server has counted since it started, without the observer's own statements."""

    connects: int
    refused: int
    statements: int

    def since(self, before: "Counters") -> "Counters":
        return Counters(
            self.connects - before.connects,
            self.refused - before.refused,
            self.statements - before.statements,
        )


class Observer:
    """A session that asks the server what it sees, and leaves itself out of the answers."""

    def __init__(self) -> None:
        self._connection = MySQLdb.connect(
            host=os.environ["DATABASE_HOST"],
            port=int(os.environ.get("DATABASE_PORT") or 3306),
            user=os.environ.get("DATABASE_USER", "root"),
            password=os.environ.get("DATABASE_PASSWORD", ""),
            autocommit=True,
        )
        self.version = str(self.rows("SELECT VERSION()")[0][0])
        self._quiet = self._status("GLOBAL")["Threads_connected"]

    def close(self) -> None:
        self._connection.close()

    def rows(self, statement: str, *values: str) -> Sequence[tuple[object, ...]]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement, values)
            rows: Sequence[tuple[object, ...]] = cursor.fetchall()
            return rows

    def _status(self, scope: str) -> dict[str, int]:
        where = ", ".join(["%s"] * len(NAMES))
        rows = self.rows(f"SHOW {scope} STATUS WHERE Variable_name IN ({where})", *NAMES)
        return {str(name): int(str(value)) for name, value in rows}

    def create(self, database: str) -> None:
        self.drop(database)
        self.rows(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")

    def drop(self, database: str) -> None:
        self.rows(f"DROP DATABASE IF EXISTS `{database}`")

    def sessions(self, database: str) -> int:
        """Return how many sessions use the database now."""
        # Not information_schema.PROCESSLIST, for which the server makes a table on disk each time.
        return sum(row[3] == database for row in self.rows("SHOW PROCESSLIST"))

    def counters(self) -> Counters:
        # Both are asked each time, one after the other, so that between two calls the observer's
        # own statements are exactly the difference of the second.
        everybody, own = self._status("GLOBAL"), self._status("SESSION")
        return Counters(
            everybody["Connections"],
            everybody["Connection_errors_max_connections"],
            everybody["Questions"] - own["Questions"],
        )

    def reset_peak(self) -> None:
        """Let Max_used_connections begin anew, once the sessions of the job before are gone.

        Raises RuntimeError when there are more sessions than at first, still after five seconds,
        and when the server keeps the old figure.
        """
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._status("GLOBAL")["Threads_connected"] > self._quiet:
            if time.monotonic() > deadline:
                raise RuntimeError("the server has other clients, which its counters include")
            time.sleep(POLL_SECONDS)
        self.rows("FLUSH STATUS")
        if self.peak() > 0:
            # In MariaDB 11.5 and newer that is about the session's own counters, unless old_mode
            # says otherwise: https://jira.mariadb.org/browse/MDEV-33145
            self.rows("FLUSH GLOBAL STATUS")
        if self.peak() > 0:
            raise RuntimeError("the server has not begun to count Max_used_connections anew")

    def peak(self) -> int:
        """Return the most sessions at once since reset_peak(), beside those that were there."""
        return self._status("GLOBAL")["Max_used_connections"] - self._quiet
