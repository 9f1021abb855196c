"""Set-up: what an engine or a receiver sends while Django connects, for one holder.

Django's own statements are the same for every holder: they are the baseline, sent once a session.
What a subclass of the engine or a receiver of ``connection_created`` says is this holder's. The
session *carries* the part of it that does nothing but set variables to constants: such a statement
need not be sent again to a session that was told the same, in the same place of the same sequence.
``COM_CHANGE_USER`` undoes it. Everything else is sent each time, and leaves the session clean or
dirty as it would coming from the application.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from .driver_state import DriverState

__all__ = ["NO_SET_UP", "Assignment", "Parameters", "Recording", "SetUp"]

Parameters = Callable[[], Mapping[str, Any]]
"""Returns those of a new session for a holder."""

# With other values of these a server reads a text, or the literals in it, in another way.
_READING = frozenset(
    ["sql_mode", "character_set_client", "character_set_connection", "collation_connection"]
)


class Assignment(NamedTuple):
    """A text that sets session variables and user variables to constants, and which ones."""

    sql: bytes
    names: frozenset[str]


@dataclass(frozen=True, slots=True)
class SetUp:
    """What one holder's set-up left in its session: variables, and the driver's state in Python.

    ``driver`` is None where it changed nothing of that. ``has_baseline`` tells whether Django's own
    statements were sent. An engine may leave them out. The first ``early`` were said before those,
    which may have overridden a part of them.
    """

    said: tuple[Assignment, ...] = ()
    driver: DriverState | None = None
    has_baseline: bool = True
    early: int = 0


NO_SET_UP = SetUp()


class Recording:
    """A set-up under way, on a session that may carry what another one said.

    ``carried`` is that, and ``said`` what was said by now, sent or not. Of what is carried, the
    first ``len(said)`` have been said again or been overridden; the rest is *pending*.
    ``parameters`` are those of a new session for this holder, by which the session is renewed.
    """

    def __init__(self, carried: Sequence[Assignment], parameters: Parameters) -> None:
        self.carried = carried
        self.parameters = parameters
        self.said: list[Assignment] = []
        self.follows = True  # It has said what is carried so far, word for word.
        self.is_django = False  # Django's own statements are being sent.
        self.early = 0  # how many were said before those

    @property
    def pending(self) -> Sequence[Assignment]:
        return self.carried[len(self.said) :]

    def repeats(self, sql: bytes) -> bool:
        """Whether the session carries this already, and was told it at this point."""
        if self.is_django or not self.follows:
            return False
        pending = self.pending
        return bool(pending) and pending[0].sql == sql

    def knows(self, sql: bytes) -> bool:
        """Whether this need not be sent. It counts as said then."""
        if not self.repeats(sql):
            return False
        self.note(self.pending[0])
        return True

    def needs_renewal(self, assignment: Assignment) -> bool:
        """Whether the session must be rid of what is pending before this is said.

        Another value for the same variables overrides them. Before anything but an assignment the
        session must be rid of it in any case: it could tell.
        """
        pending = self.pending
        if not pending or self.repeats(assignment.sql):
            return False
        if pending[0].names != assignment.names:
            return True
        return any(one.names & _READING for one in pending)

    def note(self, assignment: Assignment) -> None:
        """Note what was said."""
        self.follows = self.repeats(assignment.sql)
        self.said.append(assignment)

    def texts(self, baseline: Iterable[bytes]) -> list[bytes]:
        """What was said by now, with Django's own statements in their place."""
        said = [assignment.sql for assignment in self.said]
        return [*said[: self.early], *baseline, *said[self.early :]]

    def renewed(self) -> None:
        """The session carries nothing any more but what was said again."""
        self.carried, self.follows = (), False
