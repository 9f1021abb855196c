"""Whether somebody replaced methods of our wrapper: an engine made of it, or instrumentation.

Who does so wants to be asked.  What saves round trips is left out then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

__all__ = ["Methods", "djangos"]

_REPLACED = object()


def djangos(function: Any) -> Any:
    """A function, if it is Django's own; else what is equal to none, also later.

    Agents patch Django as a process starts, before our engine is imported. What they put there may
    look like what it wraps, but has the globals of their own module.
    """
    module = str(getattr(function, "__globals__", {}).get("__name__"))
    return function if module.partition(".")[0] == "django" else _REPLACED


class Methods:
    """Some methods that a class has defined, as they are now, and Django's own behind it.

    ``behind`` gives the latter. The others that the class inherits may be replaced while they are
    the same for all: pytest-django does that.
    """

    def __init__(
        self,
        kind: type,
        names: Sequence[str],
        behind: Callable[[], tuple[Any, ...]] = tuple,
    ) -> None:
        self._kind, self._names, self._behind = kind, names, behind
        self._of: Any = attrgetter(*names)
        self._known = (*self._own(), *map(djangos, behind()))

    def _own(self) -> tuple[Any, ...]:
        return tuple(map(vars(self._kind).get, self._names))

    def are_replaced(self, wrapper: Any) -> bool:
        """Whether the wrapper, its class or one of these two has others by now."""
        return bool(
            self._of(type(wrapper)) != self._of(self._kind)
            or not wrapper.__dict__.keys().isdisjoint(self._names)
            or (*self._own(), *self._behind()) != self._known
        )
