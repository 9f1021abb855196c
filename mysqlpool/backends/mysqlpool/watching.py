"""A lease that is watched: who watches is told how it goes on, and how it ends.

A lease only tells its grantor that it ends. So who watches stands between them.
"""

from __future__ import annotations

from typing import Any, Protocol

from mysqlpool.pool import Lease
from mysqlpool.session.witnessed import Witness, leave, witness

__all__ = ["Watcher", "watch"]


class Watcher(Witness, Protocol):
    """Who watches one lease, and its session meanwhile."""

    def pinned(self, reason: str) -> None:
        """``lease="transaction"`` cannot end it before the release."""

    def ended(self, discarded: str | None, renewed: bool) -> None:
        """It is about to end: its session is discarded for a reason, or goes back, perhaps to be
        renewed for its next holder.
        """


def watch(lease: Lease, watcher: Watcher) -> None:
    """Have a lease watched until it ends."""
    lease.grantor = _Between(lease.grantor, watcher)
    witness(lease.session, watcher)


class _Between:
    """Stands before the grantor of one lease."""

    def __init__(self, grantor: Any, watcher: Watcher) -> None:
        self._grantor = grantor
        self._watcher = watcher

    def give_back(self, lease: Lease) -> None:
        to_renew = lease.record is not None and lease.record.to_renew
        self._end(lease, None, to_renew)
        self._grantor.give_back(lease)

    def discard(self, lease: Lease, reason: str) -> None:
        self._end(lease, reason, False)
        self._grantor.discard(lease, reason)

    def _end(self, lease: Lease, discarded: str | None, renewed: bool) -> None:
        leave(lease.session, self._watcher)
        self._watcher.ended(discarded, renewed)

    def pin(self, lease: Lease, reason: str) -> None:
        self._watcher.pinned(reason)
        self._grantor.pin(lease, reason)

    def share(self, lease: Lease) -> None:
        self._grantor.share(lease)

    def unshare(self, lease: Lease, is_own: bool) -> None:
        self._grantor.unshare(lease, is_own)

    def note_rollback(self, lease: Lease) -> None:
        self._grantor.note_rollback(lease)

    def alarm(self) -> None:
        self._grantor.alarm()
