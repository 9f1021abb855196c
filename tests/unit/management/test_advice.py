"""What is recommended follows from what was measured, and from what the server allows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mysqlpool.management.advice import (
    ENOUGH,
    Level,
    advise,
    knee,
    quantile,
    reasons,
    since,
    thread_counts,
)
from mysqlpool.pool.times import Times

RATES = st.lists(st.integers(0, 100_000), min_size=1, max_size=8)


def levels(*rates: float, cpu: float = 0.0, alone: float = 0.0) -> list[Level]:
    """Levels of 1, 2, 4 and so on threads, that did so much in a second."""
    return [
        Level("queries", 2**n, 1.0, done=int(rate), median=alone, cpu=cpu)
        for n, rate in enumerate(rates)
    ]


@pytest.mark.parametrize(("share", "value"), [(0.0, 1), (0.5, 5), (0.51, 6), (0.95, 10), (1.0, 10)])
def test_a_quantile_is_a_value_that_was_measured(share: float, value: int) -> None:
    assert quantile([10, 1, 9, 2, 8, 3, 7, 4, 6, 5], share) == value


def test_a_quantile_of_nothing_is_zero() -> None:
    assert quantile([], 0.5) == 0.0


@given(st.lists(st.floats(0, 100), min_size=1), st.floats(0, 1))
def test_a_quantile_is_not_exceeded_by_its_share(values: list[float], share: float) -> None:
    found = quantile(values, share)
    assert sum(value <= found for value in values) >= share * len(values) - 1e-6


def test_what_was_measured_between_two_moments_is_told_alone() -> None:
    times = Times()
    times.add(0.002)
    before = times.histogram()
    times.add(0.2)
    between = since(before, times.histogram())
    assert between.count == 1
    assert between.seconds == pytest.approx(0.2)
    assert between.p50 > 0.1


def test_a_pool_that_was_opened_anew_meanwhile_begins_at_nothing() -> None:
    old, new = Times(), Times()
    old.add(0.2)
    new.add(0.002)
    assert since(old.histogram(), new.histogram()) == new.histogram()


# With how many threads


@pytest.mark.parametrize(
    ("limit", "room", "most", "counts"),
    [
        (5, 1000, None, [1, 2, 4, 5, 8, 10]),
        (8, 1000, None, [1, 2, 4, 8, 16]),
        (1, 1000, None, [1, 2]),
        (10, 1000, 3, [1, 2, 3]),
        (10, 1000, 1, [1]),
        (4, 1000, 64, [1, 2, 4, 8, 16, 32, 64]),
        (None, 1000, None, [1, 2, 4, 8, 16]),
        # A server that is nearly full
        (10, 12, None, [1, 2, 4, 6]),
        (10, 0, None, [1]),
        (10, 1, 100, [1]),
        (None, 6, 100, [1, 2, 3]),
        # More threads than that wait for a session, and take none.
        (3, 6, 100, [1, 2, 3, 4, 8, 16, 32, 64, 100]),
    ],
)
def test_threads_grow_to_the_limit_and_above(
    limit: int | None, room: int, most: int | None, counts: list[int]
) -> None:
    assert thread_counts(limit, room, most) == counts


@given(
    st.one_of(st.none(), st.integers(1, 200)),
    st.integers(0, 500),
    st.one_of(st.none(), st.integers(1, 300)),
)
def test_never_more_than_half_of_the_servers_room_is_taken(
    limit: int | None, room: int, most: int | None
) -> None:
    counts = thread_counts(limit, room, most)
    assert counts[0] == 1
    assert counts == sorted(set(counts))
    assert min(counts[-1], limit or counts[-1]) <= max(1, room // 2)


# The knee


def test_the_knee_is_the_fewest_threads_that_do_nearly_as_much_as_the_best() -> None:
    found = knee(levels(1000, 1900, 2000, 2100, 2050))
    assert found is not None
    assert found.threads == 2


@given(RATES)
def test_no_level_below_the_knee_does_enough(rates: list[int]) -> None:
    measured = levels(*rates)
    found = knee(measured)
    if not any(rates):
        assert found is None
        return
    assert found is not None
    assert found.rate >= ENOUGH * max(rates)
    assert all(one.rate < ENOUGH * max(rates) for one in measured if one.threads < found.threads)


def test_the_order_of_what_was_measured_does_not_matter() -> None:
    measured = levels(1000, 1900, 2000)
    assert knee(measured) == knee(measured[::-1])


# The recommendation


def test_where_throughput_stops_growing_that_many_sessions_are_recommended() -> None:
    found = advise(levels(1000, 1900, 2000, 1950), limit=8, room=100)
    assert found is not None
    assert (found.pool_size, found.rising, found.capped) == (2, False, False)
    assert found.processes == 50


def test_where_it_still_grows_the_processors_bound_is_the_estimate() -> None:
    """10 ms a piece, of which the processor needs 0.1: with 100 at once it has no pause."""
    found = advise(levels(100, 200, 400, 800, cpu=0.0001, alone=0.01), limit=8, room=1000)
    assert found is not None
    assert (found.pool_size, found.sessions, found.rising) == (100, 8, True)
    assert any("Set that and measure again" in sentence for sentence in reasons(found, 2))


def test_nobody_is_told_to_set_what_is_set() -> None:
    found = advise(levels(100, 200, 400, 800, cpu=0.01, alone=0.01), limit=8, room=1000)
    assert found is not None
    assert (found.pool_size, found.wanted, found.rising) == (8, 8, True)
    assert any("Set more and measure again" in sentence for sentence in reasons(found, 2))


def test_threads_that_only_waited_do_not_hide_that_it_still_grew() -> None:
    measured = levels(100, 200, 400, 405, cpu=0.0001, alone=0.01)
    found = advise(measured, limit=4, room=1000)
    assert found is not None
    assert (found.rising, found.sessions, found.pool_size) == (True, 4, 100)


def test_no_more_is_recommended_than_the_server_has_room_for() -> None:
    found = advise(levels(100, 200, 400, 800), limit=8, room=3)
    assert found is not None
    assert (found.pool_size, found.wanted, found.capped) == (3, 8, True)
    assert any("room for 3" in sentence for sentence in reasons(found, 2))


def test_a_full_server_has_one_session_recommended_and_says_so() -> None:
    found = advise(levels(100, 200), limit=2, room=0)
    assert found is not None
    assert (found.pool_size, found.capped, found.processes) == (1, True, 0)


def test_of_one_thread_alone_nothing_is_extrapolated() -> None:
    found = advise(levels(100, cpu=0.0001, alone=0.01), limit=10, room=100)
    assert found is not None
    assert (found.pool_size, found.rising) == (1, False)


@pytest.mark.parametrize("measured", [[], levels(0), levels(0, 0)])
def test_where_nothing_was_done_nothing_is_recommended(measured: list[Level]) -> None:
    assert advise(measured, limit=10, room=100) is None


@given(RATES, st.one_of(st.none(), st.integers(1, 50)), st.integers(0, 100))
def test_a_recommendation_is_possible_and_explained(
    rates: list[int], limit: int | None, room: int
) -> None:
    found = advise(levels(*rates, cpu=0.001, alone=0.02), limit, room)
    if found is None:
        return
    assert 1 <= found.pool_size <= max(1, room)
    sentences = list(reasons(found, cores=2))
    assert all(sentence[0].isupper() or sentence[0].isdigit() for sentence in sentences)
    assert all(sentence.endswith(".") for sentence in sentences)
    assert any("2 cores" in sentence for sentence in sentences)
    assert any("Little" in sentence for sentence in sentences)
