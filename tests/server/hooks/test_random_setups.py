"""Random set-ups of random threads: each turn shows what it shows on Django's engine.

In each turn a thread says nothing, or up to four things, each with a value of its own. Whatever
the turns before it left, it must find what a fresh connection with its own set-up has.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.observer import Observer

from .says import SAYS, Say
from .scenarios import Case, Scenario, assert_same
from .ways import WAYS

EXAMPLES = int(os.environ.get("MYSQLPOOL_EXAMPLES", "12"))
THREADS = "abc"

# Not those that need settings of their own, that only one session can have, that forbid what the
# others do, or that change the database for all turns to come.
MIXED = [
    name
    for name, say in SAYS.items()
    if say.only in (None, os.environ["MYSQLPOOL_SERVER"])
    and not (say.settings or say.exclusive or say.unless_silent or say.commits)
    and name not in ("locked_table", "handler", "next_key", "read_only", "next_transaction")
]


class Anything(Say):
    """Says what a voice names: ``name/a`` is what `SAYS` has of that name, in the voice ``a``."""

    def speak(self, raw: Any, execute: Any, voice: str) -> None:
        name, _, own = voice.partition("/")
        SAYS[name].speak(raw, execute, own)


@st.composite
def turns(draw: st.DrawFn) -> list[tuple[str, list[str]]]:
    """Who has a turn, and what is said in it."""
    voice = st.builds("{}/{}".format, st.sampled_from(MIXED), st.sampled_from("ab"))
    # From a few, so that threads often say nearly the same.
    few = draw(st.lists(voice, min_size=1, max_size=4, unique=True))
    said = st.lists(st.sampled_from(few), max_size=4, unique=True)
    return draw(st.lists(st.tuples(st.sampled_from(THREADS), said), min_size=3, max_size=9))


@pytest.mark.parametrize("way", ["receiver", "init_connection_state"])
@pytest.mark.parametrize("pool_size", [1, 2])
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(plan=turns())
@pytest.mark.long
def test_whatever_was_said_before_a_turn_finds_its_own(
    server: Any,
    everything: Observer,
    way: str,
    pool_size: int,
    plan: list[tuple[str, list[str]]],
) -> None:
    def who(thread: str, turn: int) -> Sequence[str]:
        return [said for name, said in plan if name == thread][turn]

    order = "".join(thread for thread, _ in plan)
    case = Case(WAYS[way], who, Anything())
    assert_same(server, everything, case, Scenario(order, pool_size=pool_size))
