"""``python -m tests.package``: build sdist and wheel, check both, install each, and import it.

Needs build, twine and check-wheel-contents beside it, as the tox environment ``package`` has them,
and what compiles mysqlclient. It works in a temporary copy of the source tree, with git or without,
and ends with 1 at the first thing that is wrong. The tests that the sdist carries are run from it,
as far as they are quick; ``--all-tests`` runs the whole suite.

``--release TAG`` demands that sdist and wheel are what the tag names, that CHANGELOG.rst has that
release, and that nothing says any more that there is none. ``--dist FOLDER`` keeps the two there
when all is well, to be uploaded.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path

ROOT = Path(__file__).parent.parent
# What lies in a source tree that is at work, and is no source.
NO_SOURCE = shutil.ignore_patterns(
    *(".git", ".venv", ".tox", ".servers", ".*_cache", ".hypothesis", "__pycache__"),
    *("*.egg-info", "build", "dist", "*.py[cod]", "*.log", "*.lock"),
)
SHIPPED_FOLDERS = ("benchmarks", "docs", "example", "mysqlpool", "scripts", "tests")
SHIPPED_FILES = ("LICENSE", "MANIFEST.in", "*.ini", "*.md", "*.py", "*.rst", "*.toml")
# These read the files beside them, and ask the server.
QUICK_TESTS = ("tests/unit/conf", "tests/unit/test_documents.py", "tests/server/test_documents.py")

IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
import django, django.conf
django.conf.settings.configure(INSTALLED_APPS=["mysqlpool"])
django.setup()
import mysqlpool
assert pathlib.Path(mysqlpool.__file__).is_relative_to(sys.prefix), mysqlpool.__file__
names = [module.name for module in pkgutil.walk_packages(mysqlpool.__path__, "mysqlpool.")]
names = [name for name in names if not name.startswith("mysqlpool.backends.gis.")]  # needs GDAL
for name in names:
    try:
        importlib.import_module(name)
    except django.core.exceptions.ImproperlyConfigured as error:  # It needs its extra.
        assert "pip install 'mysqlpool[" in str(error), error
print(f"imported {len(names)} modules of mysqlpool {mysqlpool.__version__}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--all-tests", action="store_true", help="run the whole suite of the sdist")
    parser.add_argument("--release", metavar="TAG", help="it must be what this tag names: v1.2.3")
    parser.add_argument("--dist", metavar="FOLDER", type=Path, help="keep sdist and wheel there")
    arguments = parser.parse_args()
    tests = [] if arguments.all_tests else [*QUICK_TESTS]
    with tempfile.TemporaryDirectory(prefix="mysqlpool-package-") as folder:
        work = Path(folder)
        sdist, wheel = build(work)
        metadata = check_metadata(sdist, wheel)
        if arguments.release:
            check_release(arguments.release, metadata["Version"], work / "source")
            check_first_release(metadata, work / "source")
        check_sdist(sdist, work / "source")
        check_wheel(wheel, work / "source")
        try_out(wheel, work / "from-wheel")
        python = try_out(sdist, work / "from-sdist", extra="test")
        run_tests(python, unpacked(sdist, work / "unpacked"), tests)
        if arguments.dist:
            keep(arguments.dist, sdist, wheel)
    print("package: all is well")


def build(work: Path) -> tuple[Path, Path]:
    """Build the sdist, and from it the wheel."""
    shutil.copytree(ROOT, work / "source", ignore=NO_SOURCE)
    run(sys.executable, "-m", "build", "--outdir", work / "dist", work / "source")
    (sdist,) = (work / "dist").glob("*.tar.gz")
    (wheel,) = (work / "dist").glob("*.whl")
    return sdist, wheel


def check_metadata(sdist: Path, wheel: Path) -> Message:
    run(sys.executable, "-m", "twine", "check", "--strict", sdist, wheel)
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata: Message = HeaderParser().parsestr(archive.read(name).decode())
    require(metadata["License-Expression"] == "MIT", "the licence is no SPDX expression")
    require(metadata.get_all("License-File") == ["LICENSE"], "the licence's file is not named")
    deprecated = [c for c in metadata.get_all("Classifier", []) if c.startswith("License ::")]
    require(not deprecated, f"deprecated: {deprecated}")
    required = [line.partition(";")[0] for line in metadata.get_all("Requires-Dist", [])]
    limits = [line for line in required if not re.fullmatch(r"[\w-]+(>=[\d.]+)?", line.strip())]
    require(not limits, f"closed upwards: {limits}")
    dead = dead_links(str(metadata.get_payload()))
    require(not dead, f"links that lead nowhere on PyPI: {dead}")
    return metadata


LINK = (
    r"`[^`<>]*<([^`<>]+)>`_|^\.\. _[^:]+: +(\S+)"
    r"|^ *\.\. .*(?:image|figure):: +(\S+)|^ +:target: +(\S+)"
)


def dead_links(text: str) -> list[str]:
    """What the text refers to by a path in the repository, which PyPI does not have."""
    targets = {"".join(groups) for groups in re.findall(LINK, text, re.MULTILINE)}
    # A name with an underscore at its end is another target's.
    return sorted(t for t in targets if not re.match(r"(https?|mailto):|#|.*_$", t))


def check_release(tag: str, version: str, source: Path) -> None:
    """What the tag names is what was built, and the changes of no other are told as its own."""
    require(tag == f"v{version}", f"the tag {tag} is not v{version}, the version in mysqlpool")
    changes = (source / "CHANGELOG.rst").read_text(encoding="utf-8")
    newest = re.search(r"^(\d\S*) \((.+)\)\n-+$", changes, re.MULTILINE)
    require(newest, "CHANGELOG.rst has no heading such as 1.2.3 (2026-12-31)")
    assert newest is not None
    require(newest[1] == version, f"the newest changes in CHANGELOG.rst are of {newest[1]}")
    dated = re.fullmatch(r"\d{4}-\d\d-\d\d", newest[2])
    require(dated, f"CHANGELOG.rst has {newest[2]!r} in the place of {version}'s date")


def check_first_release(metadata: Message, source: Path) -> None:
    """PyPI shows the way to the source, and nothing says any more that there is no release."""
    require(
        metadata.get_all("Project-URL"),
        "setup.py has no project_urls: PyPI would show no way to the source and the documentation",
    )
    for path in (source / "README.rst", *sorted((source / "docs").glob("*.rst"))):
        says = "No version has been released" in path.read_text(encoding="utf-8")
        require(not says, f"{path.relative_to(source)} says that no version has been released yet")


def keep(folder: Path, *distributions: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for distribution in distributions:
        shutil.copy2(distribution, folder)


def check_sdist(sdist: Path, source: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {path for folder in SHIPPED_FOLDERS for path in files_of(source, folder)}
    wanted |= {path.name for kind in SHIPPED_FILES for path in source.glob(kind)}
    require(wanted <= names, f"the sdist lacks {sorted(wanted - names)}")


def check_wheel(wheel: Path, source: Path) -> None:
    run(sys.executable, "-m", "check_wheel_contents", wheel)
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    wanted = files_of(source, "mysqlpool")
    require("mysqlpool/py.typed" in names, "the wheel has no types")
    require(names == wanted, f"the wheel differs from mysqlpool/: {sorted(names ^ wanted)}")


def try_out(distribution: Path, folder: Path, extra: str = "") -> Path:
    """Install it into a fresh environment, and import all of it; warnings are errors."""
    venv.create(folder / "venv", with_pip=True)
    python = folder / "venv" / "bin" / "python"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--no-input")
    run(*pip, "install", "--quiet", f"{distribution}[{extra}]" if extra else distribution)
    run(*pip, "check")
    run(python, "-W", "error", "-c", IMPORT_ALL, cwd=folder)
    return python


def unpacked(sdist: Path, folder: Path) -> Path:
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    (top,) = folder.iterdir()
    return top


def run_tests(python: Path, folder: Path, tests: Iterable[str]) -> None:
    """Collect all tests, and run these, or all of them where none are named."""
    pytest = (python, "-m", "pytest", "-q")
    run(*pytest, "--collect-only", "-qq", cwd=folder, quiet=True)
    run(*pytest, *tests, cwd=folder)


def files_of(source: Path, folder: str) -> set[str]:
    files = (path for path in (source / folder).rglob("*") if path.is_file())
    return {path.relative_to(source).as_posix() for path in files}


def run(*command: str | Path, cwd: Path | None = None, quiet: bool = False) -> None:
    print("+", *command, flush=True)
    # The environment of whoever started this must not show through.
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run(
        command,
        cwd=cwd,
        env=clean,
        check=True,
        stdout=subprocess.DEVNULL if quiet else None,
    )


def require(condition: object, complaint: str) -> None:
    if not condition:
        sys.exit(f"package: {complaint}")


if __name__ == "__main__":
    main()
