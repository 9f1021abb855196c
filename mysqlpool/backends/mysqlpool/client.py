"""The command-line client, such as ``dbshell`` runs it, with the password of this moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.mysql import client as mysql

from mysqlpool.aliases.access import resolved
from mysqlpool.conf.servers import one_server
from mysqlpool.conf.settings import parse_pool_settings

__all__ = ["DatabaseClient", "with_password"]

# mysqlclient's names of parameters, and Django's of the settings that they come from.
_NAMES = {
    "user": "USER",
    "password": "PASSWORD",
    "host": "HOST",
    "port": "PORT",
    "database": "NAME",
}


def with_password(alias: str, settings_dict: dict[str, Any]) -> dict[str, Any]:
    """The settings of an alias as they are for a connect now: a callable password is called, and
    ``connect_args`` are asked. Of several servers it is the first.
    """
    settings_dict = one_server(settings_dict, f"DATABASES[{alias!r}]")
    connect_args = parse_pool_settings(alias, settings_dict).connect_args
    if connect_args is None and not callable(settings_dict["PASSWORD"]):
        return settings_dict
    options = {**settings_dict["OPTIONS"]}
    for name in ("pool", "isolation_level"):
        options.pop(name, None)
    params = {**{name: settings_dict[key] for name, key in _NAMES.items()}, **options}
    made = resolved(alias, params, connect_args)
    return {**settings_dict, **{key: made.get(name, "") for name, key in _NAMES.items()}}


def _alias_of(settings_dict: dict[str, Any]) -> str:
    """Whose settings these are, as Django does not say. It is for messages."""
    all_settings = connections.settings.items()
    return next((alias for alias, own in all_settings if own == settings_dict), DEFAULT_DB_ALIAS)


class DatabaseClient(mysql.DatabaseClient):
    """Django's, with the password of this moment."""

    @classmethod
    def settings_to_cmd_args_env(
        cls, settings_dict: dict[str, Any], parameters: Iterable[str]
    ) -> tuple[list[str], dict[str, str] | None]:
        settings_dict = with_password(_alias_of(settings_dict), settings_dict)
        found: tuple[list[str], dict[str, str] | None]
        found = super().settings_to_cmd_args_env(settings_dict, parameters)
        return found
