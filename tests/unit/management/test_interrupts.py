"""Ctrl-C is noted once, and is raised as ever the second time."""

from __future__ import annotations

import signal
import threading

import pytest

from mysqlpool.management.interrupts import Interrupt
from tests.helpers import in_thread


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def test_the_first_is_noted_and_the_second_raised() -> None:
    with Interrupt() as interrupt:
        assert not interrupt.comes_within(0)
        press()
        # Whoever asks does not use it up.
        assert (interrupt.came, interrupt.comes_within(0), interrupt.came) == (True, True, True)
        with pytest.raises(KeyboardInterrupt):
            press()


def test_who_waits_is_woken() -> None:
    main = threading.main_thread()
    with Interrupt() as interrupt:
        assert main.ident is not None
        signal.pthread_kill(main.ident, signal.SIGINT)
        assert interrupt.comes_within(60)


def test_after_the_block_all_is_as_before() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupt():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_where_it_is_ignored_it_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interrupt() as interrupt:
            press()
            assert not interrupt.came
    finally:
        signal.signal(signal.SIGINT, before)


def test_in_another_thread_nothing_is_changed() -> None:
    before = signal.getsignal(signal.SIGINT)

    def run() -> bool:
        with Interrupt() as interrupt:
            return interrupt.comes_within(0)

    with in_thread(run) as result:
        pass
    assert result.value is False
    assert signal.getsignal(signal.SIGINT) is before
