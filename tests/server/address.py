"""Where a server is, and which of the two flavours answers there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from .flavours import SHA2_REMEDY, ServerError

DATABASE_NAME = "mysqlpool"
UNKNOWN_PLUGIN = 2059  # CR_AUTH_PLUGIN_CANNOT_LOAD


class Server:
    """Where a server is and how to log in to it."""

    def __init__(self, host: str, port: int, user: str, password: str, name: str) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.name = name

    def environ(self) -> dict[str, str]:
        """The environment variables by which the example project finds the server."""
        return {
            "DATABASE_HOST": self.host,
            "DATABASE_PORT": str(self.port),
            "DATABASE_USER": self.user,
            "DATABASE_PASSWORD": self.password,
            "DATABASE_NAME": self.name,
        }

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """The server that environ() of another one, or a person, described."""
        return cls(
            host=environ["DATABASE_HOST"],
            port=int(environ.get("DATABASE_PORT") or 3306),
            user=environ.get("DATABASE_USER", "root"),
            password=environ.get("DATABASE_PASSWORD", ""),
            name=environ.get("DATABASE_NAME", DATABASE_NAME),
        )

    def version(self) -> str:
        """What the server says of itself; that of a MariaDB holds its name.

        ServerError where the driver's client library does not know how to log in to it.
        """
        # Not at the top: what only starts a server has no need of the driver.
        import MySQLdb

        try:
            connection = MySQLdb.connect(
                host=self.host, port=self.port, user=self.user, password=self.password
            )
        except MySQLdb.OperationalError as error:
            if error.args[0] != UNKNOWN_PLUGIN:
                raise
            raise ServerError(
                f"the driver's client library, {MySQLdb.get_client_info()}, cannot log in to "
                f"{self.host}:{self.port}: {error.args[1]}. On MariaDB the user wants "
                f"caching_sha2_password, which the plugin auth_mysql_sha2 has. {SHA2_REMEDY}"
            ) from error
        try:
            return str(connection.get_server_info())
        finally:
            connection.close()

    def flavour_name(self) -> str:
        """``"mariadb"`` or ``"mysql"``, as the server says of itself."""
        return "mariadb" if "mariadb" in self.version().lower() else "mysql"
