"""Which kind of AliasPool a pool class takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mysqlpool.conf.settings import parse_pool_settings
from mysqlpool.pool import FairQueuePool

from .alias_pool import AliasPool
from .fair import FairAliasPool
from .foreign import ForeignAliasPool

__all__ = ["make_pool"]


def make_pool(
    alias: str, identity: object, params: Mapping[str, Any], settings_dict: Mapping[str, Any]
) -> AliasPool:
    """Make the pool that an alias's settings ask for, with these connection parameters.

    Raises ``ImproperlyConfigured`` for bad settings.
    """
    settings = parse_pool_settings(alias, settings_dict)
    fair = issubclass(settings.pool_class, FairQueuePool)
    kind = FairAliasPool if fair else ForeignAliasPool
    return kind(alias, identity, params, settings)
