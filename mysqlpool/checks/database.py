"""The server's side of the system checks, which ``manage.py check --database ALIAS`` asks for.

They are warnings, whatever the finding: ``migrate`` and ``test`` ask for them, too, and a server
that has too few connections for all processes has enough for these.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.core.checks import INFO, WARNING, CheckMessage

from .comparison import asked, demand_found
from .entries import our_aliases
from .findings import Finding, Level

__all__ = ["check_servers"]


def check_servers(databases: Iterable[str] | None = None, **kwargs: Any) -> list[CheckMessage]:
    """Connect to these aliases, if they are ours, and compare their settings with the server.

    Raises ``django.db.Error`` where one cannot be connected, as Django's own check of it does.
    """
    wanted = set(databases or ())
    return [
        server_message(alias, finding)
        for alias in our_aliases()
        if alias in wanted
        for finding in asked(alias, demand_found())
        if finding.id is not None and finding.level is not Level.OK
    ]


def server_message(alias: str, finding: Finding) -> CheckMessage:
    assert finding.id is not None
    level = INFO if finding.id.startswith("mysqlpool.I") else WARNING
    text = f"The server of database '{alias}', {finding.topic}: {finding.text}."
    return CheckMessage(level, text, hint=finding.remedy, id=finding.id)
