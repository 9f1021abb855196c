"""Whatever hooks into Django is heard here as on Django's engine, and by nobody else.

A case is a way to hook in, something to say, and who says it when. Long-lived threads take turns in
an order that is forced, on a pool of one session unless a case says otherwise. What they see in
each turn is compared with what they see on ``django.db.backends.mysql``, below the same class and
with the same receiver.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from tests.observer import Observer

from .says import SAYS
from .scenarios import WHO_SPEAKS, Case, Scenario, assert_same
from .ways import WAYS

# What a session may remember, what it may not, and what is no variable at all.
TYPICAL = ("constant", "user_variable", "use")

HERE = [name for name, say in SAYS.items() if say.only in (None, os.environ["MYSQLPOOL_SERVER"])]
LOUD = [name for name in HERE if not SAYS[name].unless_silent]

ALL_OF_THAT = Scenario("abcabacbabcab")


def case(way: str, say: str, who: str) -> Case:
    return Case(WAYS[way], WHO_SPEAKS[who], SAYS[say])


@pytest.mark.parametrize("say", [*TYPICAL, "attribute"])
@pytest.mark.parametrize("who", [who for who in WHO_SPEAKS if who != "all of that"])
@pytest.mark.parametrize("way", ["receiver", "init_connection_state"])
def test_who_speaks_is_heard_and_nobody_else(
    server: Any, everything: Observer, way: str, who: str, say: str
) -> None:
    assert_same(server, everything, case(way, say, who), Scenario())


@pytest.mark.parametrize("say", TYPICAL)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_hook_in_is_heard(
    server: Any, everything: Observer, way: str, say: str
) -> None:
    assert_same(server, everything, case(way, say, "all of that"), ALL_OF_THAT)


@pytest.mark.parametrize("say", LOUD)
@pytest.mark.parametrize("way", ["receiver", "init_connection_state"])
@pytest.mark.long
def test_everything_that_can_be_said_is_heard(
    server: Any, everything: Observer, way: str, say: str
) -> None:
    assert_same(server, everything, case(way, say, "all of that"), ALL_OF_THAT)
