"""Which client library mysqlclient is built on. They differ in what they make of its parameters."""

import MySQLdb

__all__ = ["is_mariadbs"]


def is_mariadbs() -> bool:
    """Whether it is MariaDB's, of which there is version 3 so far, and not Oracle's 8 or 9."""
    return int(MySQLdb.get_client_info().partition(".")[0]) < 5
