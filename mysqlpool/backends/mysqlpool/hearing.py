"""Whether somebody replaced methods of our wrapper: an engine made of it, or instrumentation.

Who does so wants to be asked.  What saves round trips is left out then.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

from django.db.backends.mysql import base as mysql

__all__ = ["Methods"]


class Methods:
    """Some methods as they are now, in a class and in Django's that is behind it."""

    def __init__(self, kind: type, names: Sequence[str]) -> None:
        self._names = names
        self._of: Any = attrgetter(*names)
        self._own, self._djangos = self._of(kind), self._of(mysql.DatabaseWrapper)

    def are_replaced(self, wrapper: Any) -> bool:
        """Whether the wrapper, its class or Django's has another one of them by now."""
        return bool(
            self._of(type(wrapper)) != self._own
            or not wrapper.__dict__.keys().isdisjoint(self._names)
            or self._of(mysql.DatabaseWrapper) != self._djangos
        )
