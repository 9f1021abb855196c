"""What a connection is told as it is opened, before anybody uses it.

``COM_CHANGE_USER`` makes a session as new, but says nothing of that. So it has to be said again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from MySQLdb import _mysql
from MySQLdb.connections import Connection
from MySQLdb.constants import CLIENT

from .assignments import assigned
from .parameters import public

__all__ = ["Opening"]

# enum_mysql_set_option of the servers' mysql_com.h
_MULTI_STATEMENTS_ON = 0

# With these the library finds credentials where we do not see them.
_OPTION_FILES = frozenset(["read_default_file", "read_default_group"])


class Opening(NamedTuple):
    """How a connection was opened."""

    options: Mapping[str, Any]
    """mysqlclient's parameters, less the secret."""

    charset: str
    """What the driver calls the character set."""

    def by(self, parameters: Mapping[str, Any]) -> Opening:
        """The same by other parameters."""
        return self._replace(options=public(parameters))

    def knows_account(self) -> bool:
        """Whether the parameters tell as whom."""
        return "user" in self.options and not self.options.keys() & _OPTION_FILES

    def change_user(self, connection: Connection, parameters: Mapping[str, Any]) -> None:
        """COM_CHANGE_USER, and COM_SET_OPTION, because that switched multiple statements off.

        It takes the server's collation, too
        (https://dev.mysql.com/doc/c-api/8.4/en/mysql-change-user.html). Raises ``MySQLdb.Error``
        where the server, or a proxy, refuses.
        """
        user = parameters.get("user", self.options["user"])
        password = parameters.get("password", parameters.get("passwd")) or ""
        database = parameters.get("database", parameters.get("db")) or ""
        _mysql.connection.change_user(connection, user, password, database)
        if connection.client_flag & CLIENT.MULTI_STATEMENTS:
            _mysql.connection.set_server_option(connection, _MULTI_STATEMENTS_ON)
        if connection.character_set_name() != self.charset:
            _mysql.connection.set_character_set(connection, self.charset)

    def first_words(self) -> Iterator[bytes]:
        """What the client library sends when it connects. It may be several statements."""
        if self.options.get("init_command"):
            yield str(self.options["init_command"]).encode()

    def assigned(self) -> frozenset[str]:
        """The variables that every session opened like this has been given constants for."""
        return frozenset().union(*[assigned(sql) or () for sql in self.first_words()])

    def words(self) -> Iterator[bytes]:
        """What the driver sends after that, in its order, less the autocommit."""
        options = self.options
        collation = f" COLLATE {options['collation']}" if options.get("collation") else ""
        yield f"SET NAMES {self.charset}{collation}".encode()
        if options.get("sql_mode"):
            yield f"SET SESSION sql_mode='{options['sql_mode']}'".encode()
