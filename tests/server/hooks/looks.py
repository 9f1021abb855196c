"""What an application sees of the session that it has: everything that one holder could leave."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.db import connections
from django.db.models import CharField, F, Func

from tests.rows.models import Row

from .says import Say
from .world import FIRST_KEY, MAIN, VOICES, lock

Look = dict[str, Any]

# These tell of the statement before, of the clock, or of the session's number.
_NATURALLY_DIFFERENT = frozenset(
    {
        "error_count",
        "gtid_next",
        "identity",  # another name of last_insert_id
        "last_gtid",
        "last_insert_id",
        "pseudo_thread_id",
        "rand_seed1",
        "rand_seed2",
        "statement_id",
        "timestamp",
        "warning_count",
    }
)

_STATE = {
    "database": "DATABASE()",
    "role": "CURRENT_ROLE()",
    "user": "CURRENT_USER()",
    "variables": f"{MAIN}.variables()",
    "a table of that name": "(SELECT text FROM shadow)",
    "a stopped clock": "UNIX_TIMESTAMP() < 100000",
    # Whether it is its own. Another one's may be about to end, with a session that was closed.
    **{f"lock {v}": f"IS_USED_LOCK('{lock(v)}') <=> CONNECTION_ID()" for v in VOICES},
}


def look(alias: str, say: Say) -> Look:
    """Ask for everything, each with a cursor of its own; an error is an answer, too.

    First comes what looks at the statement before, last what writes.
    """
    seen: Look = {}
    seen.update(_attempt("driver", lambda: _driver(alias)))
    seen.update(_attempt("variables of the session", lambda: _session_variables(alias)))
    seen.update(_attempt("state", lambda: _state(alias)))
    for question in say.questions:
        seen.update(_attempt(question, partial(_answer, alias, question)))
    seen.update(_attempt("arguments", lambda: _arguments(alias)))
    seen.update(
        _attempt("arrivals", lambda: _answer(alias, f"SELECT COUNT(*) FROM {MAIN}.arrivals"))
    )
    seen.update(_attempt("rows", lambda: _rows(alias)))
    seen.update(_attempt("the tenant's rows", lambda: _rows_of_the_tenant(alias)))
    seen.update(_attempt("a new row", lambda: _insert(alias)))
    return seen


def _attempt(name: str, ask: Callable[[], Any]) -> Look:
    try:
        answer = ask()
    except Exception as error:
        return {name: (type(error).__name__, *error.args[:1])}
    if isinstance(answer, dict):
        return {f"{name}: {key}": value for key, value in answer.items()}
    return {name: answer}


def _answer(alias: str, question: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchall()


def _driver(alias: str) -> Look:
    """The driver's own state, before the first statement of this lease."""
    connection: Any = connections[alias]
    with connection.cursor():
        raw = connection.connection
        return {
            "insert_id": bool(raw.insert_id()),
            "info": raw.info(),
            "warning_count": raw.warning_count(),
            "encoding": raw.encoding,
            "character set": raw.character_set_name(),
            "cursorclass": raw.cursorclass.__name__,
            "autocommit": raw.get_autocommit(),
            "an attribute": getattr(raw, "hooks_mark", None),
            "decodes": sorted(map(repr, raw.converter)),
            "encodes": sorted(map(repr, raw.encoders)),
        }


def _session_variables(alias: str) -> Look:
    rows = _answer(alias, "SHOW SESSION VARIABLES")
    pairs = [tuple(row.values()) if isinstance(row, dict) else row for row in rows]
    return {name: value for name, value in pairs if name not in _NATURALLY_DIFFERENT}


def _state(alias: str) -> Look:
    rows = _answer(alias, f"SELECT {', '.join(_STATE.values())}")
    (row,) = [tuple(row.values()) if isinstance(row, dict) else row for row in rows]
    return dict(zip(_STATE, row, strict=True))


def _arguments(alias: str) -> Any:
    with connections[alias].cursor() as cursor:
        cursor.execute("SELECT %s, %s, %s", [7, "a\\'b", None])
        return repr(cursor.fetchall())


def _rows(alias: str) -> Any:
    rows = Row.objects.using(alias).filter(number=0).order_by("pk")
    return [*rows.values_list("text", flat=True)]


def _rows_of_the_tenant(alias: str) -> Any:
    tenant = Func(function=f"{MAIN}.tenant", output_field=CharField())
    rows = Row.objects.using(alias).annotate(tenant=tenant).filter(number=0, text=F("tenant"))
    return [*rows.values_list("text", flat=True)]


def _insert(alias: str) -> Any:
    """Its key tells only whether somebody chose it."""
    key: int = Row.objects.using(alias).create(text="new", number=1).pk
    return key if key < FIRST_KEY else "made"


def differences(stock: Look, ours: Look, around: str = "") -> list[str]:
    """One line for each thing that is not as on Django's engine.

    In a block ours has its transaction under the server's autocommit, and sends nothing before the
    first statement.
    """
    other = (*_OF_A_TRANSACTION, *_OF_THE_LAST_STATEMENT) if around == "atomic" else ("\0",)
    missing = "no answer"
    return [
        f"{name}: Django's {stock.get(name, missing)!r}, ours {ours.get(name, missing)!r}"
        for name in sorted(stock.keys() | ours.keys())
        if stock.get(name, missing) != ours.get(name, missing)
        and not name.startswith(other)
        and not (name.startswith(_OF_THE_LAST_STATEMENT) and not ours.get(name))
    ]


_OF_A_TRANSACTION = (
    "variables of the session: autocommit",
    "variables of the session: in_transaction",
)

# Before a lease's first statement they tell nothing, where Django's tell of the set-up, or of the
# thread's own statement before. What they must not tell of is another thread's.
_OF_THE_LAST_STATEMENT = ("driver: insert_id", "driver: warning_count")
