"""What is said of the way to the server: who may pass for it, and what it may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.checks import CheckMessage
from django.core.checks import Warning as CheckWarning
from django.db import connections
from MySQLdb.constants import CLIENT

from mysqlpool.session.tls import verifies_identity, wants_tls

from .entries import our_aliases

__all__ = ["check_local_infile", "check_tls"]


def check_tls(**kwargs: Any) -> list[CheckMessage]:
    found = ((alias, connections.settings[alias]) for alias in our_aliases())
    return [
        unverified_server_warning(alias, named)
        for alias, settings_dict in found
        if (named := unverified_tls(settings_dict))
    ]


def check_local_infile(**kwargs: Any) -> list[CheckMessage]:
    found = ((alias, _options(connections.settings[alias])) for alias in our_aliases())
    return [
        local_infile_warning(alias, named)
        for alias, options in found
        if (named := _local_infile(options))
    ]


def _options(settings_dict: Mapping[str, Any]) -> Mapping[str, Any]:
    """OPTIONS; nothing where they are no dict, which `mysqlpool.E001` tells."""
    options = settings_dict.get("OPTIONS")
    return options if isinstance(options, Mapping) else {}


def _local_infile(options: Mapping[str, Any]) -> str | None:
    """What of OPTIONS lets the server ask for any file of this machine."""
    if options.get("local_infile"):
        return "'local_infile'"
    flags = options.get("client_flag", 0)
    is_flagged = isinstance(flags, int) and flags & CLIENT.LOCAL_FILES
    return "CLIENT.LOCAL_FILES in 'client_flag'" if is_flagged else None


def unverified_tls(settings_dict: Mapping[str, Any]) -> str | None:
    """What in an alias's settings asks for TLS, where nothing verifies the server.

    A server behind a Unix socket is where the socket is: nobody is between.
    """
    options = _options(settings_dict)
    host = settings_dict.get("HOST") or ""
    if options.get("unix_socket") or str(host).startswith("/"):
        return None
    named = wants_tls(options)
    return None if named is None or verifies_identity(options) else named


def unverified_server_warning(alias: str, named: str) -> CheckMessage:
    return CheckWarning(
        f"Database '{alias}' asks for TLS by {named}, and does not verify who the server is: "
        "somebody on the way to it can pass for it, and MariaDB's client library may tell a server "
        "without TLS the password.",
        hint=(
            "Set 'ssl_mode': 'VERIFY_IDENTITY' in OPTIONS, and 'ssl': {'ca': FILE} with the "
            "certificates of the authority that signed the server's, which must name HOST. 'ssl' "
            "alone and 'REQUIRED' verify nothing. 'VERIFY_CA' does not look at the name where "
            "mysqlclient is built on Oracle's library. When the way to the server is safe, add "
            "'mysqlpool.W004' to SILENCED_SYSTEM_CHECKS."
        ),
        id="mysqlpool.W004",
    )


def local_infile_warning(alias: str, named: str) -> CheckMessage:
    return CheckWarning(
        f"Database '{alias}' permits LOAD DATA LOCAL by {named}: the server, or who passes for it, "
        "may ask for any file that this process can read, in answer to any statement.",
        hint=(
            "Leave it out. Where files have to be loaded, 'local_infile_dir' permits one folder "
            "alone, if mysqlclient and its client library know it (Oracle's does), or give what "
            "loads them an alias of its own. Where all servers are trusted and verified by TLS, "
            "add 'mysqlpool.W009' to SILENCED_SYSTEM_CHECKS."
        ),
        id="mysqlpool.W009",
    )
