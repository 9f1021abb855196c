"""A project in order hears nothing: the example, and what Django's startproject makes of README."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.helpers import HANG, ROOT
from tests.readme import SETTINGS


def check(folder: Path, *arguments: str, **environ: str) -> str:
    """What ``manage.py check`` says, of all levels. It must succeed."""
    own = {"PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)]), **environ}
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


def test_the_example_gets_no_message() -> None:
    said = check(ROOT / "example", DJANGO_SETTINGS_MODULE="filesite.settings")
    assert said == "System check identified no issues (0 silenced).\n"


def test_a_new_project_with_readmes_first_settings_gets_no_message(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "django", "startproject", "shop", str(tmp_path)]
    subprocess.run(command, check=True, timeout=HANG)
    (install,) = (block.text for block in SETTINGS if block.section == "Install")
    assert re.search(r"^MIDDLEWARE = .*\n\n.*\nINSTALLED_APPS", install, re.M)
    with (tmp_path / "shop" / "settings.py").open("a") as settings:
        settings.write(install)
    said = check(tmp_path, DJANGO_SETTINGS_MODULE="shop.settings")
    assert said == "System check identified no issues (0 silenced).\n"
