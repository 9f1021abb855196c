"""What a session makes of the driver's errors."""

from __future__ import annotations

import MySQLdb
import pytest

from mysqlpool.session import session as session_module


@pytest.mark.parametrize(
    ("number", "version", "disconnect"),
    [
        (4031, "8.4.3", True),
        (4031, "11.4.2-MariaDB-log", False),
        (1927, "11.4.2-MariaDB-log", True),
        (2006, "8.4.3", True),
        (2013, "8.4.3", True),
        (1205, "8.4.3", False),
        (1213, "8.4.3", False),
        (1317, "8.4.3", False),
        (1969, "11.4.2-MariaDB-log", False),
    ],
)
def test_the_same_number_means_another_thing_on_another_server(
    number: int, version: str, disconnect: bool
) -> None:
    class Server:
        def get_server_info(self) -> str:
            return version

    error = MySQLdb.OperationalError(number, "text")
    assert session_module._is_disconnect(error, Server()) is disconnect  # type: ignore[arg-type]
