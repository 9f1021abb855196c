"""An application cannot tell our engine from Django's, whatever it does with transactions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from .dangers import DANGERS
from .modes import LEASES, MODES, pool
from .player import differences, play
from .programs import SELECT, Block, Call, Program, Sql, insert, programs
from .world import OURS, STOCK, World, alias

EXAMPLES = int(os.environ.get("MYSQLPOOL_PROGRAMS", "150"))
KINDS = {f"{mode}, {lease}": pool(mode, lease) for mode in MODES for lease in LEASES}

# An alias's settings, for both engines
USUAL: Mapping[str, Any] = MappingProxyType({})
AUTOCOMMIT_OFF: Mapping[str, Any] = MappingProxyType({"AUTOCOMMIT": False})
ONE_STATEMENT: Mapping[str, Any] = MappingProxyType({"OPTIONS": {"multi_statements": False}})


def assert_same(
    program: Program, here: World, aliases: Mapping[str, Any] = USUAL, *, logged: bool = True
) -> None:
    """A program shows on our engine, in each way to begin and each tenure, what it shows on
    Django's.
    """
    with alias("begin", STOCK, **aliases) as name:
        stock = play(program, name, here, logged=logged)
    found = []
    for kind, own in KINDS.items():
        options = {**aliases.get("OPTIONS", {}), "pool": own}
        with alias("begin", OURS, **{**aliases, "OPTIONS": options}) as name:
            ours = play(program, name, here, logged=logged)
        found += [f"{kind}: {line}" for line in differences(stock, ours)]
    assert not found, "\n".join([f"{program!r}", "is not as on Django's engine:", *found])


# Where somebody asks for thousands of programs they are others each time.
@pytest.mark.timeout(300 + EXAMPLES)
@settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 1000,
    print_blob=True,
    deadline=None,
    database=None,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=list(HealthCheck),
)
@given(
    program=programs(),
    aliases=st.sampled_from([USUAL, USUAL, USUAL, ONE_STATEMENT, AUTOCOMMIT_OFF]),
    logged=st.booleans(),
)
@pytest.mark.long
def test_a_random_program_shows_what_it_shows_on_djangos_engine(
    here: World, program: Program, aliases: Mapping[str, Any], logged: bool
) -> None:
    # Where autocommit is off Django logs a BEGIN whenever it connects, for which we need not.
    assert_same(program, here, aliases, logged=logged and aliases is not AUTOCOMMIT_OFF)


@pytest.mark.parametrize("danger", DANGERS)
def test_a_known_danger_shows_what_it_shows_on_djangos_engine(here: World, danger: str) -> None:
    assert_same(DANGERS[danger], here)


def test_autocommit_that_was_switched_on_outlasts_an_error(here: World) -> None:
    switched_on = Call("set_autocommit", True)
    program = (switched_on, Sql("SELECT * FROM no_such_table"), Sql(insert(1)), Sql(SELECT))
    assert_same(program, here, AUTOCOMMIT_OFF)


def test_a_rollback_that_is_due_ends_with_its_connection(here: World) -> None:
    assert_same(DANGERS["a deadlock, then closed by hand"], here, AUTOCOMMIT_OFF)


@pytest.mark.parametrize("left", [2, 8, 16, 17, 18, 19, 20, 24])
def test_a_text_that_only_just_fits_into_a_packet_does(here: World, left: int) -> None:
    """What begins the transaction must not make it too big."""
    with here.packets_of(65_536) as greatest:
        text = "SELECT LENGTH('{}')"
        filled = text.format("x" * (greatest - left - len(text.format(""))))
        program = (Block((Sql(filled), Sql(SELECT))),)
        assert_same(program, here)
        with alias("begin", STOCK) as name:
            assert not any(view.error for view in play(program, name, here)), "it is too big"


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
