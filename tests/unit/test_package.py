"""tests/package.py: what may be released under a tag, and which links lead nowhere on PyPI."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.package import check_release, dead_links


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


@pytest.mark.parametrize(
    "text",
    ["see `the faults <docs/faults.rst>`_", "see `faults`_\n\n.. _faults: docs/faults.rst\n"],
)
def test_a_link_to_a_file_of_the_repository_leads_nowhere_on_pypi(text: str) -> None:
    assert dead_links(text) == ["docs/faults.rst"]


def test_what_pypi_shows_has_no_such_link() -> None:
    for name in ("README.rst", "CHANGELOG.rst"):
        assert dead_links((ROOT / name).read_text(encoding="utf-8")) == []
    assert dead_links("`a <https://example.com>`_, `b <#b>`_, `c <other_>`_, ``x <y>``") == []


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
