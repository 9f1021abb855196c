"""Upkeep: what is found and claimed when somebody looks after the slots.

Leases whose thread has ended or whose handle is gone are taken back, those held for long are told
of, and sessions that were disposed of or not needed for long are claimed. Who looks is whoever
leases or returns when something has come due: there is no background thread.
"""

from __future__ import annotations

from dataclasses import dataclass

from .holders import Held
from .locks import under
from .slots import Slots, holding

__all__ = ["Found", "look_after"]

# Seconds between two looks at a thread that is just ending.
LAST_BREATH = 0.005


@dataclass(frozen=True, slots=True)
class Found:
    """What a look at the leases brought to light: those taken back, why, and those held long."""

    reaped: list[tuple[Held, str]]
    leaked: list[Held]


def look_after(slots: Slots, now: float) -> Found | None:
    """Claim what is to be closed, into ``slots.chores``, and serve whom that helps.

    None when it interrupted a locked section of this thread, which will see to it afterwards.
    """
    return under(slots.lock, _look_after, slots, now)


def _look_after(slots: Slots, now: float) -> Found | None:
    if slots.busy:
        slots.untidy = True
        return None
    slots.busy = True
    try:
        slots.untidy = False
        slots.fold()
        leaked = _find_leaks(slots, now)
        reaped = _reap(slots, now)
        _prune(slots, now)
        slots.serve(now)
        return Found(reaped, leaked)
    finally:
        slots.busy = False


# All below: the caller holds the lock and has set ``busy``.


def _find_leaks(slots: Slots, now: float) -> list[Held]:
    """The leases that have lasted for ``leak_after`` and were not reported yet."""
    leaks: list[Held] = []
    slots.tidy_at = now + min(slots.limits.max_idle, slots.limits.leak_after)
    for record, owner in slots.out.items():
        if owner is None or record.leaked == record.since:
            continue
        due = record.since + slots.limits.leak_after
        if now < due:
            slots.tidy_at = min(slots.tidy_at, due)
        else:
            record.leaked = record.since
            leaks.append(holding(record, owner, now))
    return leaks


def _reap(slots: Slots, now: float) -> list[tuple[Held, str]]:
    """Claim leases whose thread has ended or whose handle is gone."""
    slots.dying = False
    reaped: list[tuple[Held, str]] = []
    for record, owner in list(slots.out.items()):
        if owner is None or not (owner.ended or record.lost == record.serial):
            continue
        if owner.ended and not owner.gone():
            slots.dying, slots.tidy_at = True, now + LAST_BREATH
            continue
        reason = "thread ended" if owner.ended else "lost"
        reaped.append((holding(record, owner, now), reason))
        record.fairy_ref = None  # SQLAlchemy's finalizer then leaves it alone.
        slots.shut(record)
        slots.chores.append((record, None, reason))
    slots.tally.events["reaped"] += len(reaped)
    return reaped


def _prune(slots: Slots, now: float) -> None:
    """Claim idle sessions that were disposed of, or not needed for ``max_idle``."""
    for record in [r for r in slots.idle if r.generation != slots.generation]:
        slots.idle.remove(record)
        slots.chores.append((record, None, "disposed"))
        slots.out[record] = None
    while len(slots.idle) > slots.limits.min_idle:
        record = slots.idle[0]
        due = record.idle_since + slots.limits.max_idle
        if now < due:
            slots.tidy_at = min(slots.tidy_at, due)
            return
        slots.out[record] = None
        slots.chores.append((record, None, "idle"))
        slots.idle.popleft()
    if slots.idle:  # One that min_idle keeps may be superfluous soon.
        slots.tidy_at = min(slots.tidy_at, now + slots.limits.max_idle / 10)
