"""Test databases: none is dropped while the pool still has sessions on it."""

from __future__ import annotations

from typing import Any

from django.db.backends.mysql import creation as mysql

from mysqlpool.aliases.registry import close_pool

__all__ = ["DatabaseCreation"]


class DatabaseCreation(mysql.DatabaseCreation):
    """Django's, which closes the alias's pool before it drops a test database."""

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> Any:
        # MySQL drops a database though sessions use it.  They would then find its
        # tables gone, or those of the next one of this name.
        close_pool(self.connection.alias)
        return super()._destroy_test_db(test_database_name, verbosity)  # type: ignore[misc]
