"""The views: the page, the health check, and the page's style.

They take no transaction under ATOMIC_REQUESTS, and Django's LoginRequiredMiddleware leaves them
alone: they say themselves who may look, and that without the session where they can.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast
from urllib.parse import urlencode

from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.decorators import login_not_required
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.template import context_processors
from django.utils.cache import add_never_cache_headers
from django.utils.encoding import escape_uri_path
from django.views.decorators.http import require_safe

from mysqlpool.conf.visitors import parse_visitors
from mysqlpool.stats import waiting_seconds

from .access import Standing, is_visitor, login_url, standing_of
from .badge import has_badge, pin_badge
from .page import STYLE, STYLE_VERSION, page_of
from .queries import BadQuery, format_of, refresh_of, sustained_of
from .report import report

__all__ = ["health", "status", "style"]

# As strict as it can be: the page has one style sheet, and nothing else.
POLICY = (
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

View = Callable[..., HttpResponse]


def _door(view: View) -> View:
    """What all views here have in common. A transaction of the request's would lease."""
    door: Any = login_not_required(require_safe(view))
    for alias in connections:
        door = transaction.non_atomic_requests(using=alias)(door)
    return cast("View", door)


# What stands before an included URL may have arguments, which say nothing to these views.


@_door
def status(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """The page, or with ``?format=json`` what is on it; for staff, and whom the settings name."""
    standing = _standing(request, "STATUS")
    if not standing.may_look:
        return _guarded(_refusal(request, standing, "STATUS"))
    try:
        wanted, refresh = format_of(request), refresh_of(request)
    except BadQuery as error:
        return _guarded(_text(str(error), 400))
    if wanted == "json":
        response: HttpResponse = JsonResponse(report().as_dict())
    else:
        response = HttpResponse(
            page_of(report(), style=_style_url(request), refresh=refresh, nonce=_nonce(request))
        )
    if standing is Standing.STAFF:  # A badge is no reason for another one.
        pin_badge(request, response)
    return _guarded(response)


@_door
def health(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """200, or 503 where a pool has had waiters for ``?sustained=10`` seconds without a break."""
    standing = _standing(request, "HEALTH", "STATUS")
    if not standing.may_look:
        return _guarded(_refusal(request, standing, "HEALTH"))
    try:
        wanted, sustained = format_of(request), sustained_of(request)
    except BadQuery as error:
        return _guarded(_text(str(error), 400))
    waited = {alias: seconds for alias, seconds in waiting_seconds().items() if seconds}
    late = {alias: seconds for alias, seconds in waited.items() if seconds >= sustained}
    code = 503 if late else 200
    if wanted == "json":
        found = {"healthy": not late, "sustained": sustained, "waiting_seconds": waited}
        return _guarded(JsonResponse(found, status=code))
    lines = [f"pool {alias!r} has had waiters for {late[alias]:.1f} s" for alias in sorted(late)]
    return _guarded(_text("\n".join(lines) or "ok", code))


@_door
def style(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
    """The style sheet, which is the same for everybody, and has its version in its URL."""
    response = HttpResponse(STYLE, content_type="text/css; charset=utf-8")
    response["Cache-Control"] = "public, max-age=31536000, immutable"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _standing(request: HttpRequest, *pages: str) -> Standing:
    if is_visitor(request, *map(parse_visitors, pages)):
        return Standing.VISITOR
    return standing_of(request, partial(has_badge, request))


class Reason(NamedTuple):
    code: int
    text: str


def _reason(standing: Standing, page: str) -> Reason:
    """Why somebody is not let in, and what would let them in."""
    visitors = parse_visitors(page)
    token, addresses = visitors.settings
    others = (
        "" if visitors else f" No {token} and no {addresses} is set, which would let others in."
    )
    if standing is Standing.UNKNOWN:
        return Reason(
            503,
            "The database could not be asked whether you are staff: perhaps all sessions are in "
            f"use. Whoever has the token of {token}, or one of the {addresses}, gets an answer "
            "without it.",
        )
    if standing is Standing.NO_USERS:
        return Reason(
            403,
            "This is for staff, but this project has no django.contrib.auth in MIDDLEWARE that "
            f"tells who that is.{others}",
        )
    return Reason(403, f"This is for staff.{others}")


def _refusal(request: HttpRequest, standing: Standing, page: str) -> HttpResponse:
    """Have somebody who is not logged in log in, where a browser asks for the page; else say no."""
    reason = _reason(standing, page)
    if request.GET.get("format") == "json":
        return JsonResponse({"error": reason.text}, status=reason.code)
    url = login_url() if standing is Standing.ANONYMOUS and page == "STATUS" else None
    if url is None:
        return _text(reason.text, reason.code)
    back = urlencode({REDIRECT_FIELD_NAME: request.get_full_path()})
    return HttpResponseRedirect(f"{url}{'&' if '?' in url else '?'}{back}")


def _text(text: str, code: int) -> HttpResponse:
    return HttpResponse(f"{text}\n", status=code, content_type="text/plain; charset=utf-8")


def _guarded(response: HttpResponse) -> HttpResponse:
    """Have nobody keep it, frame it, or load anything for it."""
    for name, value in HEADERS.items():
        response[name] = value
    add_never_cache_headers(response)
    return response


def _style_url(request: HttpRequest) -> str:
    """Where the style sheet is: beside the page, wherever that is, also behind a proxy.

    The page's URL may end without a slash. Then its last part is the first of the style's.
    """
    last = request.path.rpartition("/")[2]
    return f"./{escape_uri_path(last)}style.css?v={STYLE_VERSION}"


def _nonce(request: HttpRequest) -> str:
    """Django's for its own Content-Security-Policy, from 6.0 on, which may hold besides ours."""
    processor = getattr(context_processors, "csp", None)
    nonce = None if processor is None else processor(request)["csp_nonce"]
    # One that nobody has asked for yet is false.
    return "" if nonce is None else str(nonce)
