"""Connection parameters of mysqlclient, and the secret among them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["SECRETS", "Secret", "hide", "public"]

# mysqlclient's names of the password.
SECRETS = ("password", "passwd")


class Secret(str):
    """A password, or a token, whose repr does not tell it.

    A traceback that is rendered with locals shows reprs.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


def hide(params: dict[str, Any], names: Iterable[str] = SECRETS) -> dict[str, Any]:
    """Put a `Secret` in the place of the password, in the dict itself, and return it."""
    for name in names:
        if isinstance(params.get(name), str):
            params[name] = Secret(params[name])
    return params


def public(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters less the secret."""
    return {name: value for name, value in params.items() if name not in SECRETS}
