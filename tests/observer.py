"""What the server says, over a connection that belongs to no pool."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import MySQLdb


class Observer:
    """Asks the server for its process list and counters; its own work is not in the figures."""

    def __init__(self, server: Any) -> None:
        self.connection = MySQLdb.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            autocommit=True,
        )

    def __enter__(self) -> Observer:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.connection.close()

    def query(self, sql: str, *args: Any) -> tuple[tuple[Any, ...], ...]:
        cursor = self.connection.cursor()
        cursor.execute(sql, args)
        rows: tuple[tuple[Any, ...], ...] = cursor.fetchall()
        cursor.close()
        return rows

    def sessions(self, database: str | None = None) -> set[int]:
        """The ids of the client sessions the server has now, on one database or on all."""
        rows = self.query(
            "SELECT id FROM information_schema.processlist WHERE id <> CONNECTION_ID()"
            " AND user <> 'system user' AND (%s IS NULL OR db = %s)",
            database,
            database,
        )
        return {row[0] for row in rows}

    def status(self, *names: str) -> list[int]:
        """Global counters of the server, in the order asked for."""
        rows = dict(self.query("SHOW GLOBAL STATUS"))
        return [int(rows[name]) for name in names]

    def reset_peak(self) -> int:
        """Let Max_used_connections begin anew; the number of sessions that there are now."""
        self.query("FLUSH STATUS")
        peak, now = self.status("Max_used_connections", "Threads_connected")
        if peak > now:
            # In MariaDB 11.5 and newer that is about the session's own counters, unless old_mode
            # says otherwise: https://jira.mariadb.org/browse/MDEV-33145
            self.query("FLUSH GLOBAL STATUS")
            peak, now = self.status("Max_used_connections", "Threads_connected")
        assert peak <= now, "the server has not begun to count Max_used_connections anew"
        return now

    def kill(self, session: int) -> None:
        self.query(f"KILL {session:d}")
        self.until(lambda: session not in self.sessions())

    def until(self, condition: Callable[[], bool], seconds: float = 10) -> None:
        """Wait for what the server does in its own time (closing a session, say)."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError("the server did not come to that state in time")
            time.sleep(0.01)

    @contextmanager
    def counting(self, *names: str) -> Iterator[list[int]]:
        """Yield a list that holds, after the block, by how much each counter grew.

        ``SHOW GLOBAL STATUS`` itself is a statement, and is taken off ``Questions``.
        """
        before = self.status(*names)
        grown: list[int] = []
        yield grown
        after = self.status(*names)
        own = {"Questions": 1, "Queries": 1, "Com_show_status": 1}
        grown[:] = [b - a - own.get(n, 0) for n, a, b in zip(names, before, after, strict=True)]

    @contextmanager
    def general_log(self) -> Iterator[list[tuple[int, str, str]]]:
        """A list that holds, after the block, what the server was sent meanwhile, in its order:
        the number of the session, the command, and its text.
        """
        ((output,),) = self.query("SELECT @@GLOBAL.log_output")
        self.query("TRUNCATE mysql.general_log")
        self.query("SET GLOBAL log_output = 'TABLE'")
        self.query("SET GLOBAL general_log = ON")
        log: list[tuple[int, str, str]] = []
        try:
            yield log
        finally:
            self.query("SET GLOBAL general_log = OFF")
            text = "CONVERT(argument USING utf8mb4)"
            rows = self.query(f"SELECT thread_id, command_type, {text} FROM mysql.general_log")
            log[:] = [(session, command, sql) for session, command, sql in rows]
            self.query("TRUNCATE mysql.general_log")
            self.query("SET GLOBAL log_output = %s", output)
