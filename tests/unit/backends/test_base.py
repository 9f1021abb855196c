"""The wrapper before its first connection."""

from __future__ import annotations

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection, connections
from django.db.backends.mysql.base import DatabaseWrapper as StockWrapper
from django.db.utils import ConnectionHandler

from mysqlpool import close_pool


def test_the_backend_subclasses_djangos_and_changes_nothing_global() -> None:
    assert isinstance(connection, StockWrapper) or isinstance(connections["default"], StockWrapper)
    assert StockWrapper.connect.__module__ == "django.db.backends.base.base"
    assert type(connections["stock"]) is StockWrapper


def test_the_wrapper_has_no_close_pool_for_celery_to_call() -> None:
    assert not hasattr(connections["default"], "close_pool")


def test_bad_pool_settings_are_refused_when_the_wrapper_is_made() -> None:
    databases = {
        alias: {**settings, "OPTIONS": {"pool": {"pool_sise": 5}}}
        for alias, settings in connections.settings.items()
        if alias == "default"
    }
    close_pool()
    with pytest.raises(ImproperlyConfigured, match="did you mean 'pool_size'"):
        ConnectionHandler(databases)["default"]
