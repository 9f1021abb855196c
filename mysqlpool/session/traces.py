"""What statements left in a session, and which later statements take it back.

A session is clean again after `SET foreign_key_checks = 0`, which Django's ``flush`` and
``loaddata`` send, when it is told the former value, and after ``GET_LOCK()`` when that lock was
released as often as it was taken. Only the plain forms count, as the only statement of a text and
with constants; everything else lasts.

Sources: "Locking Functions" and "Server System Variables" of the manual of MySQL 8.4, "GET_LOCK",
"RELEASE_LOCK" and "RELEASE_ALL_LOCKS" of MariaDB's. Both servers count how often one session took
one lock. tests/server/session/test_state.py and test_taken_back.py ask them.
"""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from .lexical import END, GAP, OPTIONAL, compiled

__all__ = ["NAMED_LOCK", "SWITCHES", "Change", "Lock", "Switch", "Traces", "Unlock", "change_of"]

NAMED_LOCK = "GET_LOCK"
_SET = "SET"


class Switch(NamedTuple):
    """A session variable is set to ``"0"`` or ``"1"``."""

    name: str
    value: str


class Lock(NamedTuple):
    """A named lock is taken, if it is free in time. The name is as it was written."""

    name: bytes


class Unlock(NamedTuple):
    """A named lock is released once; without a name all of them, as often as they were taken."""

    name: bytes | None


Change = Switch | Lock | Unlock

# These are on or off, and setting one changes nothing else.
_SWITCHES = ("foreign_key_checks", "unique_checks", "sql_safe_updates", "sql_notes")
_SWITCH = f"(?P<switch> {' | '.join(_SWITCHES)} )"
SWITCHES = f"SELECT CONCAT({', '.join(f'@@SESSION.{name} + 0' for name in _SWITCHES)})".encode()
"""What a clean session is asked, for `Traces.learn`."""

_VALUE = "(?: (?P<on> 1 | ON | TRUE ) | 0 | OFF | FALSE )"
# With a backslash or a quote in it, the same bytes may be different names by the SQL mode.
_NAME = r"(?P<name> '[^'\\\x00]*+' (?!') )"
_SECONDS = r"[+-]?+ [0-9]++ (?: \. [0-9]++ )?+"
_ALIAS = rf"(?: {GAP} AS {GAP} [A-Z_]\w*+ )?+"
_CHANGE = compiled(rf"""{OPTIONAL} (?:
    SET {GAP} (?: SESSION {GAP} )?+ {_SWITCH} {OPTIONAL} = {OPTIONAL} {_VALUE} {END}
  | (?: SELECT | DO ) {GAP} (?:
        GET_LOCK {OPTIONAL} \( {OPTIONAL} {_NAME} {OPTIONAL} , {OPTIONAL} {_SECONDS}
      | (?P<releases> RELEASE_LOCK ) {OPTIONAL} \( {OPTIONAL} {_NAME.replace("name", "released")}
      | (?P<all> RELEASE_ALL_LOCKS ) {OPTIONAL} \(
    ) {OPTIONAL} \) {_ALIAS}
) {OPTIONAL} ;?+ {OPTIONAL} \Z""")


def change_of(sql: bytes, dirty: str | None) -> Change | None:
    """What a text does that another one takes back, where that is all it does; else None.

    ``dirty`` is what the classifier says of it, which knows how the server reads it.
    """
    if dirty not in (None, _SET, NAMED_LOCK) or not (match := _CHANGE.match(sql)):
        return None
    if match["switch"]:
        return Switch(match["switch"].decode().lower(), "1" if match["on"] else "0")
    if match["releases"] or match["all"]:
        return Unlock(match["released"])
    return Lock(match["name"])


class Traces:
    """What is amiss in a session.

    What `about_to` and `leave` are told of is noted before it is sent: a statement that failed may
    have done it. What takes something back counts when it has succeeded, see `done`. Each returns
    why the session is dirty, or None.
    """

    __slots__ = ("_baseline", "_lasting", "_locks", "_switched", "is_clearable")

    is_clearable: bool
    """Whether COM_CHANGE_USER undoes all that `leave` was told of."""

    def __init__(self) -> None:
        self._lasting: dict[str, None] = {}
        self._locks: Counter[bytes] = Counter()  # at most so often, as the lock may not be free
        self._switched: set[str] = set()
        self._baseline: dict[str, str] = {}
        self.is_clearable = True

    @property
    def reasons(self) -> tuple[str, ...]:
        """The verbs and constructs that left something, never a value."""
        open_ones = [_SET] * bool(self._switched) + [NAMED_LOCK] * bool(self._locks)
        return tuple(dict.fromkeys([*self._lasting, *open_ones]))

    @property
    def has_locks(self) -> bool:
        """Whether a named lock may be held, for which others wait."""
        return bool(self._locks)

    def leave(self, reason: str, *, clearable: bool = False) -> str:
        """Note what no statement takes back, and whether COM_CHANGE_USER does."""
        self.is_clearable = self.is_clearable and clearable
        self._lasting.setdefault(reason)
        return self.reasons[0]

    @property
    def knows_baseline(self) -> bool:
        """Whether it is known what `SWITCHES` are in a clean session."""
        return bool(self._baseline)

    def learn(self, values: str) -> None:
        """Note what a clean session answered to `SWITCHES`."""
        self._baseline = dict(zip(_SWITCHES, values, strict=False))

    def forget_baseline(self) -> None:
        """Another set-up may have given the variables other values."""
        self._baseline.clear()

    def about_to(self, change: Change) -> str | None:
        """Note what is about to be sent."""
        if isinstance(change, Switch):
            self._switched.add(change.name)
        elif isinstance(change, Lock):
            self._locks[change.name] += 1
        return self._reason()

    def done(self, change: Change) -> str | None:
        """Note that it succeeded."""
        if isinstance(change, Switch):
            if change.value == self._baseline.get(change.name):
                self._switched.remove(change.name)
        elif isinstance(change, Unlock):
            self._release(change.name)
        return self._reason()

    def _release(self, name: bytes | None) -> None:
        if name is None:
            self._locks.clear()
        elif name in self._locks:
            self._locks[name] -= 1
            self._locks += Counter()  # which drops what is at zero

    def _reason(self) -> str | None:
        reasons = self.reasons
        return reasons[0] if reasons else None
