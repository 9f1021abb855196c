"""Run Django's own tests on Django's MySQL engine and on ours, and compare.

``python -m tests.django_suite [--server NAME] [--lease MODE | --gis] [LABEL...]`` takes the tests
from the source package of the installed Django, runs the labels on both engines against one server,
and exits with 1 when a test fails on ours that does not fail on Django's, or is skipped on ours
only. ``--gis`` compares the two GeoDjango engines instead. DJANGO_SUITE_POOL holds more of
OPTIONS["pool"], as JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import django

from tests.server import Server, add_server_option, server_from_environment_or_private
from tests.sources import ROOT, fetch

LABELS = {
    "task": (
        *("backends", "transactions", "basic", "transaction_hooks", "select_for_update"),
        *("raw_query", "fixtures"),
    ),
    "transaction": (
        *("backends", "basic", "transactions", "transaction_hooks", "select_for_update"),
        *("get_or_create", "test_utils", "async", "delete", "fixtures", "introspection"),
        *("queries", "lookup", "bulk_create", "raw_query", "aggregation", "expressions"),
        *("model_forms", "admin_views"),
    ),
}
GIS_LABELS = ("gis_tests",)

# Test ids that may fail or be skipped on our engine only, by lease mode, each with the reason.
_BETWEEN_STATEMENTS = "looks at connection.connection, which is None between two statements"
_HEALTH_CHECKS = "backends.base.test_base.ConnectionHealthChecksTests"
_THREADS = "backends.tests.ThreadTests"
ALLOWED: dict[str, dict[str, str]] = {
    "task": {},
    "transaction": {
        f"{_HEALTH_CHECKS}.test_health_checks_enabled": _BETWEEN_STATEMENTS,
        f"{_HEALTH_CHECKS}.test_set_autocommit_health_checks_enabled": _BETWEEN_STATEMENTS,
        "test_utils.tests.AssertNumQueriesUponConnectionTests"
        ".test_ignores_connection_configuration_queries": _BETWEEN_STATEMENTS,
        f"{_THREADS}.test_default_connection_thread_local": _BETWEEN_STATEMENTS,
    },
}


@dataclass(frozen=True)
class Engine:
    """What to run the suite on."""

    name: str
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """How the suite ended on one engine: test ids with tracebacks, and with reasons to skip."""

    run: int
    bad: Mapping[str, str]
    skipped: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.run} tests, {len(self.bad)} failed, {len(self.skipped)} skipped"


def fetch_source(version: str) -> Path:
    """The unpacked source package of a Django version, downloaded by pip once."""
    return fetch("Django", version, "django-source")


def run_suite(source: Path, engine: Engine, labels: Sequence[str], server: Server) -> Outcome:
    """Run the labels on one engine. RuntimeError when the run ended without a record."""
    with tempfile.TemporaryDirectory() as scratch:
        record = Path(scratch) / "record.json"
        environ = {
            **os.environ,
            **server.environ(),
            "PYTHONPATH": str(ROOT),
            "DJANGO_SUITE_ENGINE": engine.name,
            "DJANGO_SUITE_OPTIONS": json.dumps(engine.options),
            "DJANGO_SUITE_RECORD": str(record),
        }
        settings = "--settings=tests.django_suite_settings"
        command = [sys.executable, "runtests.py", settings, "--parallel=1", "--noinput", *labels]
        result = subprocess.run(
            command, cwd=source / "tests", env=environ, capture_output=True, text=True, check=False
        )
        if not record.exists():
            raise RuntimeError(f"{engine.name} did not finish:\n{result.stdout}\n{result.stderr}")
        return Outcome(**json.loads(record.read_text(encoding="utf-8")))


def differences(
    django_outcome: Outcome, ours: Outcome, allowed: Mapping[str, str]
) -> dict[str, str]:
    """Test ids whose end on our engine is worse than on Django's, with what was seen."""
    worse = {
        **{id_: why for id_, why in ours.bad.items() if id_ not in django_outcome.bad},
        **{
            id_: f"skipped: {why}"
            for id_, why in ours.skipped.items()
            if id_ not in django_outcome.skipped
        },
    }
    if ours.run != django_outcome.run:
        worse["number of tests"] = f"{ours.run} instead of {django_outcome.run}"
    return {id_: why for id_, why in worse.items() if id_ not in allowed}


def engines(gis: bool, lease: str) -> tuple[Engine, Engine]:
    """Django's engine and ours, the latter with the pool options of the environment."""
    options = {"pool": {"lease": lease, **json.loads(os.environ.get("DJANGO_SUITE_POOL", "{}"))}}
    if gis:
        return (
            Engine("django.contrib.gis.db.backends.mysql", {}),
            Engine("mysqlpool.backends.gis", options),
        )
    return (
        Engine("django.db.backends.mysql", {}),
        Engine("mysqlpool.backends.mysqlpool", options),
    )


def report(worse: Mapping[str, str], labels: Sequence[str]) -> None:
    for id_, why in worse.items():
        print(f"\n{id_}\n{why}")
    print(f"\n{len(worse)} differences in {' '.join(labels)}")


def main(arguments: Sequence[str]) -> int:
    """Run, compare, report; 0 when our engine does as well as Django's."""
    parser = argparse.ArgumentParser(prog="python -m tests.django_suite")
    parser.add_argument("labels", nargs="*", metavar="LABEL")
    parser.add_argument("--gis", action="store_true", help="compare the GeoDjango engines")
    parser.add_argument("--lease", choices=LABELS, default="task", help="our lease mode")
    add_server_option(parser)
    args = parser.parse_args(arguments)
    labels = args.labels or (GIS_LABELS if args.gis else LABELS[args.lease])
    source = fetch_source(django.__version__)
    outcomes = []
    with server_from_environment_or_private(args.server) as server:
        print(f"on {server.version()}", flush=True)
        for engine in engines(args.gis, args.lease):
            outcome = run_suite(source, engine, labels, server)
            print(f"Django {django.__version__} on {engine.name}: {outcome}", flush=True)
            outcomes.append(outcome)
    django_outcome, ours = outcomes
    worse = differences(django_outcome, ours, ALLOWED[args.lease])
    report(worse, labels)
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
