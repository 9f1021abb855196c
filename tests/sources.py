"""Source packages of other projects, which pip downloads once and nobody commits."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

__all__ = ["ROOT", "fetch"]

ROOT = Path(__file__).parent.parent  # of the repository


def fetch(project: str, version: str, cache: str) -> Path:
    """The unpacked source package of one version of a project, kept in ``.tox/<cache>``."""
    folder = ROOT / ".tox" / cache
    source = folder / f"{project.lower()}-{version}"
    if not source.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            _download(f"{project}=={version}", scratch)
            (archive,) = Path(scratch).glob("*.tar.gz")
            with tarfile.open(archive) as opened:
                opened.extractall(scratch, filter="data")
            (unpacked,) = (path for path in Path(scratch).iterdir() if path.is_dir())
            unpacked.rename(source)
    return source


def _download(requirement: str, folder: str) -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    options = ["--no-deps", "--no-binary=:all:", f"--dest={folder}"]
    subprocess.run([*pip, *options, requirement], check=True)
