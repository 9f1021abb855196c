"""Runs a program on an alias, and tells what the application sees of it, step by step."""

from __future__ import annotations

import re
from contextlib import nullcontext, suppress
from functools import singledispatchmethod
from itertools import zip_longest
from typing import Any, NamedTuple

import django.db
import MySQLdb
from django.db import connections, transaction
from MySQLdb.cursors import SSCursor

from mysqlpool import release_connections
from tests.rows.models import Row

from .programs import (
    Block,
    Call,
    Deadlock,
    Fail,
    Keep,
    Many,
    OnCommit,
    Orm,
    Program,
    Sql,
    Step,
    Stream,
    Use,
)
from .world import FIRST, SECOND, World, forget

__all__ = ["View", "differences", "play"]


class Boom(Exception):
    """The application's own."""


# Anything else is an error of the test's.
EXPECTED = (django.db.Error, django.db.InterfaceError, MySQLdb.Error, Row.DoesNotExist, Boom)


# What Django sends to each new session, and we to each that is new to the pool. And the name, for a
# cursor without a connection, of what was never sent.
NOT_COMPARED = re.compile(
    r"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED|\s*SELECT VERSION|None"
)
ENDS = [Call(name, caught=caught) for name in ("commit", "rollback") for caught in (False, True)]


class View(NamedTuple):
    """What is seen when a step has ended, in whatever way."""

    step: Step
    seen: tuple[Any, ...]
    """What its statements gave, as far as they came."""
    error: tuple[Any, ...] | None
    state: dict[str, Any]
    hooks: tuple[str, ...]
    """What commit hooks have run so far."""
    committed: Any
    """What somebody else sees."""
    queries: list[str]
    """What ``connection.queries`` has since the step before."""


class Player:
    """Goes through a program once. ``logged``: Django notes the queries, as for DEBUG."""

    def __init__(self, alias: str, world: World, *, logged: bool) -> None:
        self.alias = alias
        self.world = world
        self.connection: Any = connections[alias]
        self.views: list[View] = []
        self.savepoints: list[str] = []
        self.kept: Any = None
        self.hooks: list[str] = []
        self.connection.force_debug_cursor = logged
        self._has_locked_all_out = False

    def take(self, step: Step) -> None:
        """Do it; an error that the application does not catch there goes on."""
        seen: list[Any] = []
        try:
            self.do(step, seen)
        except EXPECTED as error:
            self._note(step, seen, error)
            if not getattr(step, "caught", False):
                raise
        else:
            self._note(step, seen, None)

    def _note(self, step: Step, seen: list[Any], error: BaseException | None) -> None:
        connection = self.connection
        state = {
            "in_atomic_block": connection.in_atomic_block,
            "needs_rollback": connection.needs_rollback,
            "closed_in_transaction": connection.closed_in_transaction,
            "autocommit": connection.autocommit,
            "savepoints": len(connection.savepoint_ids),
            "hooks that wait": len(connection.run_on_commit),
        }
        why, queries = shown(error), self._queries(step)
        if connection.closed_in_transaction and error is not None:
            # Django says that the block is broken, or the driver that the connection is closed; we
            # that the block cannot have another one. Nothing is sent, whatever is noted of it.
            why, queries = ("refused",), []
        committed = self._look()
        self.views.append(
            View(step, tuple(seen), why, state, tuple(self.hooks), committed, queries)
        )

    def _look(self) -> Any:
        return None if self._has_locked_all_out else self.world.look()

    def _queries(self, step: Step) -> list[str]:
        queries = [str(query["sql"]) for query in self.connection.queries_log]
        self.connection.queries_log.clear()
        if step in ENDS and self.connection.autocommit and not self.connection.in_atomic_block:
            # A wrapper that rests has no connection, and so tells nothing of the end of nothing.
            queries = [sql for sql in queries if sql not in ("COMMIT", "ROLLBACK")]
        return [sql for sql in queries if not NOT_COMPARED.match(sql)]

    @singledispatchmethod
    def do(self, step: Step, seen: list[Any]) -> None:
        raise NotImplementedError(step)

    @do.register
    def _(self, step: Sql, seen: list[Any]) -> None:
        texts = (step.texts,) if isinstance(step.texts, str) else step.texts
        held = self.world.row_held() if step.held else nullcontext()
        with held, self.connection.cursor() as cursor:
            for text in texts:
                execute(cursor, text, step.args, seen)
                if text.startswith(("LOCK", "UNLOCK")):
                    self._has_locked_all_out = text.endswith("WRITE")

    @do.register
    def _(self, step: Many, seen: list[Any]) -> None:
        with self.connection.cursor() as cursor:
            cursor.executemany(step.text, step.args)
            seen.append((cursor.rowcount, cursor.lastrowid))

    @do.register
    def _(self, step: Stream, seen: list[Any]) -> None:
        with self.connection.cursor(), self.connection.connection.cursor(SSCursor) as cursor:
            cursor.execute(step.text)
            seen += [cursor.fetchone(), cursor.fetchall()] if cursor.description else []

    @do.register
    def _(self, step: Keep, seen: list[Any]) -> None:
        self._drop()
        self.kept = self.connection.cursor()
        execute(self.kept, step.text, None, seen)

    @do.register
    def _(self, step: Use, seen: list[Any]) -> None:
        if self.kept is None:
            return
        try:
            execute(self.kept, step.text, None, seen)
        finally:
            if step.closes:
                self._drop()

    def _drop(self) -> None:
        kept, self.kept = self.kept, None
        if kept is not None:
            kept.close()

    @do.register
    def _(self, step: Orm, seen: list[Any]) -> None:
        rows = Row.objects.using(self.alias)
        n = step.number
        match step.name:
            case "bulk_create":
                seen.append(len(rows.bulk_create([Row(text="o", number=n + i) for i in (0, 1)])))
            case "count":
                seen.append(rows.filter(number__lte=n).count())
            case "create":
                seen.append(rows.create(text="o", number=n).pk)
            case "delete":
                seen.append(rows.filter(number__lte=n).delete())
            case "get_or_create":
                seen.append(rows.get_or_create(number=n, defaults={"text": "o"})[1])
            case "iterator":
                seen.extend(row.text for row in rows.order_by("pk").iterator(chunk_size=1))
            case "save":
                row = rows.get(number=n)
                row.text = "saved"
                row.save()
            case "select_for_update":
                row = rows.select_for_update().get(number=n)
                row.number += 1
                row.save()
            case "update_or_create":
                seen.append(rows.update_or_create(number=n, defaults={"text": "o"})[1])
            case _:
                raise NotImplementedError(step)

    @do.register
    def _(self, step: Call, seen: list[Any]) -> None:
        match step.name:
            case "savepoint":
                if sid := connections[self.alias].savepoint():  # None where there is none.
                    self.savepoints.append(sid)
            case "savepoint_commit" | "savepoint_rollback":
                if self.savepoints:
                    getattr(transaction, step.name)(self.savepoints.pop(), using=self.alias)
            case "set_rollback" | "set_autocommit":
                getattr(transaction, step.name)(step.argument, using=self.alias)
            case "is_usable":
                with self.connection.cursor():
                    seen.append(self.connection.is_usable())
            case "close" | "release":
                self._end_connection(step.name)
            case _:
                seen.append(getattr(self.connection, step.name)())

    def _end_connection(self, name: str) -> None:
        """On Django's engine a task that is over closes its connection, and a block's is left."""
        self._drop()
        if name == "close":
            self.connection.close()
        elif self.connection.in_atomic_block:
            return
        elif getattr(self.connection, "uses_mysqlpool", False):
            release_connections()
        else:
            self.connection.close()

    @do.register
    def _(self, step: OnCommit, seen: list[Any]) -> None:
        def hook() -> None:
            self.hooks.append(f"begun: {step.text}")
            if step.text is None:
                raise Boom
            with self.connection.cursor() as cursor:
                cursor.execute(step.text)
            self.hooks.append(f"done: {self.connection.get_autocommit()}")

        transaction.on_commit(hook, using=self.alias, robust=step.robust)

    @do.register
    def _(self, step: Deadlock, seen: list[Any]) -> None:
        with self.world.duel() as attack, self.connection.cursor() as cursor:
            execute(cursor, f"UPDATE duel SET n = n + 1 WHERE id = {FIRST}", None, seen)
            attack()
            execute(cursor, f"UPDATE duel SET n = n + 1 WHERE id = {SECOND}", None, seen)

    @do.register
    def _(self, step: Fail, seen: list[Any]) -> None:
        raise Boom

    @do.register
    def _(self, step: Block, seen: list[Any]) -> None:
        with transaction.atomic(using=self.alias, savepoint=step.savepoint, durable=step.durable):
            for inner in step.body:
                self.take(inner)


def execute(cursor: Any, text: str, args: Any, seen: list[Any]) -> None:
    """Run a text, and note what each of its results has."""
    cursor.execute(text, args)
    while True:
        columns = [column[0] for column in cursor.description or ()]
        # After a SELECT it is that of the statement before, which may have had another lease.
        answer = cursor.fetchall() if columns else cursor.lastrowid
        seen.append((columns, answer, cursor.rowcount, getattr(cursor, "warning_count", None)))
        if not cursor.nextset():
            return


def shown(error: BaseException | None) -> tuple[Any, ...] | None:
    """An error's class and number, and those of the one that it came of."""
    if error is None:
        return None
    kind = type(error)
    numbers = [arg for arg in error.args[:1] if isinstance(arg, int)]
    return (f"{kind.__module__}.{kind.__qualname__}", *numbers, shown(error.__cause__))


def play(program: Program, alias: str, world: World, *, logged: bool = True) -> list[View]:
    """Run a program from the beginning, on an alias that has no connection yet."""
    world.begin_anew()
    player = Player(alias, world, logged=logged)
    try:
        for step in program:
            with suppress(*EXPECTED):
                player.take(step)
        return player.views
    finally:
        forget(alias)


def differences(stock: list[View], ours: list[View]) -> list[str]:
    """One line for each thing that is not as on Django's engine at the first step that has any.

    What comes after that follows from it.
    """
    for number, (a, b) in enumerate(zip_longest(stock, ours)):
        if a is None or b is None:
            return [f"step {number}: Django's {a}, ours {b}"]
        if a != b:
            return [
                f"step {number}, {a.step}: {name}: Django's {x!r}, ours {y!r}"
                for name, x, y in zip(View._fields, a, b, strict=True)
                if x != y
            ]
    return []
