"""tests/package.py: what may be released under a tag, and which links lead nowhere on PyPI."""

from __future__ import annotations

import re
import runpy
import sys
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.helpers import ROOT
from tests.package import check_first_release, check_release, dead_links


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "CHANGELOG.rst").write_text(
        "Changes\n=======\n\n1.2.0 (2026-12-31)\n------------------\n\n- New.\n\n"
        "1.1.0 (2026-11-30)\n------------------\n\n- Old.\n"
    )
    return tmp_path


def test_a_tag_of_the_version_with_its_dated_changes_may_be_released(source: Path) -> None:
    check_release("v1.2.0", "1.2.0", source)


@pytest.mark.parametrize(
    ("tag", "version", "complaint"),
    [
        ("v1.3.0", "1.2.0", "the tag v1.3.0 is not v1.2.0"),
        ("1.2.0", "1.2.0", "the tag 1.2.0 is not v1.2.0"),
        ("v1.1.0", "1.1.0", "the newest changes in CHANGELOG.rst are of 1.2.0"),
    ],
)
def test_no_other_tag_may(source: Path, tag: str, version: str, complaint: str) -> None:
    with pytest.raises(SystemExit, match=complaint):
        check_release(tag, version, source)


def test_what_has_no_date_yet_is_not_released(source: Path) -> None:
    changes = source / "CHANGELOG.rst"
    changes.write_text(changes.read_text().replace("1.2.0 (2026-12-31)", "1.2.0 (unreleased)"))
    with pytest.raises(SystemExit, match=r"has 'unreleased' in the place of 1\.2\.0's date"):
        check_release("v1.2.0", "1.2.0", source)


@pytest.fixture
def released(source: Path) -> Path:
    """A source that says how to install what was released."""
    (source / "docs").mkdir()
    for path in ("README.rst", "docs/tutorial.rst"):
        (source / path).write_text("pip install mysqlpool\n")
    return source


@pytest.fixture
def metadata() -> Message:
    message = Message()
    message["Project-URL"] = "Source, https://example.com/mysqlpool"
    return message


def test_what_is_installed_by_its_name_and_tells_its_source_may_be_released(
    released: Path, metadata: Message
) -> None:
    check_first_release(metadata, released)


@pytest.mark.parametrize("path", ["README.rst", "docs/tutorial.rst"])
def test_no_release_says_that_there_is_none(released: Path, metadata: Message, path: str) -> None:
    (released / path).write_text("No version has been released yet. In a clone:\n")
    with pytest.raises(SystemExit, match=f"{path} says that no version has been released"):
        check_first_release(metadata, released)


def test_no_release_hides_where_its_source_is(released: Path) -> None:
    with pytest.raises(SystemExit, match=r"setup\.py has no project_urls"):
        check_first_release(Message(), released)


@pytest.mark.parametrize(
    "text",
    [
        "see `the faults <docs/faults.rst>`_",
        "see `faults`_\n\n.. _faults: docs/faults.rst\n",
        ".. image:: docs/faults.rst\n   :alt: a picture\n",
        ".. |badge| image:: docs/faults.rst\n",
        ".. image:: https://example.com/a.png\n   :target: docs/faults.rst\n",
    ],
)
def test_a_link_to_a_file_of_the_repository_leads_nowhere_on_pypi(text: str) -> None:
    assert dead_links(text) == ["docs/faults.rst"]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> str:
    """What setup.py gives PyPI to show. Not every environment has setuptools."""
    given: dict[str, Any] = {}
    fake = SimpleNamespace(setup=given.update, find_packages=lambda include: [])
    monkeypatch.setitem(sys.modules, "setuptools", fake)
    runpy.run_path(str(ROOT / "setup.py"))
    text: str = given["long_description"]
    return text


def test_what_pypi_shows_has_no_such_link(shown: str) -> None:
    assert dead_links(shown) == []
    assert dead_links("`a <https://example.com>`_, `b <#b>`_, `c <other_>`_, ``x <y>``") == []


def test_pypi_shows_all_of_readme_but_its_pictures(shown: str) -> None:
    readme = (ROOT / "README.rst").read_text(encoding="utf-8").strip().splitlines()
    left_out = [line for line in readme if line not in shown.splitlines()]
    assert left_out
    assert all(line.startswith((".. image::", "   :")) for line in left_out)


def test_nothing_refers_to_a_file_that_only_a_clone_has() -> None:
    """Whoever installed a wheel has neither docs/ nor the README beside it."""
    elsewhere = re.compile(r"(?<![\w/])(docs/|example/|benchmarks/|\w+\.rst\b)")
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in sorted((ROOT / "mysqlpool").rglob("*"))
        if path.suffix in (".py", ".html")
        for line in path.read_text(encoding="utf-8").splitlines()
        if elsewhere.search(line)
    ]
    assert found == []
