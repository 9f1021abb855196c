"""Who may look at the page: visitors whom the settings name, and staff.

Visitors are found out without the session and the database, so they get an answer from a pool that
is exhausted. Of whoever else comes the database has to be asked. That is done without waiting for a
session, and where it fails a badge counts: see `mysqlpool.contrib.status.badge`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from ipaddress import IPv6Address, ip_address
from typing import Any

from django.conf import settings
from django.db import Error, connections
from django.http import HttpRequest
from django.shortcuts import resolve_url
from django.urls import NoReverseMatch, Resolver404, get_script_prefix, resolve, reverse
from django.utils.crypto import constant_time_compare

from mysqlpool.aliases.registry import without_waiting
from mysqlpool.conf.visitors import Visitors
from mysqlpool.errors import PoolExhausted
from mysqlpool.pool import clock
from mysqlpool.release import release_connections

__all__ = ["Standing", "is_visitor", "login_url", "standing_of"]

# Seconds for which staff without a badge try to get a session, and between two attempts.
PATIENCE, PAUSE = 2.0, 0.05

# A request that has one of these came by way of a proxy, so REMOTE_ADDR is not whoever asks.
FORWARDED = ("HTTP_FORWARDED", "HTTP_X_FORWARDED_", "HTTP_X_REAL_IP", "HTTP_VIA")


class Standing(Enum):
    """What somebody is who asks."""

    VISITOR = auto()  # named by the settings
    STAFF = auto()
    BADGED = auto()  # staff a while ago, where the database could not be asked now
    OTHER = auto()  # a user who is not staff, or not active
    ANONYMOUS = auto()
    UNKNOWN = auto()  # the database could not be asked
    NO_USERS = auto()  # the project has no AuthenticationMiddleware, which tells of users

    @property
    def may_look(self) -> bool:
        return self in (Standing.VISITOR, Standing.STAFF, Standing.BADGED)


def is_visitor(request: HttpRequest, *visitors: Visitors) -> bool:
    """Whether the settings let this request in, by its token or its address."""
    return any(_has_token(request, one) or _is_near(request, one) for one in visitors)


def _has_token(request: HttpRequest, visitors: Visitors) -> bool:
    """Whether ``Authorization: Bearer`` or ``X-Mysqlpool-Token`` has one of the tokens.

    How long the comparison takes tells nothing of them.
    """
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    given = [bearer.strip()] if scheme.lower() == "bearer" else []
    given += [request.headers.get("X-Mysqlpool-Token", "")]
    found = [constant_time_compare(one, token) for one in given for token in visitors.tokens]
    return any(found)


def _is_near(request: HttpRequest, visitors: Visitors) -> bool:
    """Whether the peer of the connection has one of the addresses, and asks for itself.

    What a header says of somebody's address is never believed.
    """
    if any(name.startswith(FORWARDED) for name in request.META):
        return False
    try:
        address = ip_address(str(request.META.get("REMOTE_ADDR", "")).partition("%")[0])
    except ValueError:  # A Unix socket has none.
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return any(address in network for network in visitors.networks)


def standing_of(request: HttpRequest, has_badge: Callable[[], bool]) -> Standing:
    """What a user is whom the settings do not name. Raises nothing of the database's.

    Without a badge a session is asked for again and again for `PATIENCE` seconds, since a busy
    pool has one in a moment. What this leased is released.
    """
    if not hasattr(request, "user"):
        return Standing.NO_USERS
    until = clock.monotonic() + (0.0 if has_badge() else PATIENCE)
    while True:
        try:
            with _giving_back(), without_waiting():
                return _standing(request.user)
        except PoolExhausted:
            if clock.monotonic() >= until:
                break
            time.sleep(PAUSE)
        except Error:
            break
    return Standing.BADGED if has_badge() else Standing.UNKNOWN


def _standing(user: Any) -> Standing:
    if not user.is_authenticated:
        return Standing.ANONYMOUS
    is_staff = getattr(user, "is_staff", False) and getattr(user, "is_active", False)
    return Standing.STAFF if is_staff else Standing.OTHER


@contextmanager
def _giving_back() -> Iterator[None]:
    """Release, after the block, what this thread leased within it."""
    before = set(_leased())
    try:
        yield
    finally:
        taken = [alias for alias in _leased() if alias not in before]
        if taken:
            release_connections(taken)


def _leased() -> Iterator[str]:
    """The aliases on mysqlpool's engines of which this thread has a session, outside of atomic."""
    for wrapper in connections.all(initialized_only=True):
        is_ours = getattr(wrapper, "uses_mysqlpool", False)
        if is_ours and wrapper.connection is not None and not wrapper.in_atomic_block:
            yield wrapper.alias


def login_url() -> str | None:
    """Where to log in: at the admin's own page, or at LOGIN_URL; None where neither is."""
    try:
        return reverse("admin:login")
    except NoReverseMatch:
        pass
    try:
        url = resolve_url(settings.LOGIN_URL)
    except NoReverseMatch:  # The name of a view that there is not.
        return None
    if "//" in url:  # Another site's.
        return url
    try:
        resolve("/" + url.partition("?")[0].removeprefix(get_script_prefix()).lstrip("/"))
    except Resolver404:
        return None
    return url
