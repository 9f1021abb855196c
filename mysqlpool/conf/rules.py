"""What each setting may be, in one table, and the words in which a bad one is refused.

Every function that refuses a setting raises ``django.core.exceptions.ImproperlyConfigured`` and
names the place, the value and the rule. The user's objects are only read.
"""

from __future__ import annotations

import difflib
import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from django.core.exceptions import ImproperlyConfigured

__all__ = [
    "LOG_RULES",
    "RULES",
    "SESSION_DEFAULTS",
    "Rule",
    "did_you_mean",
    "refuse",
    "refuse_key",
    "shown",
]

# A lock cannot wait longer than this; Python raises OverflowError beyond it.
MAX_SECONDS = int(threading.TIMEOUT_MAX)
MAX_SHOWN = 200


def _same(value: Any) -> Any:
    return value


@dataclass(frozen=True, slots=True)
class Rule:
    """What one setting may be. ``text`` completes "must be ...".

    ``convert`` turns an accepted value into the one that is used. ``notes`` tells why an integer
    that SQLAlchemy would take is refused. Of a ``secret`` value only the type is shown.
    """

    text: str
    accepts: Callable[[Any], bool]
    convert: Callable[[Any], Any] = _same
    notes: Mapping[int, str] = field(default_factory=dict)
    secret: bool = False

    def apply(self, place: str, value: Any) -> Any:
        """Return the value to use, or refuse ``value``, which stands at ``place``."""
        if not self.accepts(value):
            note = self.notes.get(value) if type(value) is int else None
            refuse(place, self.text, type(value) if self.secret else value, note)
        return self.convert(value)


def refuse(place: str, rule: str, value: Any, note: str | None = None) -> NoReturn:
    """Refuse ``value``, which stands at ``place``, because it breaks ``rule``."""
    reason = f": {note}" if note else ""
    raise ImproperlyConfigured(f"{place} must be {rule}, not {shown(value)}{reason}")


def refuse_key(place: str, key: Any, known: Iterable[str], owner: str) -> NoReturn:
    """Refuse a key that ``owner`` does not know. Its value may be a secret and is not shown."""
    if not isinstance(key, str):
        raise ImproperlyConfigured(f"The keys of {place} must be strings, not {shown(key)}")
    names = sorted(known)
    advice = did_you_mean(key, names) or f"known are: {', '.join(names)}"
    raise ImproperlyConfigured(f"{place}[{shown(key)}] is not a keyword of {owner}; {advice}")


def did_you_mean(name: str, known: Iterable[str]) -> str | None:
    """Return the question that names the known name nearest to ``name``, if one is near.

    Small letters and capitals are not told apart, as in the ``POOL_SIZE`` of others.
    """
    names = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), names, n=1)
    return f"did you mean {names[near[0]]!r}?" if near else None


def shown(value: Any) -> str:
    """``repr(value)``, cut to 200 characters; the name of its type if it has no repr."""
    try:
        text = repr(value)
    except Exception:  # The user has to read why the value is refused, and not this error.
        return f"<{type(value).__name__}>"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 3] + "..."


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_integer(least: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not _is_bool(value) and value >= least


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not _is_bool(value)


def _is_seconds(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= MAX_SECONDS


def _is_positive_seconds(value: Any) -> bool:
    return _is_seconds(value) and value > 0


def _is_recycle(value: Any) -> bool:
    return value is None or _is_positive_seconds(value) or (_is_number(value) and value == -1)


def _recycle(value: float | None) -> float:
    return -1 if value is None or value == -1 else value


def _is_rollback(value: Any) -> bool:
    return value is True or (isinstance(value, str) and value == "rollback")


def _is_path(value: Any) -> bool:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    return _is_text(value) and "\0" not in value


def _one_of(*names: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in names


_BOOL = Rule("True or False", _is_bool)
_SECONDS = Rule(f"a number of seconds from 0 to {MAX_SECONDS}", _is_seconds)
_POSITIVE_SECONDS = Rule(
    f"a number of seconds above 0 and up to {MAX_SECONDS}", _is_positive_seconds
)
_SECONDS_OR_NEVER = Rule(
    f"{_POSITIVE_SECONDS.text}, or None for never",
    lambda value: value is None or _is_positive_seconds(value),
)
_COUNT = Rule("an integer, 0 or more", _is_integer(0))
_POSITIVE_INTEGER = Rule("a positive integer", _is_integer(1))
_UNLIMITED = "that would mean no limit, and a process is held to a fixed number of sessions"

RULES: Mapping[str, Rule] = {
    # SQLAlchemy's own, for the classes that know them
    "pool_size": replace(_POSITIVE_INTEGER, notes={0: _UNLIMITED}),
    "max_overflow": replace(_COUNT, notes={-1: _UNLIMITED}),
    "timeout": _SECONDS,
    "recycle": Rule(f"{_POSITIVE_SECONDS.text}, or None or -1 for never", _is_recycle, _recycle),
    "use_lifo": _BOOL,
    "pre_ping": _BOOL,
    "echo": Rule(
        'True, False or "debug"', lambda value: _is_bool(value) or _one_of("debug")(value)
    ),
    "logging_name": Rule("a string that is not empty", _is_text),
    "reset_on_return": Rule(
        '"rollback" or True (every holder starts outside a transaction)',
        _is_rollback,
        lambda value: "rollback",
    ),
    "store_traceback": _BOOL,
    # FairQueuePool's
    "max_idle": _SECONDS_OR_NEVER,
    "min_idle": _COUNT,
    "max_waiting": _COUNT,
    "leak_after": _SECONDS_OR_NEVER,
    "wait_for_server": _BOOL,
    # the leases' and the sessions'
    "lease": Rule('"task" or "transaction"', _one_of("task", "transaction")),
    "unscoped": Rule(
        '"warn", "raise" or None', lambda value: value is None or _one_of("warn", "raise")(value)
    ),
    "begin": Rule(
        '"fused", "separate" or "autocommit"', _one_of("fused", "separate", "autocommit")
    ),
    "reset": Rule('"dirty" or "always"', _one_of("dirty", "always")),
    "connect_args": Rule(
        "a callable that takes and returns the parameters for mysqlclient, the dotted path of one, "
        "or None",
        lambda value: value is None or callable(value) or _is_text(value),
        # SQLAlchemy's argument of this name is a dict, which may have a password in it.
        secret=True,
    ),
    "hosts": Rule('"first" or "random"', _one_of("first", "random")),
    "host_retry": _SECONDS,
    "tcp_keepalive": _BOOL,
    "tcp_user_timeout": Rule(
        f"{_POSITIVE_SECONDS.text}, or None for the system's own",
        lambda value: value is None or _is_positive_seconds(value),
    ),
    "ping_after": _SECONDS,
    "ping_timeout": _POSITIVE_SECONDS,
}

SESSION_DEFAULTS: Mapping[str, Any] = {
    # "task" where a lease of each statement would open a session: `mysqlpool.conf.settings` says.
    "lease": "transaction",
    "unscoped": None,
    "begin": "fused",
    "reset": "dirty",
    "connect_args": None,
    "hosts": "first",
    "host_retry": 30.0,
    "tcp_keepalive": True,
    "tcp_user_timeout": 30.0,
    "ping_after": 30.0,
    "ping_timeout": 1.0,
}

LOG_RULES: Mapping[str, Rule] = {
    "filename": Rule("the path of a file", _is_path, os.fspath),
    "max_bytes": _POSITIVE_INTEGER,
    "backups": _POSITIVE_INTEGER,
    "level": Rule(
        "the name of a logging level, such as 'DEBUG' or 'WARNING'",
        lambda value: isinstance(value, str) and value in logging.getLevelNamesMapping(),
    ),
    "stats_interval": Rule(
        f"{_SECONDS.text}, where 0 or None means never",
        lambda value: value is None or _is_seconds(value),
        lambda value: value or 0,
    ),
}
