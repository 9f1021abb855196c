"""Whether somebody replaced methods of our wrapper: an engine made of it, or instrumentation.

Who does so wants to be asked.  What saves round trips is left out then.  An engine may also stand
behind ours, between it and Django's: ``class DatabaseWrapper(ours.DatabaseWrapper, Tenants)``,
where Tenants is made of Django's.  Ours is the one that has to call it then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import attrgetter
from typing import Any

__all__ = ["Methods", "djangos", "others_behind"]

_REPLACED = object()


def djangos(function: Any) -> Any:
    """A function, if it is Django's own; else what is equal to none, also later.

    Agents patch Django as a process starts, before our engine is imported. What they put there may
    look like what it wraps, but has the globals of their own module.
    """
    module = str(getattr(function, "__globals__", {}).get("__name__"))
    return function if module.partition(".")[0] == "django" else _REPLACED


def others_behind(kind: type, ours: type, names: Iterable[str]) -> bool:
    """Whether a class made of ours has others with such methods behind ours than ours itself."""
    behind = kind.__mro__[kind.__mro__.index(ours) :]
    others = [other for other in behind if other not in ours.__mro__]
    return any(not vars(other).keys().isdisjoint(names) for other in others)


class Methods:
    """Some methods that a class has defined, as they are now, and Django's own behind it.

    ``behind`` gives the latter. The others that the class inherits may be replaced while they are
    the same for all: pytest-django does that. ``kind`` tells by ``has_others_behind`` whether an
    engine stands between these two.
    """

    def __init__(
        self,
        kind: type,
        names: Sequence[str],
        behind: Callable[[], tuple[Any, ...]] = tuple,
    ) -> None:
        self._kind, self.names, self._behind = kind, names, behind
        self._of: Any = attrgetter(*names)
        self._known = (*self._own(), *map(djangos, behind()))

    def _own(self) -> tuple[Any, ...]:
        return tuple(map(vars(self._kind).get, self.names))

    def are_replaced(self, wrapper: Any) -> bool:
        """Whether the wrapper, its class or one of these two has others by now."""
        return bool(
            wrapper.has_others_behind
            or self._of(type(wrapper)) != self._of(self._kind)
            or not wrapper.__dict__.keys().isdisjoint(self.names)
            or (*self._own(), *self._behind()) != self._known
        )
