"""How contestants take turns, so that whatever else the machine does falls on all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import methodcaller
from typing import TypeVar

from tqdm import tqdm

from tests.server import Server

from .contestants import Contestant, contestants

__all__ = ["Stage", "column"]

T = TypeVar("T")


@dataclass(frozen=True)
class Stage:
    """What a scenario is given: the server, and how much it shall do.

    ``quick`` is for a look at whether all works: its figures say nothing. ``rounds`` and
    ``seconds`` stand in for a scenario's own numbers, where they are not None.
    """

    server: Server
    quick: bool = False
    rounds: int | None = None
    seconds: float | None = None

    def amount(self, full: T, quick: T) -> T:
        """One of both, by how thorough this run is."""
        return quick if self.quick else full

    def seconds_of(self, full: float) -> float:
        """How long a run of threads goes on."""
        return self.seconds or self.amount(full, 0.1)

    def contestants(self, *keys: str) -> list[Contestant]:
        """Those of these keys, or all."""
        return [one for one in contestants(self.server) if not keys or one.key in keys]

    def turns(
        self, label: str, ways: Mapping[str, Callable[[], T]], rounds: int
    ) -> dict[str, list[T]]:
        """Call each so many times, in rounds; what each returned, by name.

        Every second round goes backwards, so that nobody always comes after the same one.
        """
        rounds = self.rounds or self.amount(rounds, 2)
        found: dict[str, list[T]] = {name: [] for name in ways}
        # Without a terminal there is no bar.
        for number in tqdm(range(rounds), desc=label, unit="round", leave=False, disable=None):
            for name in reversed([*ways]) if number % 2 else ways:
                found[name].append(ways[name]())
        return found

    def contest(
        self,
        label: str,
        who: Sequence[Contestant],
        measure: Callable[[Contestant], T],
        rounds: int,
    ) -> dict[str, list[T]]:
        """The same with contestants, each on stage for its turn. All close at the end."""
        ways = {one.name: partial(_on_stage, one, measure) for one in who}
        try:
            return self.turns(label, ways, rounds)
        finally:
            for one in who:
                _on_stage(one, methodcaller("close"))


def _on_stage(one: Contestant, measure: Callable[[Contestant], T]) -> T:
    with one.on_stage():
        return measure(one)


def column(found: Mapping[str, Iterable[Mapping[str, float]]], unit: str) -> dict[str, list[float]]:
    """One of the figures that each turn had, by name."""
    return {name: [turn[unit] for turn in turns] for name, turns in found.items()}
