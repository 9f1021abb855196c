"""``MYSQLPOOL_STATUS_*`` and ``MYSQLPOOL_HEALTH_*``: who may look without being staff.

``..._TOKEN`` is a token, or a list of several, of which one is to be retired. ``..._ADDRESSES`` is
a list of addresses and networks. A token is a secret, so what refuses one does not show it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .rules import refuse

__all__ = ["Network", "Visitors", "parse_visitors"]

Network = IPv4Network | IPv6Network

TOKEN = re.compile(r"[!-~]{16,}")
TOKEN_RULE = (
    "a string of at least 16 ASCII characters without a space, or a list of such strings; "
    "python -c 'import secrets; print(secrets.token_urlsafe())' makes one"
)
ADDRESSES_RULE = "a list of addresses and networks, such as ['127.0.0.1', '10.0.0.0/8', 'fd00::/8']"


@dataclass(frozen=True, slots=True)
class Visitors:
    """Who may look: whoever has one of ``tokens``, or comes from one of ``networks``.

    ``settings`` are the names of the two settings, for a text that tells how to let somebody in.
    """

    settings: tuple[str, str]
    tokens: tuple[str, ...] = field(default=(), repr=False)
    networks: tuple[Network, ...] = ()

    def __bool__(self) -> bool:
        """Whether anybody may."""
        return bool(self.tokens or self.networks)


def parse_visitors(page: str) -> Visitors:
    """Return who may look at a page, "STATUS" or "HEALTH", as the settings say.

    Raises ``ImproperlyConfigured`` for a setting that breaks a rule.
    """
    given = {
        "STATUS_TOKEN": getattr(settings, "MYSQLPOOL_STATUS_TOKEN", None),
        "STATUS_ADDRESSES": getattr(settings, "MYSQLPOOL_STATUS_ADDRESSES", None),
        "HEALTH_TOKEN": getattr(settings, "MYSQLPOOL_HEALTH_TOKEN", None),
        "HEALTH_ADDRESSES": getattr(settings, "MYSQLPOOL_HEALTH_ADDRESSES", None),
    }
    token, addresses = given[f"{page}_TOKEN"], given[f"{page}_ADDRESSES"]
    names = f"MYSQLPOOL_{page}_TOKEN", f"MYSQLPOOL_{page}_ADDRESSES"
    return Visitors(names, _tokens(names[0], token), _networks(names[1], addresses))


def _tokens(place: str, value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    tokens = [value] if isinstance(value, str) else value
    if not isinstance(tokens, (list, tuple)) or not tokens:
        raise ImproperlyConfigured(f"{place} must be {TOKEN_RULE}")
    for token in tokens:
        if not isinstance(token, str) or not TOKEN.fullmatch(token):
            raise ImproperlyConfigured(f"{place} must be {TOKEN_RULE}")
    return tuple(tokens)


def _networks(place: str, value: Any) -> tuple[Network, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple, set, frozenset)):
        refuse(place, ADDRESSES_RULE, value)
    return tuple(_each_network(place, value))


def _each_network(place: str, value: Any) -> Iterator[Network]:
    for one in value:
        if not isinstance(one, str):
            refuse(place, ADDRESSES_RULE, value)
        try:
            yield ip_network(one)
        except ValueError as error:
            refuse(place, ADDRESSES_RULE, value, str(error))
