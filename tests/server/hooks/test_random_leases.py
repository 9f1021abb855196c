"""Random turns that end with a release, a close or nothing, in a block, with a cursor, or bare.

Where nothing ends a turn, the thread's next one finds what it has on Django's engine: the
connection that it had, and what it said when that was made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.observer import Observer

from .scenarios import Case, Scenario, assert_same
from .test_random_setups import EXAMPLES, MIXED, THREADS, Anything
from .ways import WAYS


class Turn(NamedTuple):
    thread: str
    said: list[str]
    end: str
    frame: str


@st.composite
def turns(draw: st.DrawFn) -> list[Turn]:
    voice = st.builds("{}/{}".format, st.sampled_from(MIXED), st.sampled_from("ab"))
    few = draw(st.lists(voice, min_size=1, max_size=4, unique=True))
    turn = st.builds(
        Turn,
        st.sampled_from(THREADS),
        st.lists(st.sampled_from(few), max_size=3, unique=True),
        st.sampled_from(["", "release", "close"]),
        st.sampled_from(["", "", "atomic", "cursor"]),
    )
    return draw(st.lists(turn, min_size=3, max_size=9))


@pytest.mark.parametrize("way", ["receiver", "init_connection_state"])
@pytest.mark.parametrize("hindered", [False, True], ids=["free", "hindered"])
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=list(HealthCheck),
)
@given(plan=turns())
@pytest.mark.long
def test_however_its_turns_end_a_thread_finds_its_own(
    server: Any, everything: Observer, way: str, hindered: bool, plan: list[Turn]
) -> None:
    def who(thread: str, turn: int) -> Sequence[str]:
        return [one.said for one in plan if one.thread == thread][turn]

    scenario = Scenario(
        "".join(turn.thread for turn in plan),
        ends=[turn.end for turn in plan],
        around=[turn.frame for turn in plan],
        pool_size=len(THREADS) + hindered,
        hindered=hindered,
    )
    assert_same(server, everything, Case(WAYS[way], who, Anything()), scenario)
