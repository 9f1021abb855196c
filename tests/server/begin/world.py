"""Where programs run: a database, aliases on it, and the connections of others beside them."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import MySQLdb
from django.db import connections

from mysqlpool import close_pool
from tests.helpers import HANG, in_thread
from tests.observer import Observer

DATABASE = "mysqlpool_begin"
STOCK = "django.db.backends.mysql"
OURS = "mysqlpool.backends.mysqlpool"

# The rows of `duel`: one that somebody else has, and two that two want.
HELD, FIRST, SECOND = 1, 2, 3

ROWS = (
    "CREATE TABLE rows_row (id BIGINT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(100) NOT NULL,"
    " number INT NOT NULL DEFAULT 0, UNIQUE (number))"
)

_TABLES = (
    ROWS,
    "CREATE TABLE duel (id INT PRIMARY KEY, n INT NOT NULL)",
    f"INSERT INTO duel VALUES ({HELD}, 0), ({FIRST}, 0), ({SECOND}, 0)",
    "CREATE TABLE heavy (id INT PRIMARY KEY, n INT NOT NULL)",
    f"INSERT INTO heavy VALUES {', '.join(f'({i}, 0)' for i in range(100))}",
    "CREATE TABLE spare (n INT)",
    "CREATE PROCEDURE put(n INT) INSERT INTO rows_row (text, number) VALUES ('put', n)",
    (
        "CREATE PROCEDURE put_and_fail(n INT) BEGIN"
        " INSERT INTO rows_row (text, number) VALUES ('put', n);"
        " SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'no', MYSQL_ERRNO = 1644; END"
    ),
    "CREATE PROCEDURE end_it() COMMIT",
)
_SETTINGS = ("innodb_lock_wait_timeout", "innodb_flush_log_at_trx_commit")

Rows = tuple[tuple[Any, ...], ...]


class World:
    """The database, and who else is connected to it. Statements there wait a second for a lock."""

    def __init__(self, server: Any) -> None:
        self.observer = Observer(server)
        self.observer.query("SET SESSION lock_wait_timeout = 5")
        self.rival = MySQLdb.connect(
            host=server.host,
            port=server.port,
            user=server.user,
            password=server.password,
            autocommit=False,
        )

    def begin_anew(self) -> None:
        """Leave no trace of a program that ran before."""
        self.observer.query("DROP TABLE IF EXISTS side")
        self.observer.query("TRUNCATE rows_row")
        self.observer.query("UPDATE duel SET n = 0 WHERE n <> 0")

    def look(self) -> tuple[Rows, Rows | int]:
        """The rows that are committed; of the table that may not be there, else the error."""
        rows = self.observer.query("SELECT id, text, number FROM rows_row ORDER BY id")
        try:
            return rows, self.observer.query("SELECT n FROM side ORDER BY n")
        except MySQLdb.ProgrammingError as error:
            return rows, error.args[0]

    def numbers(self) -> list[int]:
        """Of the rows that are committed."""
        return [number for _, _, number in self.look()[0]]

    @contextmanager
    def packets_of(self, size: int) -> Iterator[int]:
        """In this block sessions are opened that take packets of this size at most."""
        ((before,),) = self.observer.query("SELECT @@GLOBAL.max_allowed_packet")
        self.observer.query("SET GLOBAL max_allowed_packet = %s", size)
        try:
            yield size
        finally:
            self.observer.query("SET GLOBAL max_allowed_packet = %s", before)

    @contextmanager
    def row_held(self) -> Iterator[None]:
        """In this block somebody else has locked the row that is for that."""
        self._ask_rival("START TRANSACTION", f"UPDATE duel SET n = n + 1 WHERE id = {HELD}")
        try:
            yield
        finally:
            self.rival.rollback()

    @contextmanager
    def duel(self) -> Iterator[Callable[[], None]]:
        """In this block somebody else, whose transaction is heavy, has the second row.

        Who calls what is given has them ask for the first one, too, and learns when they wait for
        it, or when they got it because nobody else has it.
        """
        self._ask_rival(
            "START TRANSACTION",
            "UPDATE heavy SET n = n + 1",  # InnoDB rolls back the lighter one of two.
            f"UPDATE duel SET n = n + 1 WHERE id = {SECOND}",
        )
        done = threading.Event()

        def want_the_first() -> None:
            try:
                self._ask_rival(f"UPDATE duel SET n = n + 1 WHERE id = {FIRST}")
            finally:
                done.set()

        with ExitStack() as stack:
            stack.callback(self.rival.rollback)

            def attack() -> None:
                stack.enter_context(in_thread(want_the_first))
                self._wait_until_it_waits(done)
                if done.is_set():
                    self.rival.rollback()

            yield attack

    def _wait_until_it_waits(self, done: threading.Event) -> None:
        deadline = time.monotonic() + HANG
        while not done.wait(0.002):
            if self.observer.status("Innodb_row_lock_current_waits") != [0]:
                return
            assert time.monotonic() < deadline, "the rival neither waits nor ends"

    def _ask_rival(self, *statements: str) -> None:
        with self.rival.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def close(self) -> None:
        self.rival.close()
        self.observer.connection.close()


@contextmanager
def world(server: Any) -> Iterator[World]:
    """The database, from here to the end of the block."""
    with Observer(server) as observer:
        before = observer.query(f"SELECT {', '.join(f'@@GLOBAL.{n}' for n in _SETTINGS)}")[0]
        # Sessions that are opened from now on wait as briefly as MySQL can, and no test kills the
        # server.
        for name, value in zip(_SETTINGS, (1, 0), strict=True):
            observer.query(f"SET GLOBAL {name} = {value}")
        observer.query(f"DROP DATABASE IF EXISTS {DATABASE}")
        observer.query(f"CREATE DATABASE {DATABASE}")
        observer.connection.select_db(DATABASE)
        for statement in _TABLES:
            observer.query(statement)
        here = World(server)
        try:
            for connection in (here.observer.connection, here.rival):
                connection.select_db(DATABASE)
            yield here
        finally:
            here.close()
            observer.query(f"DROP DATABASE {DATABASE}")
            for name, value in zip(_SETTINGS, before, strict=True):
                observer.query(f"SET GLOBAL {name} = %s", value)


@contextmanager
def alias(name: str, engine: str, **settings: Any) -> Iterator[str]:
    """An alias on that database, from here to the end of the block."""
    options: Mapping[str, Any] = settings.pop("OPTIONS", {})
    connections.databases[name] = {
        **copy.deepcopy(connections["stock"].settings_dict),
        "ENGINE": engine,
        "NAME": DATABASE,
        "CONN_MAX_AGE": None if engine == STOCK else 0,
        "OPTIONS": dict(options),
        **settings,
    }
    try:
        yield name
    finally:
        forget(name)
        del connections.databases[name]


def forget(name: str) -> None:
    """Close what this thread has of an alias, and let the next use begin with nothing."""
    if name in {connection.alias for connection in connections.all(initialized_only=True)}:
        connections[name].close()
        del connections[name]
    close_pool(name)
