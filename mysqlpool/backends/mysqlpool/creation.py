"""Test databases: none is dropped while the pool still has sessions on it."""

from __future__ import annotations

from typing import Any

from django.db.backends.mysql import creation as mysql

from mysqlpool.aliases.registry import close_pool

from .client import with_password

__all__ = ["DatabaseCreation"]


class DatabaseCreation(mysql.DatabaseCreation):
    """Django's, which closes the alias's pool before it drops a test database."""

    def test_db_signature(self) -> tuple[Any, ...]:
        """Django's, which it looks up in a dict: a list of servers could not be."""
        signature: tuple[Any, ...] = super().test_db_signature()
        return tuple(tuple(part) if isinstance(part, list) else part for part in signature)

    def _destroy_test_db(self, test_database_name: str, verbosity: int) -> Any:
        # MySQL drops a database though sessions use it.  They would then find its
        # tables gone, or those of the next one of this name.
        close_pool(self.connection.alias)
        return super()._destroy_test_db(test_database_name, verbosity)  # type: ignore[misc]

    def _clone_db(self, source_database_name: str, target_database_name: str) -> None:
        # Django gives the settings as they are to the programs that copy a database.
        settings = self.connection.settings_dict
        self.connection.settings_dict = with_password(self.connection.alias, settings)
        try:
            super()._clone_db(  # type: ignore[misc]
                source_database_name, target_database_name
            )
        finally:
            self.connection.settings_dict = settings
