"""What receivers of ``connection_created`` SET, sent once a session instead of once a lease.

Django sends the signal at each connect, which here is each lease.  A receiver
that sends ``SET SESSION ...`` would cost every lease a round trip, to say what
the session was told before.  So a session keeps what was said to it last time,
and what is said again in the same order is not sent.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

__all__ = ["Announcements", "Said"]

Said = tuple[str, tuple[Any, ...] | None]

# A SET that means the same whenever it is sent: no user variable, no function, no clock.
_CONSTANT = re.compile(
    r"\s*+ SET \s (?: (?!CURRENT_|LOCALTIME|UTC_) [^@(] )*+ \Z", re.IGNORECASE | re.VERBOSE
)


class Announcements:
    """The statements that one session was sent by receivers, in their order."""

    def __init__(self) -> None:
        self._said: list[Said] = []
        self._next = 0

    @property
    def said(self) -> Sequence[Said]:
        return tuple(self._said)

    def begin(self) -> None:
        """A lease begins, and its receivers are about to speak."""
        self._next = 0

    def is_known(self, query: Any, args: Any) -> bool:
        """Whether the session was told this, at this point, last time; note it if not."""
        said = _said(query, args)
        if said is None:
            return False
        known = self._said[self._next : self._next + 1] == [said]
        if not known:
            self._said[self._next :] = [said]
        self._next += 1
        return known

    def to_repeat(self) -> Sequence[Said]:
        """What must be sent after all, because last time more was said after it."""
        if self._next == len(self._said):
            return ()
        del self._said[self._next :]
        return tuple(self._said)


def _said(query: Any, args: Any) -> Said | None:
    if not isinstance(query, str) or not _CONSTANT.match(query):
        return None
    if args is None:
        return query, None
    return (query, tuple(args)) if isinstance(args, (list, tuple)) else None
