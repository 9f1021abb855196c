"""Runs ``manage.py mysqlpool`` in this process, and in one of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from django.core.management import CommandError, call_command
from django.db import connection

from tests.helpers import ROOT

# The settings of the tests, with the test databases in the place of the project's, and what else a
# test adds.
SETTINGS = """
from tests.settings import *
import json, os

_given = json.loads(os.environ["COMMAND_SETTINGS"])
for _alias, _changes in _given.pop("DATABASES", {}).items():
    DATABASES[_alias] = {**DATABASES.get(_alias, DATABASES["default"]), **_changes}
globals().update(_given)
"""


def ran(*arguments: str, **options: Any) -> tuple[str, str]:
    """What the command wrote, and the error that it ended with, if any."""
    out = io.StringIO()
    try:
        call_command("mysqlpool", *arguments, stdout=out, stderr=io.StringIO(), **options)
    except CommandError as error:
        return out.getvalue(), str(error)
    return out.getvalue(), ""


def document(*arguments: str) -> dict[str, Any]:
    """The document of JSON that the command wrote, without an error."""
    text, error = ran(*arguments, "--json")
    assert error == ""
    found: dict[str, Any] = json.loads(text)
    return found


def started(folder: Path, *arguments: str, **settings: Any) -> subprocess.Popen[str]:
    """``manage.py mysqlpool`` in a process of its own, with these settings added to the tests'."""
    (folder / "command_settings.py").write_text(SETTINGS)
    databases = settings.setdefault("DATABASES", {})
    name = {"NAME": connection.settings_dict["NAME"]}
    settings["DATABASES"] = {"default": name, **databases}
    environ = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "command_settings",
        "COMMAND_SETTINGS": json.dumps(settings),
        "PYTHONPATH": os.pathsep.join([str(folder), str(ROOT), str(ROOT / "example")]),
    }
    return subprocess.Popen(
        [sys.executable, "-W", "error", "example/manage.py", "mysqlpool", *arguments],
        cwd=ROOT,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
