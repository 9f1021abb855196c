"""A session that tells what it is sent less than Django's engine sends, and what made it dirty.

A session is made one by its class, for the time of a lease, so that all others do nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from .block import Block
from .session import Session

__all__ = ["Witness", "WitnessedSession", "leave", "witness"]


class Witness(Protocol):
    """Who is told."""

    def not_sent(self, statements: int) -> None:
        """So many statements were not sent that Django's engine sends: by the end of a block, all
        in all. A negative number is of statements that it does not send.
        """

    def travelled(self, statements: int) -> None:
        """So many statements travelled in the packet of another one."""

    def soiled(self, reason: str, sql: bytes) -> None:
        """A clean session became dirty, by this statement: with the values that are in it."""


class WitnessedSession(Session):
    """See `witness`, which makes a session one."""

    __slots__ = ()

    def query(self, query: bytes | bytearray | str) -> None:
        before = self.dirty
        try:
            super().query(query)
        finally:
            if self.dirty and not before:
                sql = query.encode() if isinstance(query, str) else bytes(query)
                self.witness.soiled(self.dirty, sql)

    def autocommit(self, on: bool) -> None:
        """To begin a block sends nothing. Its end commits, which is told of as what it is."""
        before = self.block
        super().autocommit(on)
        if before is None and self.block is not None:
            self.witness.not_sent(1)

    def keeps(self, sql: str) -> bool:
        kept = super().keeps(sql)
        if kept:
            self.witness.not_sent(1)
        return kept

    def _send_in(self, block: Block, sql: bytes) -> None:
        self.witness.not_sent(-len(block.ahead()))
        super()._send_in(block, sql)

    def _send_together(self, block: Block, ahead: Sequence[bytes], sql: bytes) -> None:
        self.witness.travelled(len(ahead))
        super()._send_together(block, ahead, sql)

    def _leave_block(self) -> None:
        if self.block is not None:
            self.witness.not_sent(-1 - len(self.block.unsent))
        super()._leave_block()

    def _end_block(self, block: Block, end: Callable[[], None]) -> None:
        if not self.has_transaction():
            self.witness.not_sent(1)
        super()._end_block(block, end)


def witness(session: Session, told: Witness) -> None:
    """From now on tell this one of a session, which stays the object that it is."""
    if type(session) is Session:
        session.witness = told
        session.__class__ = WitnessedSession


def leave(session: Session, told: Witness) -> None:
    """Tell it no more, if it is told."""
    if session.witness is told:
        session.__class__ = Session
        session.witness = None
