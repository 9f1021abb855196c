"""README.rst and docs/ are true: their settings make a project, and their code runs."""

from __future__ import annotations

import ast
import asyncio
import inspect
import os
import subprocess
import sys
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest
from django.db import connection

from mysqlpool import release_connections, stats
from tests.documents import (
    CODE,
    RESULTS,
    SETTINGS,
    Block,
)
from tests.helpers import HANG, ROOT, leased, session_id
from tests.rows.models import Row

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
import dataclasses, django, json
django.setup()
from django.conf import settings
from django.core.checks import run_checks
from django.db import connection
from django.test import Client
from mysqlpool.aliases import registry
from mysqlpool.events import log as logs

def vars_of(settings):
    return {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}

assert run_checks() == []
assert Client().get("/").content == b"1"

# The test client does not close connections: only the middleware releases, or the lease mode.
lease = registry.pools()["default"].settings.lease
assert (connection.connection is None) == bool(settings.MIDDLEWARE or lease == "transaction")

assert settings.DATABASES["default"]["ENGINE"] == "mysqlpool.backends.mysqlpool"
given = {
    **getattr(settings, "MYSQLPOOL_ARGUMENTS", {}),
    **settings.DATABASES["default"].get("OPTIONS", {}).get("pool", {}),
}
pool = registry.pools()["default"]
assert given.items() <= {**pool.settings.arguments, **vars_of(pool.settings)}.items()
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
    scheme = "mysqlpool" if "register_url_scheme" in block.text else "mysql"
    environ = {
        **os.environ,
        # Only the scheme of it counts, see ADDRESS.
        "DATABASE_URL": f"{scheme}://shop:secret@db.example.com/shop",
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
                block.document,
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


@pytest.mark.django_db(transaction=True)
def test_the_pools_name_is_the_alias() -> None:
    from mysqlpool.aliases import registry

    session_id("default")
    pool: Any = registry.pools()["default"].pool
    assert pool.logging_name == "default"
