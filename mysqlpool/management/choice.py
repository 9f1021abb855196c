"""Which aliases a command is about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.core.management.base import CommandError
from django.db import connections

from mysqlpool.checks import our_aliases
from mysqlpool.conf.rules import did_you_mean

__all__ = ["Choice", "chosen"]


@dataclass(frozen=True, slots=True)
class Choice:
    """``aliases`` are on our engine; ``others``, with their engines, are not and are left out."""

    aliases: tuple[str, ...]
    others: tuple[tuple[str, str], ...] = ()

    @property
    def note(self) -> str:
        """What is left out, in a sentence; empty where that is nothing."""
        named = ", ".join(f"{alias!r} (on {engine})" for alias, engine in self.others)
        return f"Left out, as they have no pool of mysqlpool: {named}." if named else ""


def chosen(wanted: str | Sequence[str] | None) -> Choice:
    """All aliases on our engine, or those that ``--database`` named.

    Raises ``CommandError`` for one that is not in ``DATABASES`` or has another engine, and where
    there is none at all.
    """
    ours = list(our_aliases())
    if wanted:
        names = [wanted] if isinstance(wanted, str) else list(dict.fromkeys(wanted))
        for name in names:
            _refuse_foreign(name, ours)
        return Choice(tuple(names))
    if not ours:
        raise CommandError(
            "No database uses mysqlpool. Set 'ENGINE': 'mysqlpool.backends.mysqlpool' in DATABASES."
        )
    others = {alias: one["ENGINE"] for alias, one in connections.settings.items()}
    return Choice(tuple(ours), tuple((a, e) for a, e in others.items() if a not in ours))


def _refuse_foreign(name: str, ours: Sequence[str]) -> None:
    known = connections.settings
    if name not in known:
        names = f"there are: {', '.join(sorted(known))}"
        advice = did_you_mean(name, known) or names
        raise CommandError(f"--database: DATABASES has no {name!r}; {advice}")
    if name not in ours:
        engine = known[name]["ENGINE"]
        advice = f"on mysqlpool are: {', '.join(ours) or 'none'}"
        raise CommandError(f"--database: {name!r} is on {engine} and has no pool; {advice}")
