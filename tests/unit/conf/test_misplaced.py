"""Keys of the pool in a wrong place are refused, with the right one named."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from MySQLdb.connections import Connection
from sqlalchemy.pool import QueuePool

from mysqlpool.conf.misplaced import DRIVER_KEYS
from mysqlpool.conf.rules import RULES, SESSION_DEFAULTS
from mysqlpool.conf.settings import parse_pool_settings

# A unit test's Connection is another one, which opens nothing.
DOCUMENTATION = Connection.__init__.__doc__ or ""
RIGHT = "DATABASES['default']['OPTIONS']['pool']"


class PoolWithWords(QueuePool):
    """A class of one's own; one of its keywords is also mysqlclient's."""

    def __init__(self, creator: Any, colour: str = "red", charset: str = "", **kw: Any) -> None:
        super().__init__(creator, **kw)


def refusal(entry: dict[str, Any]) -> str:
    before = copy.deepcopy(entry)
    with pytest.raises(ImproperlyConfigured) as caught:
        parse_pool_settings("default", entry)
    assert entry == before
    return str(caught.value)


@pytest.mark.parametrize("key", sorted({"class", *RULES, *SESSION_DEFAULTS}))
@pytest.mark.parametrize("pool", [{}, {"pool": {}}, {"pool": False}])
def test_a_key_beside_pool_is_refused(key: str, pool: dict[str, Any]) -> None:
    message = refusal({"OPTIONS": {**pool, key: 5}})
    assert message.startswith(f"DATABASES['default']['OPTIONS']['{key}'] is in the wrong place")
    assert f"move it to {RIGHT}['{key}']." in message


def test_the_query_of_a_database_url_is_named_as_where_it_may_come_from() -> None:
    message = refusal({"OPTIONS": {"pool_size": 5}})
    assert "from the query of a database URL, set it in the settings instead" in message


def test_a_keyword_of_ones_own_class_is_refused_unless_the_driver_knows_it() -> None:
    pool = {"class": PoolWithWords}
    assert f"{RIGHT}['colour']" in refusal({"OPTIONS": {"pool": pool, "colour": "blue"}})
    entry = {"OPTIONS": {"pool": {**pool, "charset": "x"}, "charset": "utf8mb4", "user": "me"}}
    assert parse_pool_settings("default", entry).arguments["charset"] == "x"


def test_what_the_driver_knows_is_left_to_it() -> None:
    parameters = re.findall(r":param \S+ (\w+):", DOCUMENTATION)
    assert len(parameters) > 20
    # Its C part takes these two, of which the text does not tell.
    assert {*parameters, "read_timeout", "write_timeout"} <= DRIVER_KEYS
    assert not DRIVER_KEYS & {"class", *RULES}
    parse_pool_settings("default", {"OPTIONS": dict.fromkeys(DRIVER_KEYS)})


@pytest.mark.parametrize("key", ["POOL_SIZE", "Max_Overflow", "LEASE"])
def test_capitals_are_seen_through(key: str) -> None:
    assert f"move it to {RIGHT}['{key.lower()}']" in refusal({"OPTIONS": {key: 5}})


@pytest.mark.parametrize("key", ["POOL", "Pool"])
def test_pool_in_capitals_is_refused(key: str) -> None:
    message = refusal({"OPTIONS": {key: {"pool_size": 5}}})
    assert message.startswith(f"DATABASES['default']['OPTIONS']['{key}'] is in the wrong place")
    assert f"move it to {RIGHT}." in message


def test_a_key_in_capitals_in_its_right_place_is_answered_with_the_small_one() -> None:
    message = refusal({"OPTIONS": {"pool": {"POOL_SIZE": 5}}})
    assert message.endswith("did you mean 'pool_size'?")
    message = refusal({"OPTIONS": {"pool": {"class": "fairqueuepool"}}})
    assert message.endswith("did you mean 'FairQueuePool'?")


@pytest.mark.parametrize("key", ["pool", "POOL"])
def test_pool_beside_options_is_refused(key: str) -> None:
    message = refusal({key: {"pool_size": 5}, "OPTIONS": {}})
    assert message.startswith(f"DATABASES['default']['{key}'] is in the wrong place")
    assert f"move it to {RIGHT}." in message


@pytest.mark.parametrize("key", ["pool_size", "POOL_SIZE", "MAX_OVERFLOW", "recycle", "lease"])
def test_a_key_beside_options_is_refused(key: str) -> None:
    assert f"move it to {RIGHT}['{key.lower()}']" in refusal({key: 5})


def test_what_may_be_a_projects_own_is_let_through() -> None:
    """In capitals a word such as TIMEOUT may be anybody's."""
    entry: dict[Any, Any] = {
        "NAME": "a",
        "TEST": {"NAME": "b"},
        "TIMEOUT": 5,
        "REPLICA": True,
        5: 5,
    }
    parse_pool_settings("default", {**entry, "OPTIONS": {5: 5, "connect_timeout": 3}})


def test_the_settings_of_django_db_connection_pool_are_translated() -> None:
    options = {"POOL_SIZE": 10, "MAX_OVERFLOW": 5, "RECYCLE": 86400, "PRE_PING": True}
    assert refusal({"POOL_OPTIONS": options, "OPTIONS": {}}) == (
        "DATABASES['default']['POOL_OPTIONS'] is django-db-connection-pool's, and mysqlpool does "
        f"not read it: write {RIGHT} = {{'pool_size': 10, 'max_overflow': 5, 'recycle': 86400, "
        "'pre_ping': True} instead"
    )


def test_what_they_say_besides_is_named_without_its_value() -> None:
    message = refusal({"POOL_OPTIONS": {"POOL_SIZE": 10, "DIALECT": "s3cret", 5: "s3cret"}})
    assert message.endswith("= {'pool_size': 10} instead, without 'DIALECT', 5")
    assert refusal({"POOL_OPTIONS": None}).endswith("['pool'] = {} instead")


def test_every_key_of_django_db_connection_pool_has_its_translation() -> None:
    theirs = {"pre_ping", "echo", "timeout", "recycle", "pool_size", "max_overflow"}
    assert theirs <= RULES.keys()
