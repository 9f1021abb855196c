"""Which kind of AliasPool a pool class takes."""

from __future__ import annotations

from mysqlpool.conf.settings import PoolSettings
from mysqlpool.pool import FairQueuePool

from .alias_pool import AliasPool
from .fair import FairAliasPool
from .foreign import ForeignAliasPool

__all__ = ["make_pool"]


def make_pool(key: object, settings: PoolSettings) -> AliasPool:
    """Make the pool that an alias's settings, of which ``key`` reminds, ask for."""
    fair = issubclass(settings.pool_class, FairQueuePool)
    kind = FairAliasPool if fair else ForeignAliasPool
    return kind(settings.alias, key, settings)
