"""What a user of a plain SQLAlchemy engine would notice, measured by QueuePool."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import create_engine, exc
from sqlalchemy.pool import QueuePool

from mysqlpool.pool import FairQueuePool
from tests.helpers import error_of


class Driver(ModuleType):
    """Enough of a DBAPI to make an engine of a dialect whose own driver is not installed."""

    paramstyle = "qmark"
    sqlite_version_info = (3, 40, 0)
    Error = Exception

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def refusal_by_asyncio(kind: Any) -> BaseException | None:
    """What an engine as create_async_engine() makes it says; that itself needs greenlet."""
    driver = Driver("driver")
    return error_of(lambda: create_engine("sqlite+aiosqlite://", poolclass=kind, module=driver))


def test_it_is_refused_for_an_asyncio_engine_where_queue_pool_is() -> None:
    ours, theirs = refusal_by_asyncio(FairQueuePool), refusal_by_asyncio(QueuePool)
    assert type(ours) is type(theirs)
    assert str(ours) == str(theirs).replace("QueuePool", "FairQueuePool")
    if theirs is None:
        pytest.skip("this SQLAlchemy refuses no pool")
    assert isinstance(ours, exc.ArgumentError)


@pytest.mark.parametrize(
    "option",
    [
        *({"max_idle": 60}, {"min_idle": 1}, {"max_waiting": 3}, {"leak_after": 5}),
        *({"wait_for_server": True}, {"check": lambda session, idle: True}),
        *({"classify": lambda error: None}, {"is_idle": lambda session, frame: False}),
    ],
    ids=lambda option: next(iter(option)),
)
def test_create_engine_takes_each_option_of_its_own(option: dict[str, Any]) -> None:
    engine = create_engine("mysql+mysqldb://", poolclass=FairQueuePool, **option)
    assert isinstance(engine.pool, FairQueuePool)
    assert option.items() <= engine.pool._options.items()
