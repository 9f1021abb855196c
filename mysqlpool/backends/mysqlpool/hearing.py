"""Whether somebody replaced methods of our wrapper: an engine made of it, or instrumentation.

Who does so wants to be asked.  What saves round trips is left out then.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any

__all__ = ["Methods"]


class Methods:
    """Some methods that a class has defined, as they are now, and those of a class behind it.

    What the class inherits may be replaced while it is the same for all: pytest-django does that.
    """

    def __init__(self, kind: type, names: Sequence[str], behind: type | None = None) -> None:
        self._kind, self._names, self._behind = kind, names, behind
        self._of: Any = attrgetter(*names)
        self._known = self._defined()

    def _defined(self) -> tuple[Any, ...]:
        inherited = () if self._behind is None else self._of(self._behind)
        return (*map(vars(self._kind).get, self._names), *inherited)

    def are_replaced(self, wrapper: Any) -> bool:
        """Whether the wrapper, its class or one of these two has others by now."""
        return bool(
            self._of(type(wrapper)) != self._of(self._kind)
            or not wrapper.__dict__.keys().isdisjoint(self._names)
            or self._defined() != self._known
        )
