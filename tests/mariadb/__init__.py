"""A throw-away MariaDB server for the tests, the benchmarks and the demo."""

from .server import PrivateServer, Server, ServerError, server_from_environment_or_private

__all__ = ["PrivateServer", "Server", "ServerError", "server_from_environment_or_private"]
