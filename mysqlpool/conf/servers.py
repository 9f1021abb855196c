"""``HOST`` with several servers: read at start, and written as one parameter for a pool.

Several servers are a list, or one string with commas: ``"db1:3306,db2:3306"``. A ``HOST`` that is
neither is Django's, and nothing here touches it. No name of a host has a comma in it, so the same
string can stand where mysqlclient has its ``host``: with it two lists are compared, and shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Any

from .rules import refuse

__all__ = ["DEFAULT_PORT", "Server", "one_server", "parse_servers", "servers_in", "written"]

Server = tuple[str, int] | str
"""A host and a port, or the path of a Unix socket."""

DEFAULT_PORT = 3306

RULE = (
    'a list of "host", "host:port", "[IPv6]:port" or "/path/of/a/socket", or such ones with commas '
    "between them, each once"
)
# As of ``user:password@host``.
_PASSWORD = re.compile(":[^,/]*@")
# What OPTIONS would put in the place of all of them.
_OVERRIDES = ("host", "port", "unix_socket")


def parse_servers(place: str, settings_dict: Mapping[str, Any]) -> tuple[Server, ...] | None:
    """The servers that ``HOST`` lists, in its order; None where it is an ordinary one.

    Raises ``ImproperlyConfigured`` for what is no server or no port, and where ``OPTIONS`` names
    another.
    """
    host = settings_dict.get("HOST", "")
    if isinstance(host, str) and "," not in host:
        _refuse_port(place, settings_dict.get("PORT"))
        return None
    if not isinstance(host, (str, list, tuple)):
        refuse(f"{place}['HOST']", f"a string or {RULE}", host)
    port = settings_dict.get("PORT") or DEFAULT_PORT
    try:
        found = tuple(_server(item, port) for item in _items(host))
        if not found or len(set(found)) < len(found):
            raise ValueError("none may be missing or there twice")
    except ValueError as error:
        if _PASSWORD.search(str(host)):
            refuse(f"{place}['HOST']", RULE, type(host), "no account stands in it")
        refuse(f"{place}['HOST']", RULE, host, str(error))
    for name in _OVERRIDES:
        if name in settings_dict.get("OPTIONS", {}):
            value = settings_dict["OPTIONS"][name]
            refuse(f"{place}['OPTIONS'][{name!r}]", "left out beside a HOST of several", value)
    return found


def _refuse_port(place: str, port: Any) -> None:
    """Refuse what Django would make no number of, as it connects."""
    try:
        valid = not port or 0 < int(port) < 65536
    except (TypeError, ValueError):
        valid = False
    if not valid:
        refuse(f"{place}['PORT']", "a number from 1 to 65535, or empty", port)


@lru_cache(maxsize=256)
def servers_in(host: str, port: int = DEFAULT_PORT) -> tuple[Server, ...]:
    """The servers in a ``host`` for mysqlclient that is written with commas."""
    return tuple(_server(item, port) for item in _items(host))


def written(servers: Iterable[Server]) -> str:
    """The one string from which `servers_in` makes these servers."""
    return ",".join(s if isinstance(s, str) else f"{_bracketed(s[0])}:{s[1]}" for s in servers)


def one_server(settings_dict: dict[str, Any], place: str) -> dict[str, Any]:
    """The settings with the first server of several: for programs that know of one only."""
    servers = parse_servers(place, settings_dict)
    if servers is None:
        return settings_dict
    first = servers[0]
    host, port = (first, "") if isinstance(first, str) else (first[0], str(first[1]))
    return {**settings_dict, "HOST": host, "PORT": port}


def _bracketed(name: str) -> str:
    return f"[{name}]" if ":" in name else name


def _items(host: str | list[Any] | tuple[Any, ...]) -> Iterable[Any]:
    return host.split(",") if isinstance(host, str) else host


def _server(item: Any, default_port: Any) -> Server:
    """One of the list. Raises ValueError, whose text tells what is wrong with it."""
    if not isinstance(item, str) or not item.strip():
        raise ValueError("each must be a string that is not empty")
    item = str(item).strip()
    if "," in item:
        raise ValueError(f"{item!r} has a comma in it")
    if item.startswith("/"):
        return str(item)
    name, port = _bracketed_parts(item) if item.startswith("[") else _parts(item)
    return name, _port(item, port or default_port)


def _bracketed_parts(item: str) -> tuple[str, str]:
    name, bracket, port = item[1:].partition("]")
    if not bracket or (port and not port.startswith(":")) or port == ":":
        raise ValueError(f"{item!r} is no address in brackets, with or without a port")
    IPv6Address(name)  # which raises a ValueError that says so
    return name, port[1:]


def _parts(item: str) -> tuple[str, str]:
    name, colon, port = item.partition(":")
    if ":" in port:
        raise ValueError(f"{item!r}: an IPv6 address stands in brackets")
    if not name or (colon and not port) or any(c.isspace() or c in "@/[]" for c in name):
        raise ValueError(f"{item!r} is no host, with or without a port")
    return name, port


def _port(item: str, port: Any) -> int:
    text = str(port)
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"{item!r}: a port is a number from 1 to 65535")
    return int(text)
