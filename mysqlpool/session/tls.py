"""Whether a connection was asked to be encrypted, and whether it is.

The driver does not see to it. MariaDB's client library refuses a server that offers no TLS only
where it has to verify that server (``send_client_reply_packet`` of its ``my_auth.c``). Else it goes
on in plain text, whatever it was asked for. Oracle's refuses such a server where ``ssl_mode`` says
so, and goes on where there is nothing but a certificate.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from math import ceil
from typing import Any

import MySQLdb
from MySQLdb.constants import CR

from . import library, option_files, sockets
from .answers import looks_like_tls

__all__ = ["answers_in_tls", "refusal", "verifies_identity", "wants_tls"]

Parameters = Mapping[str, Any]

_CA = "VERIFY_CA"
_IDENTITY = "VERIFY_IDENTITY"
_INSISTING = frozenset({"REQUIRED", _CA, _IDENTITY})


def wants_tls(parameters: Parameters) -> str | None:
    """What of the parameters for mysqlclient, or of its option files, asks for TLS; None for none.

    An ``ssl_mode`` has the last word, as in the driver: with DISABLED and PREFERRED a connection in
    plain text is what was asked for.
    """
    if "ssl_mode" in parameters:
        return "ssl_mode" if parameters["ssl_mode"] in _INSISTING else None
    if parameters.get("ssl"):
        return "ssl"
    given = option_files.read(parameters)
    if "ssl-mode" in given:
        mode = given["ssl-mode"]
        return mode.named if mode.value.upper() in _INSISTING else None
    asking = (option.named for option in given.values() if option.asks_for_tls)
    return next(asking, None)


def verifies_identity(parameters: Parameters) -> bool:
    """Whether the client library makes sure to which server it is connected.

    MariaDB's compares the server's name with its certificate for VERIFY_CA as well. In an option
    file it knows ``ssl-verify-server-cert`` and not ``ssl-mode``; Oracle's the reverse.
    """
    verifying = {_CA, _IDENTITY} if library.is_mariadbs() else {_IDENTITY}
    if "ssl_mode" in parameters:
        return parameters["ssl_mode"] in verifying
    given = option_files.read(parameters)
    if library.is_mariadbs():
        return any(option.verifies for option in given.values())
    return "ssl-mode" in given and given["ssl-mode"].value.upper() in verifying


def answers_in_tls(number: int, watch: sockets.Watch, seconds: float) -> bool:
    """Whether the answer to what was sent comes in a TLS record. Leaves it to be read.

    False also where the connection is lost, which reading tells. Raises
    ``MySQLdb.OperationalError`` where no answer comes in so many seconds.
    """
    deadline = time.monotonic() + seconds
    while True:
        left = deadline - time.monotonic()
        if left <= 0 or not watch.poll(ceil(left * 1000)):
            raise MySQLdb.OperationalError(
                CR.SERVER_LOST, f"The server let in, and did not answer within {seconds:g} s"
            )
        start = sockets.peek(number, 2)
        if len(start) != 1:
            return looks_like_tls(start)
        time.sleep(0.001)  # For the second byte, which poll() does not wait for.


def refusal(named: str) -> MySQLdb.OperationalError:
    """The error of a connection in plain text, where ``named`` asked for TLS."""
    return MySQLdb.OperationalError(
        CR.SSL_CONNECTION_ERROR,
        f"TLS was asked for by {named}, and the connection is in plain text, so it was closed. The "
        "server, or a proxy before it, offers no TLS, or the client library was told nothing that "
        "makes it use TLS. Switch TLS on there, and set 'ssl_mode' to 'VERIFY_IDENTITY' in "
        "OPTIONS, with 'ssl': {'ca': ...}; or to 'PREFERRED', where plain text will do.",
    )
