"""The same job on Django's own MySQL engine and on mysqlpool's, as the server sees it.

Each engine indexes the same folder with the same threads, by ``manage.py index`` in a process and
a database of its own, which is dropped and made anew. DATABASE_HOST and its like name the server;
``scripts/demo`` starts a private one. The counters are those of the whole server, so they mean
something only while it has no other client. The user needs the right to create a database and to
FLUSH STATUS. Exits with 1 when the server saw more sessions than mysqlpool's pool may have.
"""

import argparse
import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import django
from observer import Counters, Observer
from rich.console import Console
from rich.table import Table

from files.arguments import folder, positive
from files.reading import STANDARD_LIBRARY, Folder, UnreadableError, read_facts

MANAGE = str(Path(__file__).with_name("manage.py"))
STOCK = "django.db.backends.mysql"
POOLED = "mysqlpool.backends.mysqlpool"
DATABASES = {STOCK: "mysqlpool_demo_stock", POOLED: "mysqlpool_demo_pooled"}
SAMPLE_SECONDS = 0.02
SUMMARY = re.compile(r"(\d+) files indexed, (\d+) skipped, in ([\d.]+) s")
NOTES = """\
Both had {threads} threads. The server's own figures: Max_used_connections, Connections and
Questions (which counts the end of a session, too) of SHOW GLOBAL STATUS, and the
most sessions in SHOW PROCESSLIST, sampled every {milliseconds:.0f} ms. The session that asked for
them is left out.
"""
PASTE = """\
DATABASES = {{
    "default": {{
        "ENGINE": "{engine}",
        # HOST, PORT, USER, PASSWORD and NAME stay as they are; no CONN_MAX_AGE
        "OPTIONS": {{"pool": {{"pool_size": {pool_size}}}}},
    }}
}}"""


@dataclass(frozen=True)
class Summary:
    """What ``manage.py index`` said at its end; ``seconds`` is without the start of Python."""

    indexed: int
    skipped: int
    seconds: float


@dataclass(frozen=True)
class Outcome:
    """One job. ``summary`` is None when it failed."""

    engine: str
    summary: Summary | None
    peak: int
    sampled_peak: int
    counters: Counters


def parse_summary(output: str) -> Summary:
    """Read the last line of ``manage.py index``. Raises ValueError for any other."""
    match = SUMMARY.fullmatch(output.strip())
    if match is None:
        raise ValueError(f"manage.py index ended with {output!r}")
    return Summary(int(match[1]), int(match[2]), float(match[3]))


def run_job(observer: Observer, engine: str, arguments: argparse.Namespace) -> Outcome:
    """Index the folder on one engine into a new database."""
    database = DATABASES[engine]
    observer.create(database)
    environ = {
        **os.environ,
        "DATABASE_ENGINE": engine,
        "DATABASE_NAME": database,
        "DATABASE_POOL": json.dumps({"pool_size": arguments.pool_size}),
    }
    subprocess.run([sys.executable, MANAGE, "migrate", "--verbosity=0"], env=environ, check=True)
    observer.reset_peak()
    before = observer.counters()
    index = [sys.executable, MANAGE, "index", f"--threads={arguments.threads}"]
    if arguments.folder is not STANDARD_LIBRARY:
        index.append(arguments.folder.path)
    output, sampled_peak = run_observed(observer, index, environ, database)
    outcome = Outcome(
        engine,
        None if output is None else parse_summary(output),
        observer.peak(),
        sampled_peak,
        observer.counters().since(before),
    )
    observer.drop(database)
    return outcome


def run_observed(
    observer: Observer, command: list[str], environ: dict[str, str], database: str
) -> tuple[str | None, int]:
    """Run a command; return its output, None if it failed, and the most sessions seen at once."""
    peak = 0
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            while True:
                peak = max(peak, observer.sessions(database))
                try:
                    output, _ = process.communicate(timeout=SAMPLE_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
                return (output if process.returncode == 0 else None), peak
        except BaseException:
            process.terminate()
            raise


def report(console: Console, outcomes: Sequence[Outcome], arguments: argparse.Namespace) -> None:
    """Print the table, how to read it, and what to do next."""
    table = Table("the server saw")
    for outcome in outcomes:
        table.add_column(outcome.engine, justify="right")
    columns = [column_of(outcome) for outcome in outcomes]
    for name in columns[0]:
        table.add_row(name, *(column[name] for column in columns))
    console.print(table)
    notes = NOTES.format(threads=arguments.threads, milliseconds=1000 * SAMPLE_SECONDS)
    console.print(notes, soft_wrap=True)
    console.print("To use it in your own project:\n")
    paste = PASTE.format(engine=POOLED, pool_size=arguments.pool_size)
    console.print(paste, markup=False, soft_wrap=True)


def column_of(outcome: Outcome) -> dict[str, str]:
    """Return one column of the table by row names."""
    summary, counters = outcome.summary, outcome.counters
    column = {
        "files indexed": "failed" if summary is None else f"{summary.indexed:,}",
        "peak sessions": f"{outcome.peak:,}",
        "peak, sampled": f"{outcome.sampled_peak:,}",
        "connects": f"{counters.connects:,}",
        "statements": f"{counters.statements:,}",
        "statements / file": "",
        "files / second": "",
    }
    if summary is None and counters.refused:
        column["files indexed"] = f"Too many connections ({counters.refused:,} refused)"
    if summary is not None and summary.indexed:
        column["statements / file"] = f"{counters.statements / summary.indexed:.2f}"
        column["files / second"] = f"{summary.indexed / summary.seconds:,.0f}"
    return column


def read_once(folder: Folder) -> None:
    """Read all files, so that both jobs find them in the system's cache."""
    for name in folder.walk():
        try:
            read_facts(name, lambda: False)
        except UnreadableError:
            continue  # the jobs report it


def verdict(outcomes: Sequence[Outcome], pool_size: int) -> str | None:
    """Return what is wrong with mysqlpool's outcome, if anything is."""
    pooled = next(outcome for outcome in outcomes if outcome.engine == POOLED)
    if pooled.summary is None:
        return f"{POOLED} failed"
    if pooled.peak > pool_size or pooled.sampled_peak > pool_size:
        return f"the server saw more than {pool_size} sessions of {POOLED}"
    return None


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Index a folder on both engines and compare.")
    parser.add_argument("folder", nargs="?", type=folder, default=STANDARD_LIBRARY)
    parser.add_argument("--threads", type=positive, default=32, help="default: %(default)s")
    parser.add_argument("--pool-size", type=positive, default=5, help="default: %(default)s")
    return parser.parse_args()


def exit_on_signal(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def main() -> str | None:
    arguments = parse_arguments()
    if not os.environ.get("DATABASE_HOST"):
        return "demo: DATABASE_HOST is not set; run scripts/demo, which starts a private server"
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, exit_on_signal)
    console = Console(highlight=False)
    observer = Observer()
    console.print(
        f"Python {platform.python_version()}, Django {django.get_version()}, "
        f"server {observer.version}, folder {arguments.folder}",
        soft_wrap=True,
        markup=False,
    )
    read_once(arguments.folder)
    outcomes = []
    for engine in (STOCK, POOLED):
        console.print(f"{engine} ...")
        outcomes.append(run_job(observer, engine, arguments))
    observer.close()
    report(console, outcomes, arguments)
    return verdict(outcomes, arguments.pool_size)


if __name__ == "__main__":
    sys.exit(main())
