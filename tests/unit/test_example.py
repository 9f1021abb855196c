"""The example project: what its commands do before they ask a server."""

from __future__ import annotations

import os
import sysconfig
from concurrent.futures import Future, ThreadPoolExecutor

import pytest
from django.core.management import CommandError, call_command

from files.management.commands import index as index_command


def test_the_standard_library_is_indexed_without_other_peoples_packages() -> None:
    folder = index_command.Command().create_parser("manage.py", "index").parse_args([]).folder
    paths = list(folder.walk())
    assert os.path.realpath(sysconfig.get_path("stdlib")) + "/os.py" in paths
    assert not [path for path in paths if "/site-packages/" in path]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere is not a folder"),
        (["--threads=0"], "'0' is not a whole number above 0"),
        (["--threads=many"], "'many' is not a whole number above 0"),
    ],
)
def test_a_bad_argument_is_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(CommandError, match=message):
        call_command("index", *arguments)


def test_futures_are_submitted_as_others_complete() -> None:
    """A folder of millions of files does not become millions of futures."""
    submitted = completed = 0

    with ThreadPoolExecutor(2) as executor:

        def submit(path: str) -> Future[str]:
            nonlocal submitted
            submitted += 1
            assert submitted - completed <= 3
            return executor.submit(str.upper, path)

        results = []
        for future in index_command.run_in_window(submit, "abcdefghij", 3):
            completed += 1
            results.append(future.result())
    assert sorted(results) == list("ABCDEFGHIJ")
