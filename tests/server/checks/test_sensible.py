"""A project in order hears nothing: the example, and what the documents make of a new project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.db import connection

from tests.documents import SETTINGS, Block
from tests.helpers import HANG, ROOT

pytestmark = pytest.mark.django_db(transaction=True)


# Only the address is not the reader's. Django 6.1 connects for its checks of models.
ADDRESS = """
import os
for key in ("HOST", "PORT", "USER", "PASSWORD", "NAME"):
    DATABASES["default"][key] = os.environ["DATABASE_" + key]
"""


def check(folder: Path, *arguments: str, **environ: str) -> str:
    """What ``manage.py check`` says, of all levels. It must succeed."""
    name = str(connection.settings_dict["NAME"])
    path = os.pathsep.join([str(ROOT), str(folder)])
    own = {"PYTHONPATH": path, "DATABASE_NAME": name, **environ}
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", "check", *arguments],
        cwd=folder,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


WHOLE = [b for b in SETTINGS if "MIDDLEWARE = " in b.text and "INSTALLED_APPS = " in b.text]
WAYS = pytest.mark.parametrize("arguments", [[], ["--database", "default"]], ids=str)


@WAYS
def test_the_example_gets_no_message(arguments: list[str]) -> None:
    said = check(ROOT / "example", *arguments, DJANGO_SETTINGS_MODULE="filesite.settings")
    assert said == "System check identified no issues (0 silenced).\n"


@WAYS
@pytest.mark.parametrize("block", WHOLE, ids=str)
def test_a_new_project_with_the_settings_of_the_documents_gets_no_message(
    tmp_path: Path, arguments: list[str], block: Block
) -> None:
    command = [sys.executable, "-m", "django", "startproject", "shop", str(tmp_path)]
    subprocess.run(command, check=True, timeout=HANG)
    with (tmp_path / "shop" / "settings.py").open("a") as settings:
        settings.write(block.text + ADDRESS)
    said = check(tmp_path, *arguments, DJANGO_SETTINGS_MODULE="shop.settings")
    assert said == "System check identified no issues (0 silenced).\n"
