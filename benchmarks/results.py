"""What a result is: the samples of a contestant, and how many times the reference's they are."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

__all__ = [
    "FORMAT",
    "Result",
    "Spread",
    "by_table",
    "compare",
    "from_json",
    "more_is_better",
    "to_json",
]

FORMAT = 1  # of the files; a reader of another one refuses them


@dataclass(frozen=True)
class Spread:
    """The quartiles: a quarter of the values is below ``low``, and a quarter above ``high``."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Those of some values, of which there must be one at least.

        Between two values they are interpolated, and never beyond the least and the greatest.
        """
        if not values:
            raise ValueError("there are no quartiles of no values")
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        return cls(*statistics.quantiles(values, n=4, method="inclusive"))


@dataclass(frozen=True)
class Result:
    """What one contestant did in one case of a scenario.

    ``samples`` has a value for each of its turns. ``ratio`` is the spread of what each is, divided
    by the one that ``reference`` had in the same round; None where the reference has a zero.
    """

    scenario: str
    case: str
    contestant: str
    unit: str
    samples: tuple[float, ...]
    reference: str
    ratio: Spread | None

    @property
    def spread(self) -> Spread:
        return Spread.of(self.samples)


def more_is_better(unit: str) -> bool:
    """Whether it is a rate. All else is time, or work, that had better be less."""
    return unit.endswith("/s")


def ratios(upper: Sequence[float], lower: Sequence[float]) -> list[float] | None:
    """Those of turns that ran side by side; None where one would be divided by zero.

    ValueError where one of both had more turns.
    """
    pairs = list(zip(upper, lower, strict=True))
    return None if any(b == 0 for _, b in pairs) else [a / b for a, b in pairs]


def compare(
    scenario: str, case: str, unit: str, samples: Mapping[str, Sequence[float]], reference: str
) -> list[Result]:
    """The results of all contestants in one case, by the samples of each."""
    found = []
    for contestant, mine in samples.items():
        over = ratios(mine, samples[reference])
        ratio = None if over is None else Spread.of(over)
        found.append(Result(scenario, case, contestant, unit, tuple(mine), reference, ratio))
    return found


def by_table(results: Iterable[Result]) -> Iterator[tuple[str, str, list[Result]]]:
    """Yield scenario, unit, and the results that have both, in the order of their first ones."""
    order: dict[tuple[str, str], list[Result]] = {}
    for result in results:
        order.setdefault((result.scenario, result.unit), []).append(result)
    for (scenario, unit), mine in order.items():
        yield scenario, unit, mine


def by_case(results: Iterable[Result]) -> Iterator[tuple[str, list[Result]]]:
    """Yield each case with its results, which stand one after the other."""
    for case, mine in groupby(results, key=lambda result: result.case):
        yield case, list(mine)


def to_json(results: Iterable[Result], conditions: Mapping[str, Any]) -> str:
    """What a file has: under which conditions it was measured, and what was seen, a line each.

    Numbers have six digits.
    """
    lines = ",\n".join(json.dumps(_shortened(dataclasses.asdict(result))) for result in results)
    head = json.dumps({"format": FORMAT, **conditions, "results": []}, indent=1)
    return head.removesuffix("[]\n}") + f"[\n{lines}\n]}}\n"


def _shortened(value: Any) -> Any:
    """The same with six digits in each number, wherever it stands."""
    if isinstance(value, dict):
        return {name: _shortened(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shortened(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def from_json(document: Mapping[str, Any]) -> list[Result]:
    """The results in what `to_json` made, read. ValueError for a file of another format."""
    if document.get("format") != FORMAT:
        raise ValueError(f"this reads files of format {FORMAT}, not {document.get('format')!r}")
    return [_result(entry) for entry in document["results"]]


def _result(entry: Mapping[str, Any]) -> Result:
    ratio = None if entry["ratio"] is None else Spread(**entry["ratio"])
    return Result(**{**entry, "samples": tuple(entry["samples"]), "ratio": ratio})
