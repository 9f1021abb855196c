"""What the tests of hooks share: their databases, made once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.observer import Observer

from .world import world


@pytest.fixture(scope="package")
def everything(server: Any) -> Iterator[Observer]:
    with world(server) as observer:
        yield observer


@pytest.fixture(autouse=True)
def _databases_are_allowed(django_db_blocker: Any) -> Iterator[None]:
    """These tests have databases of their own, which nobody has to empty."""
    with django_db_blocker.unblock():
        yield
