"""``manage.py mysqlpool``: what is to be known of the pools, by subcommands."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from mysqlpool.management import bench, check, status

# A subcommand is a module with HELP, add_arguments(parser) and handle(command, **options).
SUBCOMMANDS = {"check": check, "status": status, "bench": bench}

# Django has these before the subcommand. Most people write them after it.
_BASE_OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ("-v", "--verbosity"): {"type": int, "choices": [0, 1, 2, 3]},
    ("--settings",): {},
    ("--pythonpath",): {},
    ("--traceback",): {"action": "store_true"},
    ("--no-color",): {"action": "store_true"},
    ("--force-color",): {"action": "store_true"},
}


class Command(BaseCommand):
    help = "What is to be known of the pools of mysqlpool."
    # `check` reports what they would refuse, and the others are for times of trouble.
    requires_system_checks = []  # noqa: RUF012 (as Django's own commands have it)

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(dest="subcommand", metavar="SUBCOMMAND", required=True)
        for name, module in SUBCOMMANDS.items():
            subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
            for flags, keywords in _BASE_OPTIONS.items():
                subparser.add_argument(
                    *flags, **keywords, default=argparse.SUPPRESS, help=argparse.SUPPRESS
                )
            module.add_arguments(subparser)

    def handle(self, *args: Any, subcommand: str, **options: Any) -> None:
        SUBCOMMANDS[subcommand].handle(self, **options)
