"""A panel of django-debug-toolbar: what a request leased, and the round trips that it was spared.

It looks on at the thread or task that serves the request, and at what that calls in other threads
by ``sync_to_async``. Threads that the view starts itself are not the request's. Neither is what a
streaming response does after the view has returned.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.template import Engine

from mysqlpool.backends.mysqlpool.observers import look_away, look_on
from mysqlpool.backends.mysqlpool.watching import watch
from mysqlpool.pool import Lease, clock
from mysqlpool.pool.report import place
from mysqlpool.pool.threads import own_frame

from .redaction import without_values

try:
    from debug_toolbar.panels import Panel
except ImportError as error:
    raise ImproperlyConfigured(
        "mysqlpool.contrib.debug_toolbar needs django-debug-toolbar: "
        "pip install 'mysqlpool[debug-toolbar]'"
    ) from error

__all__ = ["PoolPanel"]

MAX_STATEMENT = 200  # characters

# An engine of its own finds the template wherever the project looks for templates.
_TEMPLATES = Engine(dirs=[str(Path(__file__).parent.parent / "templates")])


class PoolPanel(Panel):  # type: ignore[misc]  # Its types are not looked at.
    """What this request leased from the pools of mysqlpool's aliases."""

    title = "Connection pools"
    nav_title = "Connection pools"
    template = "mysqlpool/debug_toolbar.html"
    is_async = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.recorder = _Recorder()

    @property
    def nav_subtitle(self) -> str:
        found = self.get_stats()
        leases, saved = found.get("total_leases", 0), found.get("total_saved", 0)
        return f"{_counted(leases, 'lease')}, {_counted(saved, 'round trip')} saved"

    @property
    def content(self) -> str:
        html: str = _TEMPLATES.render_to_string(self.template, self.get_stats())
        return html

    def enable_instrumentation(self) -> None:
        look_on(self.recorder)

    def disable_instrumentation(self) -> None:
        look_away(self.recorder)

    def generate_stats(self, request: Any, response: Any) -> None:
        self.record_stats(self.recorder.as_dict())

    def generate_server_timing(self, request: Any, response: Any) -> None:
        waited = self.get_stats().get("total_request_ms", 0)
        self.record_server_timing("request", "Until sessions were leased", waited)


class _Recorder:
    """What one request leased, and was not made to send.

    Several threads may serve a request. So it is only appended to, and added up afterwards.
    """

    def __init__(self) -> None:
        self.leases: list[_Watched] = []
        self.failures: list[dict[str, Any]] = []
        self.unsent: list[tuple[str, int]] = []

    def leasing(self, alias: str, take: Callable[[], Lease | None]) -> Lease | None:
        begun, where = clock.monotonic(), _where()
        try:
            lease = take()
        except Exception as error:
            seconds = clock.monotonic() - begun
            self.failures.append(
                {
                    "alias": alias,
                    "where": where,
                    "request_ms": _ms(seconds),
                    "error": type(error).__name__,
                }
            )
            raise
        if lease is not None:
            watched = _Watched(alias, where, begun, lease)
            self.leases.append(watched)
            watch(lease, watched)
        return lease

    def not_sent(self, alias: str, statements: int) -> None:
        self.unsent.append((alias, statements))

    def as_dict(self) -> dict[str, Any]:
        """All of it for JSON. A lease that is still held counts as far as it has come."""
        leases = [watched.as_dict() for watched in self.leases]
        used = dict.fromkeys(
            [
                *(lease["alias"] for lease in leases),
                *(failure["alias"] for failure in self.failures),
                *(alias for alias, _ in self.unsent),
            ]
        )
        databases = [self._database(alias, leases) for alias in used]
        return {
            "databases": databases,
            "leases": leases,
            "failures": list(self.failures),
            "total_leases": len(leases),
            "total_saved": sum(one["saved"] for one in databases),
            "total_request_ms": _sum(leases, "request_ms") + _sum(self.failures, "request_ms"),
        }

    def _database(self, alias: str, all_leases: list[dict[str, Any]]) -> dict[str, Any]:
        leases = [lease for lease in all_leases if lease["alias"] == alias]
        failures = [failure for failure in self.failures if failure["alias"] == alias]
        travelled = _sum(leases, "travelled")
        unsent = [number for name, number in list(self.unsent) if name == alias]
        not_sent = _sum(leases, "not_sent") + sum(unsent)
        opened = _sum(leases, "opened")
        return {
            "alias": alias,
            "leases": len(leases),
            "failures": len(failures),
            "waits": sum(bool(lease["wait_ms"]) for lease in leases),
            "wait_ms": _sum(leases, "wait_ms"),
            "held_ms": _sum(leases, "held_ms"),
            "sessions": list(dict.fromkeys(lease["session"] for lease in leases)),
            "opened": opened,
            "travelled": travelled,
            "not_sent": not_sent,
            "saved": travelled + not_sent,
            # Django's engine connects once a request, with CONN_MAX_AGE=0.
            "connects_saved": max(0, 1 - opened) if leases else 0,
            "discards": sum(bool(lease["discard"]) for lease in leases),
        }


class _Watched:
    """One lease. It is told from the thread that holds it; anybody may read it."""

    def __init__(self, alias: str, where: str, begun: float, lease: Lease) -> None:
        self.alias = alias
        self.where = where
        self.since = now = clock.monotonic()
        self.request = now - begun
        # SQLAlchemy's own pool classes do not tell since when a request had its slot.
        record = lease.record
        self.wait = None if record is None else record.since - begun if lease.waited else 0.0
        self.session: Any = lease.session
        self.number: int = self.session.number
        self.opened = not self.session.settled
        self.held: float | None = None  # seconds, once it has ended
        self.discard: str | None = None
        self.renewed = False
        self.pin: str | None = None
        self.dirty: tuple[str, str] | None = None  # the kind of statement, and its text
        self.less: list[int] = []
        self.along: list[int] = []

    # What it is told: see `mysqlpool.backends.mysqlpool.watching.Watcher`.

    def not_sent(self, statements: int) -> None:
        self.less.append(statements)

    def travelled(self, statements: int) -> None:
        self.along.append(statements)

    def soiled(self, reason: str, sql: bytes) -> None:
        self.dirty = reason, _shown(sql)

    def pinned(self, reason: str) -> None:
        self.pin = self.pin or reason

    def ended(self, discarded: str | None, renewed: bool) -> None:
        if self.held is None:
            self.held = clock.monotonic() - self.since
            self.discard, self.renewed = discarded, renewed
            self.session = None

    # What it tells

    def as_dict(self) -> dict[str, Any]:
        discard, renewed = self._fate()
        stays_dirty = discard or renewed or self.pin
        kind, statement = self.dirty if self.dirty and stays_dirty else ("", "")
        held = clock.monotonic() - self.since if self.held is None else self.held
        return {
            "alias": self.alias,
            "where": self.where,
            "session": self.number,
            "request_ms": _ms(self.request),
            "wait_ms": _ms(self.wait or 0.0),
            "wait_known": self.wait is not None,
            "opened": self.opened,
            "held_ms": _ms(held),
            "is_held": self.held is None,
            "discard": discard or "",
            "renewed": renewed,
            "pinned": self.pin or "",
            "dirty": kind,
            "statement": statement,
            "not_sent": sum(self.less),
            "travelled": sum(self.along),
        }

    def _fate(self) -> tuple[str | None, bool]:
        """Why the session is discarded, and whether it is renewed; also of a lease that is held."""
        session = self.session
        if session is None:
            return self.discard, self.renewed
        if session.broken or session.single_use:
            return session.broken or "reset always", False
        if session.dirty and not session.is_renewable:
            return session.dirty, False
        return None, bool(session.dirty)


def _where() -> str:
    """File, line and function of the innermost frame that is the application's."""
    here = sys._getframe()
    frame = own_frame(here)
    # What is awaited runs in a thread in which nothing is the application's.
    return "asynchronous code" if frame is here else place((frame.f_code, frame.f_lasti))


def _shown(sql: bytes) -> str:
    text = without_values(sql.decode(errors="replace"))
    if text is None:
        return "(a text with a backslash is not shown: its values could not be left out)"
    return text if len(text) <= MAX_STATEMENT else f"{text[:MAX_STATEMENT]}…"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def _sum(found: Iterable[dict[str, Any]], name: str) -> Any:
    return sum(one[name] for one in found)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
