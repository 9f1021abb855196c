"""The databases in which all hooks speak, and two aliases on them: Django's engine and ours."""

from __future__ import annotations

import copy
import itertools
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

import MySQLdb
from django.db import connections
from django.db.backends.mysql.base import DatabaseWrapper as StockWrapper

from mysqlpool import close_pool
from mysqlpool.backends.mysqlpool.base import DatabaseWrapper as PooledWrapper
from tests.helpers import identified
from tests.observer import Observer

MAIN = "mysqlpool_hooks"
VOICES = ("a", "b")
"""What a hook can say is said in one of these voices: for itself each thread has its own."""

PASSWORDS = {voice: f"secret of {voice}" for voice in VOICES}

ENGINES: dict[str, type[Any]] = {"stock": StockWrapper, "ours": PooledWrapper}

ROWS = ("a", "b", "everybody's")  # in each database; what turns insert is below them
FIRST_KEY = 1_000_000  # of what turns insert, unless somebody chose a key

_numbers = itertools.count(1)


def database(voice: str) -> str:
    return f"{MAIN}_{voice}"


def role(voice: str) -> str:
    return f"hooks_role_{voice}"


def user(voice: str) -> str:
    return f"hooks_user_{voice}"


def lock(voice: str) -> str:
    return f"hooks lock {voice}"


# Each database has the same tables. A temporary table `shadow` hides the one that is here.
TABLES = (
    (
        "CREATE TABLE rows_row (id BIGINT AUTO_INCREMENT PRIMARY KEY, text VARCHAR(100) NOT NULL,"
        f" number INT NOT NULL) AUTO_INCREMENT = {FIRST_KEY}"
    ),
    "CREATE TABLE shadow (text VARCHAR(100) NOT NULL)",
    "INSERT INTO shadow VALUES (DATABASE())",
    (
        "CREATE TRIGGER audited BEFORE INSERT ON rows_row FOR EACH ROW"
        f" INSERT INTO {MAIN}.audit (who) VALUES ({MAIN}.variables())"
    ),
)

# A function, a procedure and the trigger above read and write variables without the text of a
# statement telling so, as those of an application do.
PROGRAMS = (
    "CREATE FUNCTION tenant() RETURNS VARCHAR(100) READS SQL DATA RETURN @tenant",
    (
        "CREATE FUNCTION variables() RETURNS VARCHAR(200) READS SQL DATA"
        " RETURN CONCAT(COALESCE(@tenant, '-'), '/', COALESCE(@app_user, '-'))"
    ),
    (
        "CREATE FUNCTION be(who VARCHAR(100)) RETURNS INT READS SQL DATA"
        " BEGIN SET @tenant = who; RETURN 1; END"
    ),
    "CREATE PROCEDURE become(who VARCHAR(100)) SET @tenant = who",
    "CREATE TABLE audit (id BIGINT AUTO_INCREMENT PRIMARY KEY, who VARCHAR(200))",
    "CREATE TABLE logins (id BIGINT AUTO_INCREMENT PRIMARY KEY, who VARCHAR(100))",
    "CREATE TABLE arrivals (id BIGINT AUTO_INCREMENT PRIMARY KEY)",
)

JOURNALS = ("audit", "logins", "arrivals")


@contextmanager
def world(server: Any) -> Iterator[Observer]:
    """The databases, accounts and roles, from here to the end of the block; and who looks at them.

    The observer gives up where a test's session keeps a table locked.
    """
    with Observer(server) as observer:
        observer.query("SET SESSION lock_wait_timeout = 5, innodb_lock_wait_timeout = 5")
        ((flush,),) = observer.query("SELECT @@GLOBAL.innodb_flush_log_at_trx_commit")
        # No test here kills the server, and thousands of commits need not wait for the disk.
        observer.query("SET GLOBAL innodb_flush_log_at_trx_commit = 0")
        _unmake(observer)
        _make(observer)
        try:
            yield observer
        finally:
            _unmake(observer)
            observer.query("SET GLOBAL innodb_flush_log_at_trx_commit = %s", flush)


def _make(observer: Observer) -> None:
    ((me,),) = observer.query("SELECT CURRENT_USER()")
    name, _, host = me.rpartition("@")
    for voice in VOICES:
        observer.query(f"CREATE ROLE {role(voice)}")
        observer.query(f"GRANT {role(voice)} TO '{name}'@'{host}'")
        observer.query(f"CREATE USER {user(voice)} {identified(PASSWORDS[voice])}")
        observer.query(f"GRANT ALL ON *.* TO {user(voice)}")
    for number, here in enumerate((MAIN, *map(database, VOICES))):
        observer.query(f"CREATE DATABASE {here}")
        observer.connection.select_db(here)
        for statement in (*(PROGRAMS if number == 0 else ()), *TABLES):
            observer.query(statement)
        for text in ROWS:
            text_here = text if here == MAIN else f"{text} in {here}"
            observer.query("INSERT INTO rows_row VALUES (NULL, %s, 0)", text_here)


def _unmake(observer: Observer) -> None:
    for name in (MAIN, *map(database, VOICES)):
        observer.query(f"DROP DATABASE IF EXISTS {name}")
    for voice in VOICES:
        observer.query(f"DROP ROLE IF EXISTS {role(voice)}")
        observer.query(f"DROP USER IF EXISTS {user(voice)}")


def begin_anew(observer: Observer) -> None:
    """Forget what an earlier scenario wrote."""
    for journal in JOURNALS:
        observer.query(f"DELETE FROM {MAIN}.{journal}")
    for here in (MAIN, *map(database, VOICES)):
        observer.query(f"DELETE FROM {here}.rows_row WHERE number > 0")


# Engines and aliases


@contextmanager
def engine(kind: str, mixin: type[Any] | None) -> Iterator[str]:
    """The name for ENGINE of Django's or our engine, below a mixin."""
    bases = (ENGINES[kind],) if mixin is None else (mixin, ENGINES[kind])
    name = f"tests_hooks_engine_{next(_numbers)}"
    package, base = ModuleType(name), ModuleType(f"{name}.base")
    wrapper = type("DatabaseWrapper", bases, {"__module__": base.__name__})
    vars(base)["DatabaseWrapper"] = wrapper
    vars(package)["base"] = base
    sys.modules.update({name: package, base.__name__: base})
    try:
        yield name
    finally:
        del sys.modules[name], sys.modules[base.__name__]


@contextmanager
def alias(
    server: Any,
    kind: str,
    *,
    mixin: type[Any] | None = None,
    pool: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[str]:
    """An alias of Django's or our engine, from here to the end of the block.

    Whoever uses it in a thread of its own closes and forgets its connection there.
    """
    name = f"hooks_{kind}"
    options = {**settings.pop("OPTIONS", {})}
    if kind == "ours":
        options["pool"] = pool or {}
    with ExitStack() as stack:
        values: dict[str, Any] = {
            **copy.deepcopy(connections["stock"].settings_dict),
            "ENGINE": stack.enter_context(engine(kind, mixin)),
            "NAME": MAIN,
            "CONN_MAX_AGE": 0,
            **settings,
            "OPTIONS": options,
        }
        connections.databases[name] = values
        try:
            yield name
        finally:
            forget(name)
            if kind == "ours":
                close_pool(name)
            del connections.databases[name]


def forget(name: str) -> None:
    """Close this thread's connection of the alias, and let the next use make a new wrapper."""
    if name in {connection.alias for connection in connections.all(initialized_only=True)}:
        connections[name].close()
        del connections[name]


def connect(server: Any, **params: Any) -> Any:
    """A connection of the driver alone."""
    address = {"host": server.host, "port": server.port, "user": server.user}
    return MySQLdb.connect(**address, password=server.password, **params)
