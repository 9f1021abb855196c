"""Keys of the pool that lie where nobody reads them, and the words that name the right place.

Django ignores a key of ``DATABASES[alias]`` that it does not know, and mysqlclient refuses one of
``OPTIONS`` only at the first query, with words that name no setting.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .rules import RULES, shown

__all__ = ["DRIVER_KEYS", "refuse_misplaced"]

# What mysqlclient's Connection takes. A pool class of your own may have a keyword of such a name.
_DRIVER_KEYS = """
    auth_plugin autocommit binary_prefix charset client_flag collation compress connect_timeout conv
    cursorclass database db executemany_fallback host init_command local_infile local_infile_dir
    multi_statements named_pipe passwd password port read_default_file read_default_group
    read_timeout server_public_key_path sql_mode ssl ssl_mode unix_socket use_unicode user
    write_timeout
"""
DRIVER_KEYS = frozenset(_DRIVER_KEYS.split())
# Django's own keys of DATABASES[alias] are in capitals, and so may be a project's own.
UNMISTAKABLE = frozenset({"pool", "pool_size", "max_overflow"})


def refuse_misplaced(place: str, settings_dict: Mapping[str, Any], keys: Collection[str]) -> None:
    """Refuse what belongs into ``OPTIONS["pool"]`` and lies elsewhere in ``settings_dict``.

    ``keys`` are those that the pool of this alias knows. Whether a key is written in capitals makes
    no difference, except beside ``OPTIONS``.
    """
    if "POOL_OPTIONS" in settings_dict:
        _refuse_pool_options(place, settings_dict["POOL_OPTIONS"])
    known = frozenset(keys) - DRIVER_KEYS
    for key in _strings(settings_dict):
        if key in known or key.lower() in UNMISTAKABLE:
            _refuse(f"{place}[{key!r}]", place, key)
    for key in _strings(settings_dict.get("OPTIONS", {})):
        if key.lower() in known or (key.lower() == "pool" and key != "pool"):
            _refuse(f"{place}['OPTIONS'][{key!r}]", place, key)


def _strings(settings: Mapping[Any, Any]) -> list[str]:
    return [key for key in settings if isinstance(key, str)]


def _refuse(found: str, place: str, key: str) -> None:
    right = f"{place}['OPTIONS']['pool']"
    if key.lower() != "pool":
        right += f"[{key.lower()!r}]"
    raise ImproperlyConfigured(
        f"{found} is in the wrong place, where mysqlpool does not read it: move it to {right}. If "
        "it is from the query of a database URL, set it in the settings instead."
    )


def _refuse_pool_options(place: str, options: Any) -> None:
    """Tell what django-db-connection-pool's settings are called here. It wants capitals."""
    given = options if isinstance(options, Mapping) else {}
    ours = {key.lower(): given[key] for key in _strings(given) if key.lower() in RULES}
    others = [key for key in given if not (isinstance(key, str) and key.lower() in RULES)]
    without = f", without {', '.join(map(shown, others))}" if others else ""
    raise ImproperlyConfigured(
        f"{place}['POOL_OPTIONS'] is django-db-connection-pool's, and mysqlpool does not read it: "
        f"write {place}['OPTIONS']['pool'] = {shown(ours)} instead{without}"
    )
