"""A throw-away server of MariaDB or MySQL, for the tests, the benchmarks and the demo."""

from .address import Server
from .flavours import FLAVOURS, ServerError
from .private import (
    PrivateServer,
    add_server_option,
    server_from_environment_or_private,
    wanted_flavour,
)

__all__ = [
    "FLAVOURS",
    "PrivateServer",
    "Server",
    "ServerError",
    "add_server_option",
    "server_from_environment_or_private",
    "wanted_flavour",
]
