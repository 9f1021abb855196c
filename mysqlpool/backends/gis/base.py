"""GeoDjango's MySQL backend with sessions leased from the process's pool."""

from __future__ import annotations

from django.contrib.gis.db.backends.mysql import base as gis

from mysqlpool.backends.mysqlpool import base as pooled

__all__ = ["DatabaseWrapper"]


class DatabaseWrapper(pooled.DatabaseWrapper, gis.DatabaseWrapper):
    """GeoDjango's wrapper, whose connection is a lease on one of the process's sessions."""
