"""What a hook can say to a new session: by statements, or to the driver's own connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from MySQLdb.constants import FIELD_TYPE
from MySQLdb.cursors import DictCursor, SSCursor

from .world import MAIN, database, lock, role

Statement = tuple[str, Sequence[Any] | None]


@dataclass(frozen=True)
class Say:
    """One thing to say. Each voice says it with a value of its own."""

    statements: Callable[[str], Sequence[Statement]] | None = None
    to_driver: Callable[[Any, str], object] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # of the alias
    commits: bool = False  # the application commits at the end of its turn
    questions: Sequence[str] = ()  # what else a turn asks
    only: str | None = None  # the server that knows this statement
    unless_silent: bool = False  # README excludes that it is heard by the silent ones
    exclusive: bool = False  # two sessions cannot have it at once

    def speak(self, raw: Any, execute: Callable[[str, Any], object], voice: str) -> None:
        for sql, args in self.statements(voice) if self.statements else ():
            execute(sql, args)
        if self.to_driver:
            self.to_driver(raw, voice)


def sql(text: str, values: Mapping[str, str] | None = None, **more: Any) -> Say:
    """One statement: its text, with the voice for VOICE, or with the value that the voice has."""

    def statements(voice: str) -> Sequence[Statement]:
        filled = text.replace("VOICE", voice)
        return [(filled.replace("VALUE", values[voice]) if values else filled, None)]

    return Say(statements, **more)


def driver(speak: Callable[[Any, str], object], **more: Any) -> Say:
    return Say(to_driver=speak, **more)


LENGTHS = {"a": "4001", "b": "4002"}
ZONES = {"a": "+02:00", "b": "-05:00"}


def _temporary_table(voice: str) -> Sequence[Statement]:
    return [
        ("DROP TEMPORARY TABLE IF EXISTS shadow", None),
        ("CREATE TEMPORARY TABLE shadow (text VARCHAR(100) NOT NULL)", None),
        ("INSERT INTO shadow VALUES (%s)", [voice]),
    ]


def _encode_integers(raw: Any, voice: str) -> None:
    number = {"a": "41", "b": "42"}[voice]
    raw.encoders[int] = lambda *_: number


def _convert_integers(raw: Any, voice: str) -> None:
    raw.converter[FIELD_TYPE.LONGLONG] = raw.converter[FIELD_TYPE.LONG] = lambda text: (
        f"{voice}{int(text)}"
    )


def _another_converter(raw: Any, voice: str) -> None:
    raw.converter = {**raw.converter, FIELD_TYPE.LONGLONG: lambda text: f"{voice}{int(text)}"}


def _cursorclass(raw: Any, voice: str) -> None:
    raw.cursorclass = {"a": SSCursor, "b": DictCursor}[voice]


def _encoding(raw: Any, voice: str) -> None:
    raw.encoding = {"a": "latin-1", "b": "ascii"}[voice]


def _attribute(raw: Any, voice: str) -> None:
    raw.hooks_mark = voice


def _query(raw: Any, voice: str) -> None:
    raw.query(f"SET @tenant = '{voice}'")


SAYS: Mapping[str, Say] = MappingProxyType(
    {
        # User variables
        "user_variable": Say(lambda voice: [("SET @tenant = %s", [voice])]),
        "user_variable_in_text": sql("SET @app_user = 'VOICE'"),
        "user_variable_by_select": Say(lambda voice: [("SELECT @tenant := %s", [voice])]),
        "user_variable_by_into": sql("SELECT 'VOICE' INTO @tenant"),
        "procedure": Say(lambda voice: [(f"CALL {MAIN}.become(%s)", [voice])]),
        "function": Say(lambda voice: [(f"SELECT {MAIN}.be(%s)", [voice])], unless_silent=True),
        # Session variables, to constants
        "constant": sql("SET SESSION group_concat_max_len = VALUE", LENGTHS),
        "constant_by_argument": Say(
            lambda voice: [("SET SESSION group_concat_max_len = %s", [int(LENGTHS[voice])])]
        ),
        "sql_mode": sql(
            "SET SESSION sql_mode = 'VALUE'",
            {"a": "STRICT_TRANS_TABLES", "b": "NO_BACKSLASH_ESCAPES,STRICT_TRANS_TABLES"},
        ),
        "read_only": sql("SET SESSION TRANSACTION VALUE", {"a": "READ ONLY", "b": "READ WRITE"}),
        "isolation": sql(
            "SET SESSION TRANSACTION ISOLATION LEVEL VALUE",
            {"a": "SERIALIZABLE", "b": "REPEATABLE READ"},
        ),
        "time_zone": sql("SET time_zone = 'VALUE'", ZONES),
        "names": sql("SET NAMES VALUE", {"a": "latin1", "b": "utf8mb4"}),
        "two_constants": sql(
            f"SET SESSION group_concat_max_len = VALUE, time_zone = '{ZONES['a']}'", LENGTHS
        ),
        "default": sql("SET SESSION group_concat_max_len = VALUE", {"a": "4001", "b": "DEFAULT"}),
        # Session variables, to what is no constant
        "relative": sql(
            "SET SESSION group_concat_max_len = @@SESSION.group_concat_max_len + VALUE",
            {"a": "7", "b": "11"},
        ),
        "relative_mode": sql(
            "SET SESSION sql_mode = CONCAT(@@SESSION.sql_mode, ',VALUE')",
            {"a": "PIPES_AS_CONCAT", "b": "IGNORE_SPACE"},
        ),
        "clock": sql("SET timestamp = VALUE", {"a": "1000", "b": "2000"}),
        "next_key": sql("SET insert_id = VALUE", {"a": "500", "b": "900"}),
        "last_key": sql("SET last_insert_id = VALUE", {"a": "77", "b": "78"}),
        "next_transaction": sql("SET TRANSACTION VALUE", {"a": "READ ONLY", "b": "READ WRITE"}),
        # More than one thing in a text
        "two_sets": sql("SET SESSION group_concat_max_len = VALUE; SET @tenant = 'VOICE'", LENGTHS),
        "set_and_use": sql(
            f"SET SESSION group_concat_max_len = VALUE; USE {database('VOICE')}", LENGTHS
        ),
        "set_of_both": sql(
            "SET SESSION group_concat_max_len = VALUE, @tenant = 'VOICE', time_zone = '+03:00'",
            LENGTHS,
        ),
        "set_with_a_comment": sql(
            "SET SESSION group_concat_max_len = VALUE /*! , @tenant = 'VOICE' */", LENGTHS
        ),
        "set_and_select": sql(
            "SET SESSION group_concat_max_len = VALUE; SELECT 'VOICE' INTO @tenant", LENGTHS
        ),
        "set_statement": sql(
            "SET STATEMENT max_statement_time = 10 FOR SELECT 'VOICE' INTO @tenant",
            only="mariadb",
        ),
        "set_and_lock": sql(
            "SET SESSION group_concat_max_len = 4001; DO GET_LOCK('" + lock("VOICE") + "', 5)",
            exclusive=True,
        ),
        # What is no variable
        "role": sql(f"SET ROLE {role('VOICE')}"),
        "use": sql(f"USE {database('VOICE')}"),
        "temporary_table": Say(_temporary_table),
        "lock": Say(lambda voice: [("SELECT GET_LOCK(%s, 5)", [lock(voice)])], exclusive=True),
        "locked_table": sql("LOCK TABLES shadow READ"),
        "prepare": sql("PREPARE prepared FROM 'SELECT ''VOICE'''", questions=["EXECUTE prepared"]),
        "handler": sql(
            "HANDLER shadow OPEN AS h_VOICE",
            questions=[f"HANDLER h_{voice} READ FIRST" for voice in ("a", "b")],
        ),
        # Transactions
        "begin": sql("START TRANSACTION"),
        "snapshot_in_autocommit": sql("START TRANSACTION WITH CONSISTENT SNAPSHOT"),
        "autocommit_off": sql("SET autocommit = 0"),
        "snapshot": sql(
            f"SELECT COUNT(*) FROM {MAIN}.arrivals",
            settings={"AUTOCOMMIT": False, "OPTIONS": {"isolation_level": "repeatable read"}},
        ),
        "insert": Say(lambda voice: [(f"INSERT INTO {MAIN}.logins (who) VALUES (%s)", [voice])]),
        "insert_before_a_commit": Say(
            lambda voice: [(f"INSERT INTO {MAIN}.logins (who) VALUES (%s)", [voice])],
            settings={"AUTOCOMMIT": False},
            commits=True,
        ),
        "insert_without_a_commit": Say(
            lambda voice: [(f"INSERT INTO {MAIN}.logins (who) VALUES (%s)", [voice])],
            settings={"AUTOCOMMIT": False},
        ),
        # The driver's own connection
        "encoders": driver(_encode_integers),
        "converter": driver(_convert_integers),
        "another_converter": driver(_another_converter),
        "cursorclass": driver(_cursorclass),
        "encoding": driver(_encoding),
        "attribute": driver(_attribute),
        "raw_query": driver(_query),
        "select_db": driver(lambda raw, voice: raw.select_db(database(voice))),
        "set_character_set": driver(
            lambda raw, voice: raw.set_character_set({"a": "latin1", "b": "utf8mb3"}[voice])
        ),
        "raw_autocommit": driver(lambda raw, voice: raw.autocommit(voice == "a")),
    }
)
