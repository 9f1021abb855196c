"""What receivers of ``connection_created`` SET, sent once a session instead of once a lease.

Django sends the signal whenever it connects, which here is when a thread leases
for the first time after a release.  A receiver that sends ``SET SESSION ...``
would cost each of these leases a round trip, only to say what the session was
told before.  So a session remembers what it was told last time.  What it is told
again, in the same order, is not sent.
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
        self.said: tuple[Said, ...] = ()
        self._next = 0

    def begin(self) -> None:
        """A lease begins, and its receivers are about to speak."""
        self._next = 0

    def is_known(self, query: Any, args: Any) -> bool:
        """Whether the session was told this last time, at this point. What is new is noted."""
        said = _said(query, args)
        if said is None:
            return False
        known = self.said[self._next : self._next + 1] == (said,)
        if not known:
            self.said = (*self.said[: self._next], said)
        self._next += 1
        return known

    def to_repeat(self) -> Sequence[Said]:
        """What must be sent after all: last time more was said, which may have overridden it."""
        if self._next == len(self.said):
            return ()
        self.said = self.said[: self._next]
        return self.said


def _said(query: Any, args: Any) -> Said | None:
    if not isinstance(query, str) or not _CONSTANT.match(query):
        return None
    if args is None:
        return query, None
    return (query, tuple(args)) if isinstance(args, (list, tuple)) else None
