"""Aliases on engines that others could have written. Collected only when it is asked for.

What is tested here needs packages that ``scripts/test`` does not install; tox's environment
``field`` has them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server import Server
from tests.server.conftest import observer, server

from .engines import Field

__all__ = ["field", "observer", "server"]

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave this folder out of a run that was not asked for it."""
    directory = config.invocation_params.dir
    asked = [(directory / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


@pytest.fixture
def field(server: Server, django_db_blocker: Any) -> Iterator[Field]:
    """Makes aliases for a test, and takes them away after it."""
    with django_db_blocker.unblock(), Field(server) as made:
        yield made
