"""README.rst is true: each of its code blocks is run, and its tables are compared with the code."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

import demo
import pytest
from django.core.management import get_commands, load_command_class
from django.db import connection
from django.test import override_settings
from django.utils.module_loading import import_string
from sqlalchemy.pool import AssertionPool

import mysqlpool
from mysqlpool import PoolStats, logfile, release_connections, stats
from mysqlpool.logs import JSONLinesFormatter, log_event
from mysqlpool.rules import LOG_RULES, RULES, SESSION_DEFAULTS
from mysqlpool.settings import DEFAULT_POOL_CLASS, POOL_CLASSES, _keywords, parse_pool_settings
from mysqlpool.statements import Classifier
from tests.helpers import HANG, leased, session_id
from tests.rows.models import Row

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.rst").read_text(encoding="utf-8")


@dataclass(frozen=True)
class Block:
    """A block of README.rst; ``kind`` is its language, or what else it is."""

    section: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"line{self.line}"


def blocks_of(text: str) -> Iterator[Block]:
    """Yield whatever is shown as code, and every directive, in whatever way it was written."""
    lines = text.splitlines()
    section = ""
    for number, line in enumerate(lines):
        following = lines[number + 1] if number + 1 < len(lines) else ""
        if line and len(following) >= len(line) and re.fullmatch("=+|-+|~+", following):
            section = line
        if kind := _kind(line.strip()):
            yield Block(section, number + 1, kind, _body(lines, number))


def _kind(line: str) -> str | None:
    if match := re.match(r"\.\. ([\w-]+):: *(.*)", line):
        return match[2] if match[1] == "code-block" else f"directive {match[1]}"
    if line.endswith("::"):
        return "literal block"
    return "doctest" if line.startswith(">>>") else None


def _body(lines: list[str], start: int) -> str:
    indent = len(lines[start]) - len(lines[start].lstrip())
    body = []
    for line in lines[start + 1 :]:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        body.append(line)
    # As many lines as there are in the file before it, for the tracebacks.
    return "\n" * (start + 1) + textwrap.dedent("\n".join(body))


BLOCKS = list(blocks_of(TEXT))


def is_settings(block: Block) -> bool:
    """Whether a Python block does nothing but assign to names in capitals."""
    targets: list[ast.expr] = []
    for statement in ast.parse(block.text).body if block.kind == "python" else []:
        if not isinstance(statement, ast.Assign):
            return False
        targets += statement.targets
    return bool(targets) and all(ast.unparse(t).partition("[")[0].isupper() for t in targets)


SETTINGS = [block for block in BLOCKS if is_settings(block)]
CODE = [block for block in BLOCKS if block.kind == "python" and block not in SETTINGS]
COMMANDS = [line for b in BLOCKS if b.kind == "sh" for line in b.text.splitlines() if line]


def table(*headings: str) -> list[list[str]]:
    """The rows of the table whose first columns have these headings."""
    lines = TEXT.splitlines()
    pattern = "  +".join(map(re.escape, headings)) + r"\b"
    start = next(n for n, line in enumerate(lines) if re.match(pattern, line))
    border = lines[start - 1]
    assert re.fullmatch("=+(  =+)+", border), f"no table has the headings {headings}"
    starts = [match.start() for match in re.finditer("=+", border)]
    rows: list[list[str]] = []
    for line in lines[start + 2 : lines.index(border, start + 2)]:
        ends = [*starts[1:], len(line)]
        cells = [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [f"{a} {b}".strip() for a, b in zip(rows[-1], cells, strict=True)]
    return rows


def code(cell: str) -> str:
    match = re.fullmatch("``(.+)``", cell)
    assert match, f"{cell!r} is not set as code"
    return match[1]


# Blocks


def test_no_block_is_overlooked() -> None:
    assert {block.kind for block in BLOCKS} == {"python", "sh", "json"}
    assert len(BLOCKS) == TEXT.count("::\n\n ") + len(re.findall(r"^\s*\.\. [\w-]+::", TEXT, re.M))
    assert {block.section for block in CODE} == RESULTS.keys()


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("So::\n\n    x = 1\n", ["literal block"]),
        ("- So:\n\n  .. code-block:: ruby\n\n     x\n", ["ruby"]),
        (".. code:: python\n\n   x\n", ["directive code"]),
        (">>> x\n1\n", ["doctest"]),
        ("x::y and ``a::``\n", []),
    ],
)
def test_a_block_of_any_other_kind_is_seen_too(text: str, kinds: list[str]) -> None:
    assert [block.kind for block in blocks_of(text)] == kinds


PROJECT = """
from pathlib import Path
from django.db import connection
from django.http import HttpResponse
from django.urls import path

BASE_DIR = Path(__file__).parent
SECRET_KEY = "readme"
ALLOWED_HOSTS = ["testserver"]
INSTALLED_APPS = []
MIDDLEWARE = []
ROOT_URLCONF = __name__
DATABASES = {"default": {"ENGINE": "mysqlpool.backends.mysqlpool"}}

def page(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return HttpResponse(str(cursor.fetchone()[0]))

urlpatterns = [path("", page)]
"""
# Only the address is not the reader's.
ADDRESS = """
import os
for key in ("HOST", "PORT", "USER", "PASSWORD", "NAME"):
    DATABASES["default"][key] = os.environ["DATABASE_" + key]
"""
PROBE = """
import django, json
django.setup()
from django.conf import settings
from django.core.checks import run_checks
from django.db import connection
from django.test import Client
from mysqlpool import logs, registry

assert run_checks() == []
assert Client().get("/").content == b"1"

# The test client does not close connections: only the middleware releases, or the lease mode.
lease = registry.pools()["default"].settings.lease
assert (connection.connection is None) == bool(settings.MIDDLEWARE or lease == "transaction")

given = {
    **getattr(settings, "MYSQLPOOL_ARGUMENTS", {}),
    **settings.DATABASES["default"].get("OPTIONS", {}).get("pool", {}),
}
pool = registry.pools()["default"]
assert given.items() <= {**pool.settings.arguments, "lease": lease}.items()
name = getattr(settings, "MYSQLPOOL_BACKEND", type(pool.pool).__name__)
assert type(pool.pool).__name__ == name

log = getattr(settings, "MYSQLPOOL_LOG", None)
if log is not None:
    with open(log["filename"]) as lines:
        assert "session_opened" in [json.loads(line)["event"] for line in lines]
"""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("block", SETTINGS, ids=str)
def test_a_project_starts_with_these_settings_and_they_have_an_effect(
    block: Block, tmp_path: Path
) -> None:
    (tmp_path / "readme.py").write_text(PROJECT + block.text + ADDRESS)
    environ = {
        **os.environ,
        "DATABASE_NAME": str(connection.settings_dict["NAME"]),
        "DJANGO_SETTINGS_MODULE": "readme",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE],
        env=environ,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stderr


@dataclass(frozen=True)
class Result:
    """What the code of a section leaves: the texts of its rows, and a line that it prints."""

    rows: tuple[str, ...] = ()
    prints: str = ""


RESULTS = {
    "release_connections": Result(("one", "two")),
    "released": Result(("paid",)),
    "auto_close_db": Result(("async with", "decorated", "thread", "with")),
    "PooledThreadPoolExecutor": Result(
        ("asyncio", "one", "three", "two"), "['one', 'two', 'three']"
    ),
    "close_pool": Result(),
    "stats": Result(prints="default 0 of 5 in use"),
    "Forking": Result(("child",)),
    "Sizing": Result(),
}


@pytest.mark.django_db(transaction=True)
# Python 3.12 warns of any fork in a process with threads.
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("section", RESULTS)
def test_the_code_of_a_section_works_and_leaves_no_lease(
    section: str, observer: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    session_id()
    release_connections()
    namespace = run([block for block in CODE if block.section == section])
    assert leased() == []
    assert [pool.in_use for pool in stats().values()] == [0] * len(stats())
    if section == "close_pool":
        observer.until(lambda: not observer.sessions(str(connection.settings_dict["NAME"])))
    assert namespace.get("status", 0) == 0, "the child failed"
    assert tuple(sorted(Row.objects.values_list("text", flat=True))) == RESULTS[section].rows
    assert RESULTS[section].prints in ["", *capsys.readouterr().out.splitlines()]


def run(blocks: list[Block]) -> dict[str, Any]:
    """Run blocks one after the other, as if typed into a module; ``await`` may stand in them."""
    namespace: dict[str, Any] = {"__name__": "readme", "Row": Row}
    parent = os.getpid()
    try:
        for block in blocks:
            compiled = compile(
                block.text,
                "README.rst",
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
                dont_inherit=True,
            )
            function = FunctionType(compiled, namespace)
            if inspect.iscoroutinefunction(function):
                asyncio.run(function())
            else:
                function()
    finally:
        if os.getpid() != parent:
            os._exit(1)  # A forked child that failed must not go on with the tests.
    return namespace


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_exists_and_knows_its_arguments(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    match [word for word in shlex.split(command) if word != "sudo"]:
        case ["scripts/demo", *arguments]:
            assert os.access(ROOT / "scripts" / "demo", os.X_OK)
            monkeypatch.setattr(sys, "argv", ["demo.py", *arguments])
            demo.parse_arguments()
        case [script, *_] if script.startswith("scripts/"):
            assert os.access(ROOT / script, os.X_OK)
        case ["pip", "install", *what]:
            assert what[0] == "." or (what[0] == "-e" and extra(what[1]) in extras())
        case ["apt-get", "install", *packages]:
            assert set(packages) <= set((ROOT / "scripts" / "install").read_text().split())
        case ["python", "example/manage.py", name, *arguments]:
            assert (ROOT / "example" / "manage.py").is_file()
            load_command_class(get_commands()[name], name).create_parser("", name).parse_args(
                arguments
            )
        case _:
            pytest.fail(f"nobody knows how to test {command!r}")


def extra(requirement: str) -> str:
    match = re.fullmatch(r"\.\[(\w+)\]", requirement)
    assert match, f"{requirement!r} is not this project with an extra"
    return match[1]


def extras() -> list[str]:
    return re.findall(r'^        "(\w+)": ', (ROOT / "setup.py").read_text(), re.M)


def test_the_line_of_the_event_log_is_one_that_is_written(
    caplog: pytest.LogCaptureFixture,
) -> None:
    (block,) = (block for block in BLOCKS if block.kind == "json")
    shown = json.loads(block.text)
    logger, level = logging.getLogger(shown["logger"]), getattr(logging, shown["level"])
    with caplog.at_level(level, logger.name):
        log_event(logger, level, shown["event"], shown["alias"], **shown["fields"])
    written = json.loads(JSONLinesFormatter().format(caplog.records[-1]))
    assert list(written) == list(shown)
    assert re.sub(r"\d", "0", written["time"]) == re.sub(r"\d", "0", shown["time"])
    for own in ("time", "pid", "thread"):
        written[own] = shown[own]
    assert written == shown


# Tables


LETTERS = {
    "F": "FairQueuePool",
    "Q": "QueuePool",
    "N": "NullPool",
    "T": "StaticPool",
    "S": "SingletonThreadPool",
    "A": "AssertionPool",
}
KEYWORDS = {name: _keywords(import_string(path)) for name, path in POOL_CLASSES.items()}
CONFIGURATION = {code(row[0]): row[1:] for row in table("Key", "Classes")}


def test_the_configuration_table_has_every_key_and_no_other() -> None:
    assert CONFIGURATION.keys() == {"class", *SESSION_DEFAULTS}.union(*KEYWORDS.values())
    assert KEYWORDS.keys() == set(LETTERS.values())


@pytest.mark.parametrize("key", CONFIGURATION)
def test_a_key_has_the_classes_the_default_and_the_unit_of_the_table(key: str) -> None:
    classes, default, unit, _ = CONFIGURATION[key]
    known = [letter for letter, name in LETTERS.items() if key in KEYWORDS[name]]
    if key == "class" or key in SESSION_DEFAULTS:
        known = list(LETTERS)
    assert classes == ("all" if len(known) == len(LETTERS) else " ".join(known))
    if key == "logging_name":
        assert default == "the alias"
    else:
        assert ast.literal_eval(code(default)) == default_of(key)
    if key in RULES:
        rule = RULES[key].text
        assert (unit == "seconds") == ("seconds" in rule)
        assert (unit in ("sessions", "waiters")) == ("integer" in rule)


def default_of(key: str) -> Any:
    if key == "class":
        return DEFAULT_POOL_CLASS
    if key == "store_traceback":  # Which is in no signature.
        return AssertionPool(object)._store_traceback
    with override_settings(MYSQLPOOL_ARGUMENTS={}):
        parsed = parse_pool_settings("default", {})
    known = {**parsed.arguments, **{name: getattr(parsed, name) for name in SESSION_DEFAULTS}}
    value = known[key] if key in known else in_signature(parsed.pool_class, key)
    # For SQLAlchemy None is the same as False here.
    return False if (key, value) == ("echo", None) else RULES[key].convert(value)


def in_signature(pool_class: type, key: str) -> Any:
    for base in pool_class.__mro__:
        parameters = inspect.signature(vars(base).get("__init__", object)).parameters
        if key in parameters:
            return parameters[key].default
    raise AssertionError(f"{pool_class.__name__} does not know {key!r}")


@pytest.mark.django_db(transaction=True)
def test_the_pools_name_is_the_alias() -> None:
    from mysqlpool import registry

    session_id("default")
    pool: Any = registry.pools()["default"].pool
    assert pool.logging_name == "default"


def test_the_table_of_classes_has_each_class() -> None:
    assert [code(row[0]) for row in table("``class``", "What")] == list(POOL_CLASSES)


def test_the_table_of_statistics_has_each_attribute() -> None:
    fields = [field.name for field in dataclasses.fields(PoolStats)]
    assert [code(row[0]) for row in table("Attribute", "Meaning")] == fields


def test_the_table_of_the_event_log_has_each_key_and_its_default() -> None:
    rows = {code(row[0]): row[1] for row in table("Key", "Default")}
    defaults = {key: ast.literal_eval(code(cell)) for key, cell in rows.items() if cell}
    assert defaults == logfile.DEFAULTS
    assert rows.keys() == LOG_RULES.keys()


def test_the_table_of_events_has_each_event_that_is_logged() -> None:
    assert {code(row[0]) for row in table("Event", "What")} == set(logged_events())


def logged_events() -> Iterator[str]:
    """The names of events in the library's source."""
    for path in (ROOT / "mysqlpool").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("log_event", "_warn")
            ):
                names = [a.value for a in node.args if isinstance(a, ast.Constant)]
                yield from (name for name in names if isinstance(name, str))


@pytest.mark.parametrize(("statement", "state"), table("Statement", "Session"))
def test_a_statement_leaves_the_session_as_the_table_tells(statement: str, state: str) -> None:
    effect = Classifier().effect(code(statement).encode())
    found = "dirty" if effect.dirty else "in transaction" if effect.transaction else "clean"
    assert found == state


# Words


def test_the_versions_are_those_of_the_metadata() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    python = re.findall(r"Python :: (3\.\d+)", setup)
    *django, last = re.findall(r"Django :: (\d\.\d)", setup)
    (mysqlclient,) = re.findall(r"mysqlclient>=([\d.]+)", setup)
    words = " ".join(TEXT.split())
    assert f"Python {python[0]} to {python[-1]}, Django {', '.join(django)} or {last}" in words
    assert f"mysqlclient {mysqlclient} or newer" in words
    assert set(re.findall(r"mysqlpool[ =]+(\d+\.[\d.]+\d)", words)) <= {mysqlpool.__version__}


def test_every_path_that_is_named_exists() -> None:
    named = set(re.findall(r"``((?:example|scripts|tests|mysqlpool)/[\w/.]*)``", TEXT))
    named |= set(re.findall(r"``(\w+\.rst)``", TEXT))
    assert named, "the README names no path"
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_name_of_the_package_exists() -> None:
    for name in mysqlpool.__all__:
        assert name in TEXT or name == "PoolStats"
    for dotted in re.findall(r"``(mysqlpool\.(?:errors|middleware)\.\w+)``", TEXT):
        import_string(dotted)
