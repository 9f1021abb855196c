"""The house: what each room may import, and that the picture in CONTRIBUTING.rst is true.

Every import counts, wherever it stands: one under TYPE_CHECKING or in a function ties two rooms as
one at the top does. A class that is named in a string (``OPTIONS["pool"]["class"]``) is not an
import: any class may be named there.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mysqlpool
from tests.documents import rows_of

LIBRARY = Path(mysqlpool.__file__).parent
CONTRIBUTING = LIBRARY.parent / "CONTRIBUTING.rst"


@dataclass(frozen=True)
class Wing:
    """What one wing, or one door, may import.

    ``house`` names wings, or single rooms, of this library, all of which stand further down in
    `HOUSE`; ``packages`` names others' packages, or parts of them.
    """

    house: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()


# From the top of the house to its bottom.
HOUSE: Mapping[str, Wing] = {
    "__init__": Wing(
        ("contrib.database_url", "stats", "executor", "scopes", "release", "aliases.registry")
    ),
    "urls": Wing(("contrib.status", "conf.visitors"), ("django.urls",)),
    "apps": Wing(("checks", "stats_log", "events.file"), ("django",)),
    "management": Wing(
        (
            *("checks", "stats", "aliases.registry", "scopes", "events.machine"),
            *("events.reading", "conf"),
        ),
        ("django", "rich", "sqlalchemy.pool", "MySQLdb"),
    ),
    "checks": Wing(
        ("backends", "release", "pool", "session", "conf"), ("django", "sqlalchemy", "MySQLdb")
    ),
    "contrib": Wing(
        (
            *("stats", "backends", "release", "pool", "scopes", "events.reading", "conf"),
            *("errors", "aliases.registry", "aliases.ticker"),
        ),
        (
            *("django", "MySQLdb", "opentelemetry", "prometheus_client", "dj_database_url"),
            *("environ", "debug_toolbar", "health_check"),
        ),
    ),
    "stats_log": Wing(("stats", "aliases.ticker", "events.log", "events.machine")),
    "stats": Wing(("aliases.registry", "pool.times", "errors")),
    "backends": Wing(("aliases", "pool", "session", "conf"), ("django", "MySQLdb")),
    "aliases": Wing(
        ("scopes", "release", "pool", "session", "events.log", "conf", "errors"),
        ("django.core.exceptions", "django.db", "sqlalchemy", "MySQLdb"),
    ),
    "executor": Wing(("scopes",)),
    "scopes": Wing(("release",), ("asgiref", "django.core.signals", "django.db")),
    "middleware": Wing(("release",), ("asgiref", "django.http")),
    "release": Wing(("events.log",), ("django.db", "django.utils.connection")),
    "pool": Wing(("events.log", "errors"), ("sqlalchemy",)),
    "session": Wing(("errors",), ("django.db", "sqlalchemy", "MySQLdb")),
    "events": Wing(("conf",), ("django", "concurrent_log_handler")),
    "conf": Wing((), ("django", "sqlalchemy")),
    "errors": Wing((), ("django.db", "sqlalchemy")),
}

# They decide when a lease ends, for connections of every engine.
DOORS_WITHOUT_POOLS = ("release", "scopes", "executor", "middleware")

# They stand in users' LOGGING, so a module that moves goes on logging under its old name.
LOGGERS = {"mysqlpool.pool", "mysqlpool.session", "mysqlpool.release", "mysqlpool.log"}


def module_name(path: Path) -> str:
    """``pool.slots`` for mysqlpool/pool/slots.py, ``pool`` for mysqlpool/pool/__init__.py."""
    parts = path.relative_to(LIBRARY).with_suffix("").parts
    if len(parts) > 1 and parts[-1] == "__init__":
        parts = parts[:-1]
    return ".".join(parts)


SOURCES = {
    module_name(path): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(LIBRARY.rglob("*.py"))
}
PACKAGES = {module_name(path) for path in LIBRARY.rglob("__init__.py")}
ROOMS = SOURCES.keys() - (PACKAGES - {"__init__"})


def wing_of(module: str) -> str:
    return module.partition(".")[0]


def imported(module: str) -> Iterator[str]:
    """Absolute names of what a module imports: modules of this library, and whatever else."""
    package = f"mysqlpool.{module}" if module != "__init__" else "mysqlpool"
    if module not in PACKAGES:
        package = package.rpartition(".")[0]
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            around = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join([*around, *([node.module] if node.module else [])])
            for name in node.names:
                whole = f"{base}.{name.name}"
                yield whole if whole.removeprefix("mysqlpool.") in SOURCES else base


def rooms_used(module: str) -> set[str]:
    """The modules of this library that a module imports, by their names in it."""
    own = (name for name in imported(module) if name.partition(".")[0] == "mysqlpool")
    return {name.partition(".")[2] or "__init__" for name in own}


def packages_used(module: str) -> set[str]:
    """What else a module imports and Python does not bring itself."""
    known = sys.stdlib_module_names | {"mysqlpool"}
    return {name for name in imported(module) if name.partition(".")[0] not in known}


def reached(module: str) -> set[str]:
    """The modules that a module imports, itself or by others."""
    found: set[str] = set()
    ahead = [module]
    while ahead:
        new = rooms_used(ahead.pop()) - found
        found |= new
        ahead += new
    return found


def covers(allowed: str, name: str) -> bool:
    return name == allowed or name.startswith(f"{allowed}.")


def beyond(names: Iterable[str], allowed: Iterable[str]) -> set[str]:
    """The names that nothing allowed covers."""
    return {name for name in names if not any(covers(one, name) for one in allowed)}


# Directions


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter({module: rooms_used(module) for module in SOURCES}).prepare()
    except CycleError as error:
        pytest.fail(f"a circle: {' <- '.join(error.args[1])}")


def test_every_import_of_this_library_is_of_a_module_that_exists() -> None:
    for module in SOURCES:
        assert rooms_used(module) <= SOURCES.keys(), module


def test_every_wing_and_door_has_its_place_in_the_house() -> None:
    assert HOUSE.keys() == {wing_of(module) for module in SOURCES}


@pytest.mark.parametrize("wing", HOUSE)
def test_a_wing_may_import_only_what_stands_below_it(wing: str) -> None:
    order = list(HOUSE)
    below = order[order.index(wing) + 1 :]
    assert {wing_of(name) for name in HOUSE[wing].house} <= set(below)


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_nothing_that_its_wing_may_not(module: str) -> None:
    wing = wing_of(module)
    assert not beyond(rooms_used(module), (wing, *HOUSE[wing].house))
    assert not beyond(packages_used(module), HOUSE[wing].packages)


@pytest.mark.parametrize("wing", HOUSE)
def test_nothing_is_allowed_that_no_module_needs(wing: str) -> None:
    rooms: set[str] = set()
    packages: set[str] = set()
    for module in SOURCES:
        if wing_of(module) == wing:
            rooms |= rooms_used(module)
            packages |= packages_used(module)
    for allowed in HOUSE[wing].house:
        assert any(covers(allowed, room) for room in rooms), allowed
    for allowed in HOUSE[wing].packages:
        assert any(covers(allowed, package) for package in packages), allowed


def test_the_pool_knows_neither_django_nor_the_driver_nor_another_wing() -> None:
    inside = {module for module in SOURCES if wing_of(module) == "pool"}
    packages = set().union(*(packages_used(module) for module in inside))
    assert {name.partition(".")[0] for name in packages} == {"sqlalchemy"}
    # The errors are subclasses of Django's, which the errors' users catch.
    around = set().union(*(reached(module) for module in inside)) - inside
    assert around == {"errors", "events.log", "events.machine"}


@pytest.mark.parametrize("door", DOORS_WITHOUT_POOLS)
def test_the_doors_that_end_leases_know_no_pools(door: str) -> None:
    assert reached(door) <= {*DOORS_WITHOUT_POOLS, "events.log", "events.machine"}
    for module in {door} | reached(door):
        assert not beyond(packages_used(module), ("asgiref", "django"))


# The picture in CONTRIBUTING.rst


@dataclass(frozen=True)
class Row:
    wing: str
    job: str
    rooms: tuple[str, ...]
    house: tuple[str, ...]


def picture() -> list[Row]:
    """The rows of the table under the heading "Rooms"."""
    text = CONTRIBUTING.read_text(encoding="utf-8")
    lines = re.split(r"\nRooms\n-+\n", text)[1].splitlines()
    first, heading, last = [n for n, line in enumerate(lines) if re.match("=+ +=", line)][:3]
    assert heading == first + 2, "the headings of the table are one line"
    rows = rows_of(lines[first], lines[heading + 1 : last])
    return [Row(names(wing)[0].rstrip("/"), job, names(a), names(b)) for wing, job, a, b in rows]


def names(cell: str) -> tuple[str, ...]:
    return tuple(re.findall("``([^`]+)``", cell))


def test_the_picture_has_the_wings_of_the_house_and_what_each_may_import() -> None:
    shown = [(row.wing, row.house) for row in picture()]
    assert shown == [(wing, HOUSE[wing].house) for wing in HOUSE]


def test_the_picture_names_every_module_once_and_no_other() -> None:
    shown = [room for row in picture() for room in rooms_shown(row)]
    assert sorted(shown) == sorted(ROOMS)


def rooms_shown(row: Row) -> list[str]:
    """The modules that a row stands for: those that it names, or the one that it is."""
    return [f"{row.wing}.{room}" for room in row.rooms] or [row.wing]


@pytest.mark.parametrize("row", picture(), ids=lambda row: row.wing)
def test_in_the_picture_a_module_imports_only_what_stands_after_it_in_its_wing(row: Row) -> None:
    order = rooms_shown(row)
    for place, module in enumerate(order):
        assert not rooms_used(module) & set(order[: place + 1]), module


@pytest.mark.parametrize("row", picture(), ids=lambda row: row.wing)
def test_the_picture_tells_the_job_of_a_wing_in_one_sentence(row: Row) -> None:
    assert re.fullmatch(r"[A-Z`][^.]*(\.\w[^.]*)*\.", row.job), row.job


def test_the_drawing_has_the_wings_in_the_same_order() -> None:
    text = (LIBRARY.parent / "docs" / "pictures" / "house.svg").read_text(encoding="utf-8")
    drawn = re.findall(r'class="w" x="[\d.]+" y="(\d+)">(\w+)<', text)
    assert [name for _, name in drawn] == list(HOUSE)
    heights = [int(height) for height, _ in drawn]
    assert heights == sorted(heights)


# Logger names


@pytest.mark.parametrize("module", SOURCES)
def test_a_move_of_a_module_cannot_change_the_name_of_its_logger(module: str) -> None:
    for node in ast.walk(SOURCES[module]):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("getLogger"):
            (name,) = node.args
            assert isinstance(name, ast.Constant), f"{module} computes the name of its logger"
            assert name.value in LOGGERS
