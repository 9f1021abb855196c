"""One pool for an alias, whoever asks first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mysqlpool.aliases import registry
from mysqlpool.aliases.registry import pool_for


class Pool:
    """What the registry needs of one: which settings it was made of."""

    def __init__(self, key: str) -> None:
        self.key, self.is_closed = key, False

    def serves(self, key: object) -> bool:
        return self.key == key

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def alias() -> Iterator[str]:
    yield "of this test"
    registry._pools.pop("of this test", None)


def test_a_pool_is_made_once_and_again_for_other_settings(alias: str) -> None:
    made: list[Pool] = []

    def make(key: str) -> Any:
        made.append(Pool(key))
        return made[-1]

    first: Any = pool_for(alias, "one", lambda: make("one"))
    assert pool_for(alias, "one", lambda: make("one")) is first
    second: Any = pool_for(alias, "another", lambda: make("another"))
    assert made == [first, second]
    assert [pool.is_closed for pool in made] == [True, False]


def test_who_comes_second_while_the_first_makes_one_has_that_one(alias: str) -> None:
    own = Pool("one")
    first: Any = own

    def late() -> Any:
        assert pool_for(alias, "one", lambda: first) is first
        return Pool("one")

    assert pool_for(alias, "one", late) is first
    assert not own.is_closed
