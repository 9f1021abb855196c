"""The badge: a cookie that says this browser was staff's not long ago.

While a pool is exhausted nobody can be asked whether a user is staff, which is when staff needs the
page most. So whoever was staff gets a signed cookie, which counts only while the database cannot be
asked. It belongs to the session's cookie, so it is worth nothing after logging out, and it says
nothing of the user. Whoever is no longer staff sees the page for an hour more at most, and only
while the database cannot be asked.
"""

from __future__ import annotations

from django.conf import settings
from django.core import signing
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare, salted_hmac
from django.utils.encoding import escape_uri_path

__all__ = ["COOKIE", "has_badge", "pin_badge"]

COOKIE = "mysqlpool_status"
SALT = "mysqlpool.contrib.status"
SECONDS = 3600


def pin_badge(request: HttpRequest, response: HttpResponseBase) -> None:
    """Send a badge along, where there is a session's cookie that it can belong to."""
    if (owner := _owner(request)) is None:
        return
    response.set_cookie(
        COOKIE,
        signing.dumps(owner, salt=SALT),
        max_age=SECONDS,
        path=escape_uri_path(request.path),
        secure=request.is_secure() or bool(settings.SESSION_COOKIE_SECURE),
        httponly=True,
        samesite="Strict",
    )


def has_badge(request: HttpRequest) -> bool:
    """Whether the request has a badge that is its session's, is genuine, and is not too old."""
    owner = _owner(request)
    try:
        badge = signing.loads(request.COOKIES.get(COOKIE, ""), salt=SALT, max_age=SECONDS)
    except signing.BadSignature:
        return False
    return owner is not None and constant_time_compare(str(badge), owner)


def _owner(request: HttpRequest) -> str | None:
    cookie = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
    return salted_hmac(SALT, cookie, algorithm="sha256").hexdigest() if cookie else None
