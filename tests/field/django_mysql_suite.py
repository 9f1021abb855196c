"""Run django-mysql's own tests on Django's MySQL engine and on ours, and compare.

``python -m tests.field.django_mysql_suite [--server NAME] [LABEL...]`` exits with 1 when a test
fails on ours that does not fail on Django's, or is skipped on ours only. It does so for both lease
modes. A label is a path, such as ``tests/testapp/test_cache.py``, or a node id in one.

Nearly all of the tests run in a transaction, where a session is not shared in either mode. So those
of what relies on a session are run once more without it, where each statement may have a lease of
its own.

3.11.1 is the last version whose source package holds the tests. They run on the django-mysql that
is installed; ``inside`` says how. A test that fails on Django's engine, too, is none of our
business: most of those are about what django-mysql, Django or the server have changed since then.
"""

# ruff: noqa: T201 - it is a command, which speaks by print.

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

from tests.django_suite import Engine, Outcome, differences, report
from tests.server import Server, add_server_option, server_from_environment_or_private
from tests.sources import ROOT, fetch

TESTS_OF = "3.11.1"
INSIDE = Path(__file__).parent / "inside"

_OURS = "mysqlpool.backends.mysqlpool"
DJANGOS = Engine("django.db.backends.mysql", {})
OURS = {mode: Engine(_OURS, {"pool": {"lease": mode}}) for mode in ("task", "transaction")}

# Node ids that may fail or be skipped on our engine only, by lease mode, each with the reason.
ALLOWED: Mapping[str, Mapping[str, str]] = {"task": {}, "transaction": {}}


@dataclass(frozen=True)
class Round:
    """Which tests to run on Django's engine and on ours, and whether outside of transactions."""

    labels: Sequence[str]
    outside_atomic: bool
    modes: Sequence[str]
    least: int = 0
    """With fewer tests that pass on Django's engine, the comparison would compare little."""

    def __str__(self) -> str:
        where = "without" if self.outside_atomic else "with"
        return f"django-mysql's tests {where} their transaction"


WHOLE = Round(["tests"], outside_atomic=False, modes=["task", "transaction"], least=500)
ALONE = Round(
    [
        f"tests/testapp/test_{name}.py"
        for name in ("cache", "listcharfield", "setcharfield", "locks", "status", "handler")
    ],
    outside_atomic=True,
    modes=["transaction"],
    least=150,
)


_CACHE = "tests/testapp/test_cache.py::MySQLCacheTests"
BY_THE_CLOCK = [
    f"{_CACHE}::test_{name}" for name in ("add_with_expired", "expiration", "touch_without_timeout")
]
"""Left out: they want two statements within 0.1 to 0.3 s, which a busy machine does not grant."""


def run_suite(source: Path, engine: Engine, round_: Round, server: Server) -> Outcome:
    """Run a round on one engine. RuntimeError when the run ended without a record."""
    with tempfile.TemporaryDirectory() as scratch:
        record = Path(scratch) / "record.json"
        environ = {
            **os.environ,
            **server.environ(),
            # Their folder comes first, as their tests are the package "tests" there.
            "PYTHONPATH": os.pathsep.join([str(source), str(INSIDE), str(ROOT)]),
            "DJANGO_SETTINGS_MODULE": "field_settings",
            "FIELD_ENGINE": engine.name,
            "FIELD_OPTIONS": json.dumps(engine.options),
            "FIELD_RECORD": str(record),
            "FIELD_OUTSIDE_ATOMIC": "1" if round_.outside_atomic else "",
        }
        # Their conftest is of an older pytest-django; it only words a report.
        options = ["--noconftest", "-c", os.devnull, "--rootdir", str(source)]
        options += ["-p", "no:cacheprovider", "-p", "field_record", "-W", "ignore"]
        options += [f"--deselect={id_}" for id_ in BY_THE_CLOCK]
        options += ["--tb=short", "--timeout=120", "--continue-on-collection-errors"]
        command = [sys.executable, "-m", "pytest", *options, *round_.labels]
        result = subprocess.run(
            command, cwd=source, env=environ, capture_output=True, text=True, check=False
        )
        if not record.exists():
            raise RuntimeError(f"{engine.name} did not finish:\n{result.stdout}\n{result.stderr}")
        return Outcome(**json.loads(record.read_text(encoding="utf-8")))


def compare(round_: Round, server: Server) -> int:
    """Run a round on Django's engine and on ours; the number of differences."""
    source = fetch("django-mysql", TESTS_OF, "field-source")
    print(f"{round_}, on django-mysql {version('django-mysql')}", flush=True)
    djangos = run_suite(source, DJANGOS, round_, server)
    print(f"{DJANGOS.name}: {djangos}", flush=True)
    passed = djangos.run - len(djangos.bad) - len(djangos.skipped)
    if passed < round_.least:
        raise RuntimeError(f"only {passed} tests passed on Django's engine:\n{djangos.bad}")
    count = 0
    for mode in round_.modes:
        ours = run_suite(source, OURS[mode], round_, server)
        print(f"{OURS[mode].name}, lease={mode}: {ours}", flush=True)
        worse = differences(djangos, ours, ALLOWED[mode])
        report(worse, [f"{round_}, lease={mode}"])
        count += len(worse)
    return count


def rounds(labels: Sequence[str]) -> list[Round]:
    """Both rounds, or both about the labels that were asked for."""
    both = [WHOLE, ALONE]
    return [replace(round_, labels=labels, least=0) for round_ in both] if labels else both


def main(arguments: Sequence[str]) -> int:
    """Run, compare, report; 0 when our engine does as well as Django's in both modes."""
    parser = argparse.ArgumentParser(prog="python -m tests.field.django_mysql_suite")
    parser.add_argument("labels", nargs="*", metavar="LABEL")
    add_server_option(parser)
    args = parser.parse_args(arguments)
    with server_from_environment_or_private(args.server) as server:
        print(f"on {server.version()}", flush=True)
        found = [compare(round_, server) for round_ in rounds(args.labels)]
    return 1 if any(found) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
