"""The same where turns do not end with a release, or something binds a thread to its session.

On Django's engine a thread that releases nothing keeps its connection, and what it once said holds.
With transaction tenure its statements may go to any session meanwhile, which must not show.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.observer import Observer

from .says import SAYS
from .scenarios import WHO_SPEAKS, Case, Scenario, assert_same
from .test_table import ALL_OF_THAT, HERE, TYPICAL
from .ways import WAYS

# Two sessions cannot have these at once, or nobody else can do anything meanwhile.
ALONE = ("locked_table",)

UNRELEASED = [name for name in HERE if name not in ALONE and not SAYS[name].unless_silent]

KEPT = Scenario("ababab", ends="", pool_size=3)


def case(way: str, say: str, who: str) -> Case:
    return Case(WAYS[way], WHO_SPEAKS[who], SAYS[say])


@pytest.mark.parametrize("say", UNRELEASED)
@pytest.mark.parametrize("way", ["receiver", "init_connection_state"])
@pytest.mark.parametrize("hindered", [False, True], ids=["free", "hindered"])
@pytest.mark.long
def test_a_thread_that_releases_nothing_keeps_what_it_said(
    server: Any, everything: Observer, way: str, say: str, hindered: bool
) -> None:
    scenario = Scenario("ababab", ends="", pool_size=3, hindered=hindered)
    leases = ["transaction"] if hindered else ["task", "transaction"]
    assert_same(server, everything, case(way, say, "each for itself"), scenario, leases)


@pytest.mark.parametrize("say", TYPICAL)
@pytest.mark.parametrize("way", WAYS)
def test_so_does_it_however_it_hooked_in(
    server: Any, everything: Observer, way: str, say: str
) -> None:
    scenario = Scenario("ababab", ends="", pool_size=3, hindered=True)
    assert_same(server, everything, case(way, say, "each for itself"), scenario, ["transaction"])


@pytest.mark.parametrize("say", ["constant", "user_variable", "use", "relative", "attribute"])
@pytest.mark.parametrize("who", ["only some", "silent after having spoken", "now this, now that"])
def test_so_does_it_whoever_speaks(server: Any, everything: Observer, who: str, say: str) -> None:
    assert_same(server, everything, case("receiver", say, who), KEPT)


@pytest.mark.parametrize("say", [*TYPICAL, "read_only", "snapshot", "lock", "insert", "begin"])
@pytest.mark.parametrize("frame", ["atomic", "cursor"])
@pytest.mark.parametrize("ends", ["release", "close", ""])
def test_a_block_or_a_cursor_around_a_turn_changes_nothing(
    server: Any, everything: Observer, frame: str, ends: str, say: str
) -> None:
    scenario = Scenario("ababab", ends=ends, around=frame, pool_size=2)
    assert_same(server, everything, case("receiver", say, "each for itself"), scenario)


@pytest.mark.parametrize("say", [*TYPICAL, "attribute", "temporary_table", "role"])
@pytest.mark.parametrize("pool_size", [1, 2])
def test_a_close_is_as_good_as_a_release(
    server: Any, everything: Observer, pool_size: int, say: str
) -> None:
    scenario = Scenario(ALL_OF_THAT.order, ends="close", pool_size=pool_size)
    assert_same(server, everything, case("receiver", say, "all of that"), scenario)
