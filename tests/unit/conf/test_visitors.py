"""Who may look at the status page without being staff, as the settings say it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from mysqlpool.conf.visitors import parse_visitors

TOKEN = "a-token-that-is-long-enough"


def test_without_settings_nobody_is_let_in() -> None:
    assert not parse_visitors("STATUS")
    assert not parse_visitors("HEALTH")


def test_a_token_and_addresses_are_taken(settings: Settings) -> None:
    settings.MYSQLPOOL_STATUS_TOKEN = TOKEN
    settings.MYSQLPOOL_HEALTH_ADDRESSES = ["127.0.0.1", "10.0.0.0/8", "fd00::/8"]
    assert parse_visitors("STATUS").tokens == (TOKEN,)
    assert not parse_visitors("STATUS").networks
    networks = ("127.0.0.1/32", "10.0.0.0/8", "fd00::/8")
    assert parse_visitors("HEALTH").networks == tuple(map(ip_network, networks))
    assert not parse_visitors("HEALTH").tokens


@pytest.mark.parametrize("tokens", [[TOKEN, TOKEN[::-1]], (TOKEN,)])
def test_a_token_may_be_replaced_while_the_old_one_still_holds(
    settings: Settings, tokens: Any
) -> None:
    settings.MYSQLPOOL_HEALTH_TOKEN = tokens
    assert parse_visitors("HEALTH").tokens == tuple(tokens)


@pytest.mark.parametrize(
    "value",
    [
        *("", "short", "fifteen-letters", "with a space in it", "not ASCII: pässword"),
        *(b"x" * 20, 5, True, {"token": TOKEN}, "new-line-at-the-end\n"),
        *([], [""], [TOKEN, "short"], [None]),
    ],
)
@pytest.mark.parametrize("page", ["STATUS", "HEALTH"])
def test_a_bad_token_is_refused_and_not_shown(settings: Settings, page: str, value: Any) -> None:
    setattr(settings, f"MYSQLPOOL_{page}_TOKEN", value)
    with pytest.raises(ImproperlyConfigured) as caught:
        parse_visitors(page)
    assert f"MYSQLPOOL_{page}_TOKEN must be a string of at least 16 ASCII" in str(caught.value)
    assert "token_urlsafe" in str(caught.value)
    for secret in ("short", "fifteen", TOKEN):
        assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "value",
    ["10.0.0.0/8", 5, {"a": 1}, ["10.0.0.1/8"], ["10.0.0.0/33"], ["localhost"], [""], [10], [None]],
)
def test_bad_addresses_are_refused(settings: Settings, value: Any) -> None:
    settings.MYSQLPOOL_HEALTH_ADDRESSES = value
    with pytest.raises(ImproperlyConfigured) as caught:
        parse_visitors("HEALTH")
    assert "MYSQLPOOL_HEALTH_ADDRESSES must be a list of addresses" in str(caught.value)
    assert repr(value)[:20] in str(caught.value)


def test_a_network_with_bits_of_a_host_is_refused_by_its_reason(settings: Settings) -> None:
    settings.MYSQLPOOL_STATUS_ADDRESSES = ["10.0.0.1/8"]
    with pytest.raises(ImproperlyConfigured, match="has host bits set"):
        parse_visitors("STATUS")


def test_a_repr_tells_no_token(settings: Settings) -> None:
    settings.MYSQLPOOL_STATUS_TOKEN = TOKEN
    assert TOKEN not in repr(parse_visitors("STATUS"))
