"""An alias that is pointed elsewhere for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import connections

from mysqlpool import close_pool, release_connections

__all__ = ["alias_with", "pointed"]


@contextmanager
def pointed(alias: str = "default", **values: Any) -> Iterator[None]:
    """In this block an alias has other settings in the place of some of its own."""
    settings = connections[alias].settings_dict
    before = dict(settings)
    release_connections()
    settings.update(values)
    try:
        yield
    finally:
        release_connections()
        close_pool()
        settings.clear()
        settings.update(before)


def alias_with(**pool: Any) -> AbstractContextManager[None]:
    """In this block the default alias has these options of its pool, and no other options."""
    return pointed(OPTIONS={"pool": pool})
