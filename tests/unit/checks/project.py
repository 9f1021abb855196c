"""Entries of DATABASES for the tests of checks."""

from __future__ import annotations

from typing import Any

OURS = "mysqlpool.backends.mysqlpool"
STOCK = "django.db.backends.mysql"


def entry(pool: Any = True, engine: str = OURS, **options: Any) -> dict[str, Any]:
    return {"ENGINE": engine, "OPTIONS": {"pool": pool, **options}}


def at(host: str, pool: Any = True, port: str = "3306", **further: Any) -> dict[str, Any]:
    return {**entry(pool), "HOST": host, "PORT": port, **further}
