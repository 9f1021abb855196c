"""Access: as whom, where and with which parameters a session is opened for a wrapper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured

from mysqlpool.session.parameters import SECRETS, hide

__all__ = ["Access", "Identity", "resolved"]

ConnectArgs = Callable[[dict[str, Any]], Mapping[str, Any]]


class Identity(NamedTuple):
    """What two wrappers must agree in to use the same sessions: the parameters less the secret."""

    params: Mapping[str, Any]
    isolation_level: str | None

    def is_near(self, other: Identity) -> bool:
        """Whether the two differ in nothing but the account and the database, if in anything."""
        return self == other or (
            self.isolation_level == other.isolation_level
            and _without_account(self.params) == _without_account(other.params)
        )


# mysqlclient's names for what COM_CHANGE_USER changes, beside the secret.
_ACCOUNT = frozenset({"user", "database", "db"})


def _without_account(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in _ACCOUNT}


@dataclass(frozen=True, slots=True)
class Access:
    """How sessions are opened for one wrapper.

    ``params()`` are those for mysqlclient, asked for when a session is opened, so that a token is
    fresh. ``settings`` are those of the alias which they were made from. With ``is_fixed`` the
    password is no token that may have expired.
    """

    identity: Identity
    settings: tuple[Any, ...] = field(repr=False)
    params: Callable[[], Mapping[str, Any]] = field(repr=False)
    is_fixed: bool = False


def resolved(
    alias: str, params: Mapping[str, Any], connect_args: ConnectArgs | None = None
) -> dict[str, Any]:
    """The parameters for one physical connect: a callable password called, ``connect_args`` asked.

    Raises ``ImproperlyConfigured`` where one of them returns something else than it should, and
    whatever they raise.
    """
    made = dict(params)
    for name in SECRETS:
        if callable(made.get(name)):
            made[name] = _password(alias, made[name]())
    hide(made)
    if connect_args is not None:
        given: object = connect_args(made)
        if not isinstance(given, Mapping):
            place = f"DATABASES[{alias!r}]['OPTIONS']['pool']['connect_args']"
            raise ImproperlyConfigured(
                f"{place} must return the parameters that it is given, changed or not, as a dict, "
                f"and not {type(given).__name__}"
            )
        made = hide(dict(given))
    return made


def _password(alias: str, value: object) -> str:
    if not isinstance(value, str):
        raise ImproperlyConfigured(
            f"DATABASES[{alias!r}]['PASSWORD'] is a callable, which must return a string and not "
            f"{type(value).__name__}"
        )
    return value
