"""What the query string of a URL asks for, and the words in which a bad one is refused."""

from __future__ import annotations

import re

from django.http import HttpRequest

__all__ = ["BadQuery", "format_of", "refresh_of", "sustained_of"]

SUSTAINED = 10.0
# Seconds: a day.
LONGEST = 86400
# What float() takes besides, such as "nan" and "1_0", is nothing that anybody means.
NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")


class BadQuery(ValueError):
    """A parameter has a value that it cannot have. The text is for whoever sent it."""


def _refused(name: str, rule: str, wanted: str) -> BadQuery:
    return BadQuery(f"{name} must be {rule}, not {wanted[:100]!r}")


def format_of(request: HttpRequest) -> str:
    """ "html" or "json"."""
    wanted = request.GET.get("format", "html")
    if wanted not in ("html", "json"):
        raise _refused("format", "html or json", wanted)
    return wanted


def refresh_of(request: HttpRequest) -> int | None:
    """After how many seconds the page is to load itself again; None for never."""
    wanted = request.GET.get("refresh")
    if wanted is None:
        return None
    if not NUMBER.fullmatch(wanted) or "." in wanted or not 1 <= int(wanted) <= LONGEST:
        raise _refused("refresh", f"a whole number of seconds, 1 to {LONGEST}", wanted)
    return int(wanted)


def sustained_of(request: HttpRequest) -> float:
    """For how many seconds there must have been waiters before a pool counts as unhealthy."""
    wanted = request.GET.get("sustained")
    if wanted is None:
        return SUSTAINED
    if not NUMBER.fullmatch(wanted) or float(wanted) > LONGEST:
        raise _refused("sustained", f"a number of seconds, 0 to {LONGEST}", wanted)
    return float(wanted)
