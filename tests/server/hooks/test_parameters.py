"""Connection parameters that differ from thread to thread: each has the session it asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import pytest
from MySQLdb.constants import CLIENT, FIELD_TYPE
from MySQLdb.cursors import Cursor, SSCursor

from tests.observer import Observer

from .scenarios import WHO_SPEAKS, Case, Scenario, assert_same
from .test_table import ALL_OF_THAT
from .ways import PARAMETER_WAYS
from .world import PASSWORDS, database, user

Change = Callable[[Any, dict[str, Any], str], None]


class OtherCursor(Cursor):
    """Not a DictCursor: Django's own probe of the server fails with that."""


def value(name: str, **values: Any) -> Change:
    """One parameter, with a value for each voice."""

    def change(wrapper: Any, params: dict[str, Any], voice: str) -> None:
        params[name] = values[voice]

    return change


def _account(wrapper: Any, params: dict[str, Any], voice: str) -> None:
    params.update(user=user(voice), password=PASSWORDS[voice])


def _isolation(wrapper: Any, params: dict[str, Any], voice: str) -> None:
    """Django's method leaves this beside its answer, for init_connection_state()."""
    wrapper.isolation_level = {"a": "serializable", "b": "repeatable read"}[voice]


def _conversions(wrapper: Any, params: dict[str, Any], voice: str) -> None:
    integer = {FIELD_TYPE.LONGLONG: lambda text: f"{voice}{int(text)}"}
    params["conv"] = {**params["conv"], **integer}


def _without_found_rows(wrapper: Any, params: dict[str, Any], voice: str) -> None:
    params["client_flag"] = {"a": 0, "b": CLIENT.FOUND_ROWS}[voice]


CHANGES: Mapping[str, Change] = MappingProxyType(
    {
        "database": value("database", a=database("a"), b=database("b")),
        "account": _account,
        "init_command": value("init_command", a="SET @tenant = 'a'", b="SET @tenant = 'b'"),
        "charset": value("charset", a="latin1", b="utf8mb3"),
        "sql_mode": value("sql_mode", a="STRICT_TRANS_TABLES", b="ANSI_QUOTES"),
        "autocommit": value("autocommit", a=False, b=True),
        "cursorclass": value("cursorclass", a=SSCursor, b=OtherCursor),
        "conversions": _conversions,
        "client_flag": _without_found_rows,
        "isolation": _isolation,
    }
)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("way", PARAMETER_WAYS)
def test_each_thread_has_the_session_that_it_asked_for(
    server: Any, everything: Observer, way: str, change: str
) -> None:
    case = Case(PARAMETER_WAYS[way], WHO_SPEAKS["all of that"], change_params=CHANGES[change])
    assert_same(server, everything, case, ALL_OF_THAT)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("who", ["each for itself", "silent after having spoken"])
@pytest.mark.parametrize("hindered", [False, True], ids=["free", "hindered"])
def test_and_keeps_it_where_nothing_is_released(
    server: Any, everything: Observer, who: str, change: str, hindered: bool
) -> None:
    way = PARAMETER_WAYS["get_connection_params"]
    case = Case(way, WHO_SPEAKS[who], change_params=CHANGES[change])
    scenario = Scenario("ababab", ends="", pool_size=3, hindered=hindered)
    leases = ["transaction"] if hindered else ["task", "transaction"]
    assert_same(server, everything, case, scenario, leases)
