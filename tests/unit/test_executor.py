"""PooledThreadPoolExecutor refuses what its base class refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from mysqlpool import PooledThreadPoolExecutor
from tests.helpers import HANG


@pytest.mark.parametrize("make", [ThreadPoolExecutor, PooledThreadPoolExecutor])
def test_bad_input_is_refused_as_by_the_base_class(make: type[ThreadPoolExecutor]) -> None:
    with pytest.raises(TypeError, match="initializer must be a callable"):
        make(initializer=cast(Any, 5))
    with pytest.raises(ValueError, match="max_workers"):
        make(0)
    with make(1) as executor, pytest.raises(TypeError):
        executor.submit(None).result(HANG)  # type: ignore[arg-type]
