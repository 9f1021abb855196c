"""What is said of the way to the server. TLS is in tests/unit/test_checks.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.checks import CheckMessage
from MySQLdb.constants import CLIENT

from .project import STOCK, entry


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"local_infile": True}, "'local_infile'"),
        ({"local_infile": 1}, "'local_infile'"),
        ({"client_flag": CLIENT.LOCAL_FILES | CLIENT.INTERACTIVE}, "CLIENT.LOCAL_FILES"),
    ],
)
def test_that_the_server_may_ask_for_any_file_is_told(
    databases: dict[str, Any],
    run: Callable[[], list[CheckMessage]],
    options: dict[str, Any],
    named: str,
) -> None:
    databases["default"] = entry(**options)
    (message,) = run()
    assert message.id == "mysqlpool.W009"
    assert named in message.msg


@pytest.mark.parametrize(
    "options",
    [
        {"local_infile": False},
        {"local_infile_dir": "/srv/imports"},
        {"client_flag": CLIENT.INTERACTIVE},
    ],
)
def test_one_folder_or_no_file_at_all_is_no_trouble(
    databases: dict[str, Any], ids: Callable[[], list[str]], options: dict[str, Any]
) -> None:
    databases["default"] = entry(**options)
    assert ids() == []


def test_an_alias_of_another_engine_is_not_ours_to_judge(
    databases: dict[str, Any], ids: Callable[[], list[str]]
) -> None:
    databases["default"] = {"ENGINE": STOCK, "OPTIONS": {"local_infile": True}}
    assert ids() == []


@pytest.mark.parametrize("options", ['{"local_infile": true}', ["local_infile"]])
def test_options_that_are_no_dict_are_told_by_another_check(
    databases: dict[str, Any], ids: Callable[[], list[str]], options: Any
) -> None:
    databases["default"] = {**entry(), "OPTIONS": options}
    assert ids() == ["E001"]
