"""``manage.py mysqlpool check``: the settings against the server."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from django.core.management.base import BaseCommand, CommandError, CommandParser

from mysqlpool.checks import Comparison, Finding, Level, compare, demand_found

from .choice import chosen
from .terminal import encodable, terminal

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["HELP", "add_arguments", "handle"]

HELP = "Connect, and compare the settings with the server: OK, WARN or FAIL, and the remedy."

COLOURS = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}


def add_arguments(parser: CommandParser) -> None:
    parser.add_argument(
        "--database",
        action="append",
        metavar="ALIAS",
        help="this alias alone; may be given several times (default: all of mysqlpool's)",
    )
    parser.add_argument(
        "--processes",
        type=int,
        metavar="N",
        help="how many processes there will be, on all machines, also while a deployment replaces "
        "them (default: what gunicorn.conf.py and the like tell)",
    )
    parser.add_argument(
        "--fail-level",
        type=str.upper,
        choices=["WARN", "FAIL"],
        default="FAIL",
        help="exit with 1 where anything is this bad (default: FAIL)",
    )


def handle(command: BaseCommand, **options: Any) -> None:
    """Print a line for each finding. Raises CommandError from ``--fail-level`` on."""
    aliases = chosen(options.get("database")).aliases
    processes = options.get("processes")
    if processes is not None and processes < 1:
        raise CommandError(f"--processes must be 1 or more, not {processes}.")
    demand = replace(demand_found(), processes=processes)
    console = terminal(command, options)
    speaker: Speaker = Plain(command) if console is None else Coloured(console)
    compared = list(compare(aliases, demand))
    levels = [level for one in compared for level in shown(speaker, one)]
    if options.get("traceback") and (error := next((o.error for o in compared if o.error), None)):
        raise error
    worst = [level for level in levels if level >= Level[options.get("fail_level") or "FAIL"]]
    if worst:
        raise CommandError(f"{counted(worst)} of {len(levels)} findings.")


def counted(levels: Iterable[Level]) -> str:
    found = list(levels)
    return ", ".join(f"{found.count(level)} {level.name}" for level in sorted({*found})[::-1])


class Speaker(Protocol):
    def heading(self, text: str) -> None: ...

    def finding(self, finding: Finding) -> None: ...


def shown(speaker: Speaker, one: Comparison) -> list[Level]:
    speaker.heading(title(one))
    for finding in one.findings:
        speaker.finding(finding)
    return [finding.level for finding in one.findings]


def title(one: Comparison) -> str:
    if one.pool is None:
        return f"{one.alias}: its settings are refused"
    name = one.pool.pool_class.__name__
    return f"{one.alias}: {name}, 'lease': '{one.pool.lease}', on {one.server}"


class Plain:
    """Lines of text, each finding on one and its remedy on the next."""

    def __init__(self, command: BaseCommand) -> None:
        self._out = command.stdout

    def heading(self, text: str) -> None:
        self._write(text)

    def finding(self, finding: Finding) -> None:
        self._write(f"  {finding.level.name:4}  {finding.topic}: {finding.text}")
        if finding.remedy and finding.level is not Level.OK:
            self._write(f"        Remedy: {finding.remedy}")

    def _write(self, text: str) -> None:
        self._out.write(encodable(self._out, text))


class Coloured:
    """The same on a terminal, wrapped at its width."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def heading(self, text: str) -> None:
        # In an address of IPv6 rich would take :a: for an emoji.
        self._console.print(text, style="bold", markup=False, emoji=False)

    def finding(self, finding: Finding) -> None:
        from rich.table import Table
        from rich.text import Text

        colour = COLOURS[finding.level]
        table = Table.grid(padding=(0, 1))
        table.add_column(width=5, justify="right")
        table.add_column()
        text = Text.assemble((finding.topic, "bold"), f": {finding.text}")
        table.add_row(Text(finding.level.name, colour), text)
        if finding.remedy and finding.level is not Level.OK:
            table.add_row("", Text(f"Remedy: {finding.remedy}"))
        self._console.print(table)
