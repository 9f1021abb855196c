"""Measure mysqlpool beside its peers, in turns: ``python -m benchmarks [NAME...]``.

Without a name all scenarios run, which takes some 15 minutes. All contestants work on one server
in one run, and take turns; the figures are medians with quartiles, and ratios of what ran side by
side.
benchmarks/README.rst tells how to read them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mysqlpool.management.words import positive_integer, positive_seconds
from tests.server import ServerError, add_server_option, server_from_environment_or_private

from .scenarios import SCENARIOS

RESULTS = Path(__file__).parent / "results"
PICTURE = Path(__file__).parent.parent / "docs" / "pictures" / "benchmarks.svg"
# By the names under which they are imported; all are in the extra "bench".
NEEDED = ("dj_db_conn_pool", "gunicorn", "matplotlib", "rich", "tqdm", "uvicorn")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0, 1 without a server or results, 2 where something is missing or misspelt."""
    parser = parser_of()
    options = parser.parse_args(arguments)
    if options.quick and options.save:
        parser.error("--quick has no figures that are worth to --save")
    if options.picture:
        return picture(options.server or "mariadb")
    if options.list:
        for name, text in SCENARIOS.items():
            print(f"{name:<16} {text}")
        return 0
    names = list(dict.fromkeys(options.names)) or [*SCENARIOS]
    if lack := lacking(names):
        print(f"benchmarks: {lack}", file=sys.stderr)
        return 2
    try:
        return run(names, options)
    except ServerError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1


def parser_of() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"{name:<16} {text}" for name, text in SCENARIOS.items()),
    )
    parser.add_argument("names", nargs="*", metavar="NAME", type=scenario, help="see below")
    add_server_option(parser)
    parser.add_argument("--list", action="store_true", help="print the names, and end")
    parser.add_argument("--quick", action="store_true", help="to see whether all works: no figures")
    parser.add_argument(
        "--rounds", type=positive_integer, metavar="N", help="turns of each contestant"
    )
    parser.add_argument(
        "--seconds", type=positive_seconds, metavar="S", help="of each turn that takes a time"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--plot", action="store_true", help="draw SVG and PNG into --output")
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="FOLDER", help="of --plot (default: here)"
    )
    parser.add_argument(
        "--save", action="store_true", help="keep JSON and SVG of each in benchmarks/results"
    )
    parser.add_argument(
        "--picture", action="store_true", help="of what was saved: the table, and the SVG in docs/"
    )
    return parser


def scenario(name: str) -> str:
    if name not in SCENARIOS:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(SCENARIOS)}")
    return name


def lacking(names: Sequence[str]) -> str | None:
    """What is missing for these, and how to get it; None where all is there.

    It is told before the first one runs, and not minutes later.
    """
    if missing := [name for name in NEEDED if find_spec(name) is None]:
        return f"{', '.join(missing)} missing: pip install -e '.[test,bench]' in a clone"
    from .scenarios import requests

    if "requests" in names and (lack := requests.missing()):
        others = " ".join(name for name in names if name != "requests")
        return f"requests: {lack}" + (f". Without: python -m benchmarks {others}" if others else "")
    return None


def picture(flavour: str) -> int:
    """Draw what README.rst shows, and print the table, without measuring anything."""
    from . import summary

    results, documents = summary.read(RESULTS, flavour)
    if not results:
        print(f"benchmarks: nothing of {flavour} is in {RESULTS}; --save keeps it", file=sys.stderr)
        return 1
    summary.draw(results, PICTURE)
    print(summary.told(documents), summary.rst_table(results), sep="\n", end="")
    return 0


def run(names: Sequence[str], options: argparse.Namespace) -> int:
    # Not at the top: --help and what is lacking can be told without them.
    import logging

    import django
    import MySQLdb
    from django.conf import settings

    # What contestants log of the faults that a scenario makes is not asked for.
    logging.getLogger().addHandler(logging.NullHandler())

    settings.configure(USE_TZ=True, DATABASES={}, INSTALLED_APPS=["tests.rows"])
    django.setup()
    from . import machine, results, scenarios
    from .turns import Stage

    found: list[results.Result] = []
    with server_from_environment_or_private(options.server) as server:
        try:
            conditions = machine.conditions(server)
        except MySQLdb.OperationalError as error:
            raise ServerError(f"{server.host}:{server.port} {error.args[1]}") from error
        stage = Stage(server, options.quick, options.rounds, options.seconds)
        for name in names:
            before = machine.load()
            mine = scenarios.run(name, stage)
            found += mine
            show(mine, options)
            if options.save or options.plot:
                loads = {"load before": before, "load after": machine.load()}
                keep(name, server.flavour_name(), mine, {**conditions, **loads}, options)
    if options.json:
        print(results.to_json(found, conditions), end="")
    return 0


def show(results: Sequence[Any], options: argparse.Namespace) -> None:
    from rich.console import Console

    from .tables import print_tables

    if not options.json:
        console = Console()
        # Where nobody sets a width, a table is as wide as it has to be.
        print_tables(console if console.is_terminal else Console(width=130), results)


def keep(
    name: str,
    flavour: str,
    results: Sequence[Any],
    conditions: Mapping[str, Any],
    options: argparse.Namespace,
) -> None:
    """Write the files of one scenario on one server; they replace those of a former run."""
    from . import plots
    from .results import to_json

    if options.save:
        RESULTS.mkdir(exist_ok=True)
        target = RESULTS / f"{name}-{flavour}.json"
        text = to_json(results, {"quick": options.quick, **conditions})
        target.write_text(text, encoding="utf-8")
        plots.save(results, target, ["svg"])
    if options.plot:
        options.output.mkdir(parents=True, exist_ok=True)
        for file in plots.save(results, options.output / f"{name}-{flavour}"):
            print(f"drawn: {file}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
