"""What is said again to a connection whose user was changed, and as whom."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mysqlpool.session.opening import Opening


def opened(**options: Any) -> Opening:
    return Opening({"user": "a", **options}, "utf8mb4")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, [b"SET NAMES utf8mb4"]),
        ({"collation": "utf8mb4_bin"}, [b"SET NAMES utf8mb4 COLLATE utf8mb4_bin"]),
        ({"sql_mode": "ANSI"}, [b"SET NAMES utf8mb4", b"SET SESSION sql_mode='ANSI'"]),
    ],
)
def test_the_driver_is_repeated_in_its_order(
    options: Mapping[str, Any], words: list[bytes]
) -> None:
    assert list(opened(**options).words()) == words


def test_the_library_is_repeated_where_it_was_told_something() -> None:
    assert list(opened().first_words()) == []
    assert list(opened(init_command="SET @a = 1").first_words()) == [b"SET @a = 1"]


def test_an_account_is_known_only_where_the_parameters_alone_tell_it() -> None:
    assert opened().knows_account()
    assert not Opening({}, "utf8mb4").knows_account()
    assert not opened(read_default_file="/etc/my.cnf").knows_account()
    assert not opened(read_default_group="client").knows_account()


def test_by_other_parameters_no_secret_is_kept() -> None:
    other = opened().by({"user": "b", "password": "p", "passwd": "q"})
    assert other == Opening({"user": "b"}, "utf8mb4")
