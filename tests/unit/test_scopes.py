"""auto_close_db: what it makes of a function, and what it refuses."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from django.utils.connection import ConnectionDoesNotExist

from mysqlpool import auto_close_db


class Owner:
    async def __call__(self) -> int:
        return 1


def test_names_signatures_and_documentation_are_kept() -> None:
    def work(a: int, *, b: str = "b") -> str:
        """What it does."""
        return f"{a}{b}"

    wrapped = auto_close_db(work)
    assert (wrapped.__name__, wrapped.__doc__) == ("work", "What it does.")
    assert inspect.signature(wrapped) == inspect.signature(work)
    assert wrapped(1, b="x") == "1x"


def test_kinds_of_functions_stay_what_they_are() -> None:
    def generator() -> Iterator[int]:
        yield 1

    async def coroutine() -> int:
        return 1

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    assert inspect.isgeneratorfunction(auto_close_db(generator))
    assert inspect.iscoroutinefunction(auto_close_db(coroutine))
    assert inspect.isasyncgenfunction(auto_close_db(async_generator))
    assert inspect.iscoroutinefunction(auto_close_db(Owner()))


@pytest.mark.parametrize("bad", [5, "default", Owner])
def test_what_cannot_be_decorated_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError, match="decorates functions and methods"):
        auto_close_db(bad)


def test_an_unknown_alias_is_refused_before_the_work_begins() -> None:
    ran = []

    @auto_close_db(using="missing")
    def work() -> None:
        ran.append(1)

    with pytest.raises(ConnectionDoesNotExist, match="missing"):
        work()
    assert ran == []
