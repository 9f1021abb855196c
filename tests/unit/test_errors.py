"""The errors can be pickled and copied, as those of a worker process have to be."""

from __future__ import annotations

import copy
import pickle

import pytest

from mysqlpool.errors import (
    Holder,
    PoolError,
    PoolTimeout,
    SessionStateError,
    TooManyWaiters,
    UnscopedLease,
)

FULL = {"limit": 1, "in_use": 1, "waiting": 0, "seconds": 1.0}
HOLDER = Holder("main", 1, 1.0, "now at x.py:1 in f", "x.py:1 in f", waits=False)


@pytest.mark.parametrize(
    "error",
    [
        PoolError("no server"),
        PoolTimeout("default", **FULL),  # type: ignore[arg-type]
        PoolTimeout("default", **FULL, holders=(HOLDER,)),  # type: ignore[arg-type]
        TooManyWaiters("default", **FULL),  # type: ignore[arg-type]
        UnscopedLease("default", "index_0", "x.py:1"),
        SessionStateError("ROW_COUNT"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_it_is_the_same_afterwards(error: Exception) -> None:
    error.add_note("seen in a worker")
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    others = [pickle.loads(pickle.dumps(error, protocol)) for protocol in protocols]
    for other in [*others, copy.copy(error), copy.deepcopy(error)]:
        assert type(other) is type(error)
        assert (str(other), other.args, vars(other)) == (str(error), error.args, vars(error))
