"""``MYSQLPOOL_LOG``, made into one frozen `EventLogSettings`. No file is opened or made."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .rules import LOG_RULES, refuse, refuse_key

__all__ = ["EventLogSettings", "event_log_settings", "parse_event_log"]

DEFAULTS: Mapping[str, Any] = {
    "max_bytes": 10 * 1024 * 1024,
    "backups": 5,
    "level": "DEBUG",
    "stats_interval": 60,
}


@dataclass(frozen=True, slots=True)
class EventLogSettings:
    """The event log of all processes.

    ``filename`` is absolute. It is rotated at ``max_bytes``, and ``backups`` rotated files are
    kept: ``filename.1`` is the youngest. ``level`` is the name of the lowest level written. Each
    process writes its statistics every ``stats_interval`` seconds; 0 means never.
    """

    filename: str
    max_bytes: int
    backups: int
    level: str
    stats_interval: float


def event_log_settings() -> EventLogSettings | None:
    """The project's, or None where it has no ``MYSQLPOOL_LOG``. Raises as `parse_event_log`."""
    setting = getattr(settings, "MYSQLPOOL_LOG", None)
    return None if setting is None else parse_event_log(setting)


def parse_event_log(setting: Any) -> EventLogSettings:
    """What ``MYSQLPOOL_LOG`` says: a path, or a dict of the fields of `EventLogSettings`.

    All but ``filename`` have defaults. Raises ``ImproperlyConfigured`` for whatever breaks a rule.
    """
    given = dict(setting) if isinstance(setting, Mapping) else _from_path(setting)
    for key in given:
        if key not in LOG_RULES:
            refuse_key("MYSQLPOOL_LOG", key, LOG_RULES, "the event log")
    if "filename" not in given:
        raise ImproperlyConfigured("MYSQLPOOL_LOG['filename'] is missing: the path of a file")
    values = {**DEFAULTS, **given}
    checked = {k: rule.apply(f"MYSQLPOOL_LOG[{k!r}]", values[k]) for k, rule in LOG_RULES.items()}
    if logging.getLevelNamesMapping()[checked["level"]] > logging.INFO:
        _refuse_unwritten(given, checked["level"])
        checked["stats_interval"] = 0
    return EventLogSettings(**{**checked, "filename": os.path.abspath(checked["filename"])})


def _from_path(setting: Any) -> dict[Any, Any]:
    if not isinstance(setting, (str, os.PathLike)):
        refuse("MYSQLPOOL_LOG", "a path or a dict", setting)
    return {"filename": setting}


def _refuse_unwritten(given: Mapping[Any, Any], level: str) -> None:
    """Refuse to be asked for statistics, which are of the level INFO, where that is not written."""
    if given.get("stats_interval"):
        raise ImproperlyConfigured(
            f"MYSQLPOOL_LOG['stats_interval'] has no effect with a 'level' of {level!r}: the "
            "statistics are events of the level 'INFO', so let 'level' be that or 'DEBUG'"
        )
