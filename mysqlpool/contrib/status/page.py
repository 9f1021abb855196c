"""The page: a report as HTML, by an engine of templates that is the page's own.

So it works with whatever ``TEMPLATES`` and ``INSTALLED_APPS`` say. All that it is given is
escaped. Numbers come to it as text, so that no language's format gets into a path of SVG.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from django.template import Context, Engine

from mysqlpool.errors import Holder
from mysqlpool.events.reading import ProcessStatistics

from .chart import HEIGHT, WIDTH, draw
from .report import PoolReport, Processes, Report

__all__ = ["STYLE", "STYLE_VERSION", "page_of"]

HERE = Path(__file__).parent
STYLE = (HERE / "style.css").read_text(encoding="utf-8")
# A browser may keep one version for good.
STYLE_VERSION = hashlib.sha256(STYLE.encode()).hexdigest()[:12]


@cache
def _engine() -> Engine:
    return Engine(dirs=[str(HERE)])


def page_of(report: Report, *, style: str, refresh: int | None = None, nonce: str = "") -> str:
    """Return the page as HTML.

    ``style`` is the URL of the style sheet, ``nonce`` the one of a Content-Security-Policy, if
    there is one. The page loads itself again every ``refresh`` seconds.
    """
    context = {
        "time": report.time.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "pid": str(report.pid),
        "refresh": None if refresh is None else str(refresh),
        "style": style,
        "nonce": nonce,
        "width": str(WIDTH),
        "height": str(HEIGHT),
        "pools": [_pool(one) for one in report.pools],
        "others": None if report.others is None else _others(report.others, report.time),
    }
    text = _engine().get_template("page.html").render(Context(context, use_l10n=False))
    # Of a name of a file, or a thread, that is no UTF-8 Python makes what cannot be encoded.
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _pool(one: PoolReport) -> Mapping[str, Any]:
    told = one.stats
    return {
        "alias": one.alias,
        "in_use": str(told.in_use),
        "limit": str(told.limit) if told.limit else "",
        "idle": str(told.idle),
        "waiting": str(told.waiting),
        "waited": spoken(one.waiting_seconds) if told.waiting else "",
        "is_full": bool(told.limit) and told.in_use >= told.limit,
        "chart": draw(one.points, told.limit),
        "figures": [(name, text) for name, text in _figures(one) if text],
        "holders": [_holder(each) for each in one.holders],
        "holders_count": str(len(one.holders)),
    }


def _others(others: Processes, now: datetime) -> Mapping[str, Any]:
    return {
        "error": others.error,
        "interval": spoken(others.interval),
        "found": [_process(one, (now - one.time).total_seconds()) for one in others.found],
    }


def _process(one: ProcessStatistics, seconds: float) -> Mapping[str, str]:
    wanted = ("in_use", "limit", "idle", "waiting", "timeouts")
    figures = {name: str(one.fields.get(name, "?")) for name in wanted}
    pid = str(one.pid) if one.is_numbered_here else f"{one.pid} on {one.host or 'another machine'}"
    process = {"pid": pid, "program": one.program, "alias": one.alias}
    return {**process, **figures, "ago": spoken(max(0.0, seconds))}


def _figures(one: PoolReport) -> Iterator[tuple[str, str]]:
    """What the pool has done since it was opened."""
    told = one.stats
    yield "leases", str(told.leases)
    yield "waits", str(told.waits)
    yield "timeouts", str(told.timeouts)
    yield "refused", str(told.refused)
    yield "95 of 100 waited at most", spoken(told.wait.p95) if told.wait.count else ""
    yield "95 of 100 leases lasted at most", spoken(told.lease.p95) if told.lease.count else ""
    yield "connects", str(told.connects)
    yield "connect errors", str(told.connect_errors)
    yield "discards", _counted(told.discards)
    yield "pinned", _counted(told.pinned)
    yield "reaped", str(told.reaped)
    yield "unscoped", str(told.unscoped)


def _counted(counts: Mapping[str, int]) -> str:
    """The sum, and what it is of."""
    if not counts:
        return "0"
    most: Iterable[tuple[str, int]] = sorted(counts.items(), key=lambda pair: -pair[1])
    return f"{sum(counts.values())} ({', '.join(f'{name} {count}' for name, count in most)})"


def _holder(one: Holder) -> Mapping[str, Any]:
    notes = [f"pinned by {one.pinned}"] if one.pinned else []
    notes += ["idle, nobody released it"] if one.idle else []
    notes += ["waits for a second one"] if one.waits else []
    return {
        "thread": one.thread_name,
        "held": spoken(one.held_seconds),
        "leased_at": one.leased_at,
        "location": one.location.removeprefix("now at "),
        "notes": "; ".join(notes),
    }


def spoken(seconds: float) -> str:
    """A time as somebody would say it: 12 ms, 3.4 s, 5 min 10 s, 2 h 3 min."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
