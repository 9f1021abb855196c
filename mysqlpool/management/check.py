"""``manage.py mysqlpool check``: the settings against the server."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

__all__ = ["HELP", "add_arguments", "handle"]

HELP = "Connect, and compare the settings with the server: OK, WARN or FAIL, and the remedy."


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument("--database", action="append", metavar="ALIAS", help="this alias alone")


def handle(command: BaseCommand, **options: Any) -> None:
    raise NotImplementedError
