"""Whatever is done to a pool, in whatever order and with whatever faults: its limit and slots.

The number of examples goes by ``MYSQLPOOL_STRESS_SECONDS``: it is 150 for the default, 2.
"""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
)

from mysqlpool.pool import FairQueuePool, Lease
from mysqlpool.pool.lease import Request
from mysqlpool.pool.record import State
from tests.fake_driver import DriverError, FakeDriver, assert_conserved, fake_time
from tests.helpers import STRESS_SECONDS

SIZE, OVERFLOW = 2, 1
FAULTS = (
    DriverError(1040, "full"),
    DriverError(2003, "no server"),
    ValueError(),
    KeyboardInterrupt(),
    SystemExit(),
    GeneratorExit(),
    MemoryError(),
)

SITES = ["connect", "check", "reset", "close"]
INDEX = st.integers(0, SIZE + OVERFLOW - 1)


class PoolMachine(RuleBasedStateMachine):
    """One thread, so that each request beyond the limit times out; the clock is a fake."""

    def __init__(self) -> None:
        super().__init__()
        self.driver, self.patches = FakeDriver(), contextlib.ExitStack()
        self.clock = self.patches.enter_context(fake_time())
        self.patches.enter_context(
            mock.patch.object(Request, "park", lambda _, seconds: self.clock.advance(seconds))
        )
        self.pool = FairQueuePool(
            self.driver.connect,
            SIZE,
            OVERFLOW,
            timeout=3,
            recycle=100,
            max_idle=30,
            check=self.driver.check,
        )
        # Not bundles, which would keep what they hold alive.
        self.leases: list[Lease] = []
        self.proxies: list[Any] = []

    def attempt(self, function: Any) -> Any:
        try:
            return function()
        except BaseException as error:
            if not isinstance(error, (Exception, *(type(fault) for fault in FAULTS))):
                raise
            error.__traceback__ = None
            return None

    @rule()
    def lease(self) -> None:
        lease = self.attempt(self.pool.lease)
        if lease is not None:
            assert lease.session in self.driver.open
            self.leases.append(lease)

    @rule()
    def connect(self) -> None:
        proxy = self.attempt(self.pool.connect)
        if proxy is not None:
            self.proxies.append(proxy)

    @rule(at=INDEX, twice=st.booleans())
    def give_back(self, at: int, twice: bool) -> None:
        for lease in self.leases[at : at + 1]:
            self.attempt(lease.give_back)
        if not twice:
            del self.leases[at : at + 1]

    @rule(at=INDEX, twice=st.booleans())
    def discard(self, at: int, twice: bool) -> None:
        for lease in self.leases[at : at + 1]:
            self.attempt(lambda: lease.discard("test"))  # noqa: B023
        if not twice:
            del self.leases[at : at + 1]

    @rule(at=INDEX)
    def drop(self, at: int) -> None:
        """The handle is collected at once."""
        del self.leases[at : at + 1]

    @rule(at=INDEX)
    def close(self, at: int) -> None:
        for proxy in self.popped(at):
            self.attempt(proxy.close)

    @rule(at=INDEX)
    def invalidate(self, at: int) -> None:
        for proxy in self.popped(at):
            if proxy.dbapi_connection is not None:
                self.attempt(proxy.invalidate)

    @rule(at=INDEX)
    def invalidate_softly(self, at: int) -> None:
        for proxy in self.popped(at):
            proxy.invalidate(soft=True)
            self.attempt(proxy.close)

    @rule(at=INDEX)
    def detach(self, at: int) -> None:
        for proxy in self.popped(at):
            session = proxy.dbapi_connection
            self.attempt(session.close)  # Closed first, lest it exceed the limit unpooled.
            proxy.detach()

    def popped(self, at: int) -> list[Any]:
        found = self.proxies[at : at + 1]
        del self.proxies[at : at + 1]
        return found

    @rule()
    def dispose(self) -> None:
        self.attempt(self.pool.dispose)

    @rule()
    def kill_idle(self) -> None:
        for record in self.pool.slots.idle:
            session: Any = record.dbapi_connection
            session.alive = False

    @rule(seconds=st.sampled_from([0.1, 20, 40, 101]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(what=st.sampled_from(SITES), fault=st.sampled_from(FAULTS))
    def plan_fault(self, what: str, fault: BaseException) -> None:
        # A new one: its traceback will keep frames, and with them handles.
        self.driver.faults[what].append(type(fault)(*fault.args))

    @invariant()
    def the_limit_holds(self) -> None:
        slots = self.pool.slots
        assert len(slots.idle) + len(slots.out) <= SIZE + OVERFLOW
        assert len(self.driver.open) <= SIZE + OVERFLOW
        assert self.driver.peak <= SIZE + OVERFLOW
        assert len(slots.idle) <= SIZE

    @invariant()
    def no_session_is_in_two_places(self) -> None:
        slots = self.pool.slots
        assert not set(slots.idle) & set(slots.out)
        held = [record.dbapi_connection for record in (*slots.idle, *slots.out)]
        open_ones = [session for session in held if session is not None]
        assert len(set(open_ones)) == len(open_ones)
        assert set(open_ones) == set[object](self.driver.open)

    @invariant()
    def each_slot_is_where_its_state_says(self) -> None:
        slots = self.pool.slots
        assert all(record.state is State.IDLE for record in slots.idle)
        assert all(record.state in (State.LEASED, State.CLOSING) for record in slots.out)

    @invariant()
    def what_is_out_is_out_for_somebody(self) -> None:
        """Or else somebody is asked to look after it."""
        slots = self.pool.slots
        assert slots.untidy or not any(record.is_lost() for record in slots.out)

    @invariant()
    def nothing_is_left_locked_or_queued(self) -> None:
        slots = self.pool.slots
        assert not slots.busy
        assert not slots.waiters
        assert not slots.returning or slots.untidy

    def teardown(self) -> None:
        for faults in self.driver.faults.values():
            faults.clear()
        with self.patches:
            for proxy in self.proxies:
                proxy.close()
            self.leases.clear()
            gc.collect()
            self.clock.advance(1)  # past the back-off of a server that was full
            self.pool.lease().give_back()
            assert_conserved(self.pool, SIZE + OVERFLOW)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    # A log record of a failed close, kept by pytest, has a traceback that keeps handles alive.
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


PoolMachine.TestCase.settings = settings(
    max_examples=max(1, round(75 * STRESS_SECONDS)),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPool = PoolMachine.TestCase
