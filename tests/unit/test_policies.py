"""docs/policies.rst is true: public names are the code's, and versions those that are tested."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import re
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django import VERSION
from django.db.backends.mysql.features import DatabaseFeatures

import mysqlpool
from mysqlpool.checks.findings import TESTED
from mysqlpool.conf.rules import LOG_RULES, SESSION_DEFAULTS
from tests.documents import TEXTS, blocks_of, table
from tests.helpers import ROOT
from tests.unit.test_documents import KEYWORDS, extras
from tests.unit.test_events_page import logged

TEXT = (ROOT / "docs" / "policies.rst").read_text(encoding="utf-8")
CHECKS = (ROOT / "docs" / "checks.rst").read_text(encoding="utf-8")
README = (ROOT / "README.rst").read_text(encoding="utf-8")
SETUP = (ROOT / "setup.py").read_text(encoding="utf-8")
TOX = (ROOT / "tox.ini").read_text(encoding="utf-8")
LIBRARY = Path(mysqlpool.__file__).parent


def names(text: str) -> set[str]:
    return set(re.findall(r"``([^`]+)``", text))


def sentence(start: str) -> set[str]:
    """The names in what follows these words, up to the end of the sentence."""
    match = re.search(rf"{re.escape(start)}\s+((?:``[^`]+``\s*)+)\.", TEXT)
    assert match, f"docs/policies.rst has no list that begins with {start!r}"
    return names(match[1])


# Public names

MODULES = {row[0].strip("`"): names(row[1]) for row in table("Module", "Names")}

# Doors whose names `mysqlpool` itself exports, and those that nobody imports.
EXPORTED = {"executor", "release", "scopes", "stats"}
FOR_DJANGO = {"apps", "checks", "stats_log"}
# What else they export is for this library.
PARTLY_PUBLIC = ("mysqlpool", "mysqlpool.pool", "mysqlpool.events.log")
# What mysqlpool.urls is the door to.
BEHIND_A_DOOR = {"status"}
# Rooms that integrations share.
INNER = {"growth", "opentelemetry_metrics", "redaction"}


@pytest.mark.parametrize("module", MODULES)
def test_each_public_name_can_be_imported(module: str) -> None:
    found = importlib.import_module(module)
    assert [name for name in MODULES[module] if not hasattr(found, name)] == []


def shown() -> set[tuple[str, str]]:
    """The names of this library in the code of README.rst and docs/, each with its module."""
    found: set[tuple[str, str]] = set()
    for document, text in TEXTS.items():
        for block in blocks_of(text, document):
            if block.kind == "python":
                found |= {
                    (node.module or "", alias.name)
                    for node in ast.walk(ast.parse(textwrap.dedent(block.text)))
                    if isinstance(node, ast.ImportFrom)
                    for alias in node.names
                }
                dotted = re.findall(r'"(mysqlpool(?:\.\w+)*)\.([A-Z]\w+)"', block.text)
                found |= set(dotted)
    return {(module, name) for module, name in found if module.partition(".")[0] == "mysqlpool"}


def test_what_the_documentation_has_people_import_is_public() -> None:
    assert len(shown()) > 15
    public = {(module, name) for module, names_of in MODULES.items() for name in names_of}
    engines = {("mysqlpool.backends.mysqlpool", "base")}  # A sentence says so.
    assert shown() - public - engines == set()


def test_whatever_a_door_exports_is_in_the_list() -> None:
    assert MODULES["mysqlpool"] == {*mysqlpool.__all__, "__version__"}
    for name, listed in MODULES.items():
        exported = getattr(importlib.import_module(name), "__all__", None)
        if exported is not None and name not in PARTLY_PUBLIC:
            assert listed == set(exported), f"docs/policies.rst tells other names of {name}"


def test_no_door_and_no_integration_is_overlooked() -> None:
    doors = {f"mysqlpool.{path.stem}" for path in LIBRARY.glob("*.py")} - {"mysqlpool.__init__"}
    doors -= {f"mysqlpool.{name}" for name in EXPORTED | FOR_DJANGO}
    contrib = LIBRARY / "contrib"
    rooms = {path.stem for path in contrib.glob("[!_]*.py")}
    assert rooms > INNER
    doors |= {f"mysqlpool.contrib.{name}" for name in rooms - INNER}
    packages = {path.parent.name for path in contrib.glob("*/__init__.py")} - BEHIND_A_DOOR
    doors |= {f"mysqlpool.contrib.{name}" for name in packages}
    assert doors - MODULES.keys() == set(), "docs/policies.rst lacks them, in the table of modules"


def test_the_statistics_are_listed() -> None:
    fields = {field.name for field in dataclasses.fields(mysqlpool.PoolStats)}
    derived = {name for name in vars(mysqlpool.PoolStats) if not name.startswith("_")}
    assert sentence("Those of ``PoolStats`` are") == fields | derived


def test_the_settings_are_listed() -> None:
    keys = sentence('The keys of ``OPTIONS["pool"]`` and of ``MYSQLPOOL_ARGUMENTS``:')
    assert keys == {"class", *SESSION_DEFAULTS}.union(*KEYWORDS.values())
    assert sentence("The keys of ``MYSQLPOOL_LOG``:") == LOG_RULES.keys()


def test_the_settings_of_djangos_are_listed() -> None:
    read = set(re.findall(r'settings(?:\.|, ")(MYSQLPOOL_\w+)', sources()))
    assert sentence("The settings of Django's:") == read


def test_the_loggers_and_events_are_listed() -> None:
    events = {event.name for event in logged()}
    loggers = set(re.findall(r'getLogger\("(mysqlpool[\w.]*)"\)', sources()))
    assert sentence("The loggers:") == loggers
    assert sentence("The events, of which a line may get further fields:") == events


def test_the_ids_of_checks_are_listed() -> None:
    used = set(re.findall(r'"(mysqlpool\.[CDEIW]\d{3})"', sources()))
    listed = sentence(
        "The IDs of the system checks, none of which is ever used for something else:"
    )
    assert listed == used


def sources() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in LIBRARY.rglob("*.py"))


# What is supported

PAIRS = {
    (python, django)
    for django, pythons, _ in table("Django", "Python")
    for python in pythons.split(", ")
}
PYTHONS = {python for python, _ in PAIRS}
DJANGOS = {django for _, django in PAIRS}
SERVERS = {
    (server, series): djangos.split(", ")
    for server, series, djangos, _ in table("Server", "Series", "Django")
}
SERIES = SERVERS.keys()
PACKAGES = {row[0]: row[1].split(", ") for row in table("Package", "Versions")}


def dotted(digits: str) -> str:
    return f"{digits[0]}.{digits[1:]}"


def test_the_classifiers_name_what_is_supported() -> None:
    assert set(re.findall(r"Python :: (3\.\d+)", SETUP)) == PYTHONS
    assert set(re.findall(r"Django :: ([\d.]+)", SETUP)) == DJANGOS


def test_the_oldest_are_what_pip_demands() -> None:
    demanded = dict(re.findall(r'"([\w-]+)>=([\d.]+)",?$', SETUP, re.MULTILINE))
    assert re.findall(r'python_requires=">=([\d.]+)"', SETUP) == [oldest(PYTHONS)]
    assert demanded["Django"] == oldest(DJANGOS)
    for name in ("SQLAlchemy", "mysqlclient"):
        assert demanded[name] == PACKAGES[name][0]


def oldest(versions: set[str]) -> str:
    return min(versions, key=lambda version: [int(part) for part in version.split(".")])


def test_each_pair_is_an_environment_of_tox_and_no_other_is() -> None:
    found = re.findall(r"^    py(3\d+)-django(\d+)(-sqla\d+)?$", TOX, re.MULTILINE)
    assert {(dotted(python), dotted(django)) for python, django, _ in found} == PAIRS
    toolkits = set(re.findall(r"SQLAlchemy>=(\d\.\d),<", TOX))
    assert toolkits == set(PACKAGES["SQLAlchemy"])


@pytest.mark.parametrize(("server", "series"), SERIES)
def test_a_server_is_supported_with_each_django_that_takes_it_and_no_other(
    server: str, series: str
) -> None:
    """By the Django that is here. tox has each of them."""
    asked = SimpleNamespace(connection=SimpleNamespace(mysql_is_mariadb=server == "MariaDB"))
    of_features: Any = vars(DatabaseFeatures)["minimum_database_version"]
    oldest_taken = of_features.func(asked)
    version = tuple(map(int, series.split(".")))
    takes_it = version >= oldest_taken[: len(version)]
    assert ("{}.{}".format(*VERSION) in SERVERS[server, series]) == takes_it


def test_a_server_that_is_supported_by_no_django_is_not_listed() -> None:
    for djangos in SERVERS.values():
        assert djangos == sorted(DJANGOS)[: len(djangos)]
        assert djangos


@pytest.mark.parametrize(("server", "series"), SERIES)
def test_nobody_is_warned_of_a_server_that_is_supported(server: str, series: str) -> None:
    first, last = TESTED[server]
    version = tuple(map(int, series.split(".")))
    assert first[: len(version)] <= version <= last[: len(version)]
    described = re.findall(r"(MariaDB|MySQL) ([\d.]+) to ([\d.]+\d)", CHECKS)
    assert {name: (a, b) for name, a, b in described}[server] == (
        ".".join(map(str, first)),
        ".".join(map(str, last)),
    )


def test_the_readme_names_the_same_versions() -> None:
    text = " ".join(README.split())
    first, last = re.findall(r"Python (3\.\d+) to (3\.\d+)", text)[0]
    minors = range(int(first[2:]), int(last[2:]) + 1)
    assert {f"3.{minor}" for minor in minors} == PYTHONS
    (djangos,) = re.findall(r"Django ([\d., or]+), SQLAlchemy", text)
    (toolkits,) = re.findall(r"SQLAlchemy ([\d., or]+),? and mysqlclient", text)
    assert set(re.findall(r"\d+\.\d+", djangos)) == DJANGOS
    assert re.findall(r"\d+\.\d+", toolkits) == PACKAGES["SQLAlchemy"]
    assert re.findall(r"mysqlclient ([\d.]*\d)", text)[0] == PACKAGES["mysqlclient"][0]


def test_what_the_suite_was_run_on_is_supported() -> None:
    tested = (ROOT / "docs" / "tested.rst").read_text(encoding="utf-8")
    runs = re.findall(r"^(MariaDB|MySQL) (\d+\.\d+)\.\d+.*?  (3\.\d+)\.\d+ +(\d\.\d)", tested, re.M)
    assert len(runs) > 10
    for server, series, python, django in runs:
        assert {(server, series), (server, series.partition(".")[0])} & SERIES
        assert (python, django) in PAIRS


def test_readthedocs_installs_an_extra_that_there_is() -> None:
    settings = ROOT / ".readthedocs.yaml"
    if not settings.exists():
        pytest.skip("an sdist has no .readthedocs.yaml")
    (extra,) = re.findall(r"extra_requirements:\n +- (\w+)", settings.read_text(encoding="utf-8"))
    assert extra in extras()
