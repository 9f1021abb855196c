"""An application cannot tell our engine from Django's, whatever it does with transactions."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from .dangers import DANGERS
from .modes import LEASES, MODES, pool
from .player import differences, play
from .programs import Program, programs
from .world import OURS, STOCK, World, alias

EXAMPLES = int(os.environ.get("MYSQLPOOL_PROGRAMS", "60"))
KINDS = {f"{mode}, {lease}": pool(mode, lease) for mode in MODES for lease in LEASES}


def assert_same(program: Program, here: World) -> None:
    """A program shows on our engine, in each way to begin and each tenure, what it shows on
    Django's.
    """
    with alias("begin", STOCK) as name:
        stock = play(program, name, here)
    found = []
    for kind, options in KINDS.items():
        with alias("begin", OURS, OPTIONS={"pool": options}) as name:
            ours = play(program, name, here)
        found += [f"{kind}: {line}" for line in differences(stock, ours)]
    assert not found, "\n".join([f"{program!r}", "is not as on Django's engine:", *found])


# Where somebody asks for more programs they are others each time.
@pytest.mark.timeout(300 + EXAMPLES)
@settings(
    max_examples=EXAMPLES,
    derandomize="MYSQLPOOL_PROGRAMS" not in os.environ,
    print_blob=True,
    deadline=None,
    database=None,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=list(HealthCheck),
)
@given(program=programs())
def test_a_random_program_shows_what_it_shows_on_djangos_engine(
    here: World, program: Program
) -> None:
    assert_same(program, here)


@pytest.mark.parametrize("danger", DANGERS)
def test_a_known_danger_shows_what_it_shows_on_djangos_engine(here: World, danger: str) -> None:
    assert_same(DANGERS[danger], here)


@pytest.mark.parametrize(
    ("danger", "number"),
    [
        ("a deadlock, not caught", 1213),
        ("a lock wait timeout", 1205),
        ("killed", 1317),
        ("tables locked before", 1099),
    ],
)
def test_a_danger_is_what_it_is_called(here: World, danger: str, number: int) -> None:
    with alias("begin", STOCK) as name:
        views = play(DANGERS[danger], name, here)
    assert number in {view.error[1] for view in views if view.error and len(view.error) > 2}
