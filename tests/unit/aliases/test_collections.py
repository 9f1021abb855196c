"""The garbage collector is paused while a process forks, and afterwards it is as it was."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest

from mysqlpool.aliases.forks import _after_fork_in_parent as forked
from mysqlpool.aliases.forks import _before_fork as fork


@pytest.fixture(autouse=True)
def collector() -> Iterator[None]:
    gc.enable()
    yield
    gc.enable()


def test_it_goes_on_when_the_last_of_several_forks_is_over() -> None:
    fork()
    fork()
    assert not gc.isenabled()
    forked()
    assert not gc.isenabled()
    forked()
    assert gc.isenabled()


def test_one_that_is_switched_off_stays_off() -> None:
    gc.disable()
    fork()
    forked()
    assert not gc.isenabled()
