"""What the tests of transactions share: their database, made once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .world import World, world


@pytest.fixture(scope="package")
def here(server: Any) -> Iterator[World]:
    with world(server) as here:
        yield here


@pytest.fixture(autouse=True)
def _databases_are_allowed(django_db_blocker: Any) -> Iterator[None]:
    """These tests have a database of their own, which nobody has to empty."""
    with django_db_blocker.unblock():
        yield
