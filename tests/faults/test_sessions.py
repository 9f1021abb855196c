"""What an administrator, or another transaction, does to a session."""

from __future__ import annotations

import gc
import os
import threading
import time
from pathlib import Path

import pytest
from django.db import OperationalError, connections, transaction

from mysqlpool import release_connections, stats
from tests.faults.campaign import OURS, STOCK, Fault, ask, until, write, written
from tests.helpers import HANG, endless, error_of, in_thread, run_threads
from tests.observer import Observer
from tests.server import Server

KILLED = {f"OperationalError {number}" for number in (1927, 2006, 2013, 3169, 4031)}
any_lease = pytest.mark.parametrize("lease", ["transaction"])


@pytest.mark.fault("KILL of an idle session")
def test_a_session_killed_while_idle_costs_nobody_an_error(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database, pool={"pool_size": 1})
    number = ask(OURS)
    release_connections(OURS)
    observer.kill(number)
    assert fault.sees_alone(ask) == "nothing"
    assert fault.discards() == {"dead": 1}
    fault.recovers()


@pytest.mark.fault("KILL in a transaction")
def test_a_session_killed_in_a_transaction_is_djangos_error(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database, pool={"pool_size": 1})

    def work(alias: str) -> None:
        with transaction.atomic(using=alias):
            write(alias, "undone")
            observer.kill(ask(alias))
            ask(alias)

    assert fault.sees(work) in KILLED
    assert written(database) == []
    fault.recovers()


@pytest.mark.fault("KILL in a transaction that goes on to write")
def test_after_a_kill_no_later_statement_of_the_block_runs_on_another_session(
    fault: Fault, database: Server, observer: Observer
) -> None:
    """An application that swallows the error inside the block: nothing of it may be committed."""
    fault.aim(database)

    def work(alias: str) -> None:
        with transaction.atomic(using=alias):
            write(alias, "undone")
            observer.kill(ask(alias))
            for _ in range(3):
                try:
                    write(alias, "half")
                except Exception:
                    continue

    fault.sees(work)
    assert written(database) == []
    fault.recovers()


@pytest.mark.fault("KILL in the middle of a result")
def test_a_session_killed_in_a_result_is_djangos_error(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database)

    def read(alias: str) -> None:
        with transaction.atomic(using=alias):
            number = ask(alias)

            def kill() -> None:
                observer.until(lambda: is_busy(observer))
                observer.kill(number)

            with in_thread(kill):
                ask(alias, f"SELECT {endless()}")

    assert fault.sees(read) in KILLED
    fault.recovers()


def is_busy(observer: Observer) -> bool:
    busy = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE '%%counted'"
    return bool(observer.query(busy)[0][0])


@pytest.mark.fault("KILL QUERY in a statement")
def test_a_killed_statement_is_djangos_error_and_its_session_stays(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database, pool={"pool_size": 1})
    numbers: list[int] = []

    def query(alias: str) -> None:
        with transaction.atomic(using=alias):
            numbers.append(ask(alias))

            def kill() -> None:
                observer.until(lambda: is_busy(observer))
                observer.query(f"KILL QUERY {numbers[-1]}")

            with in_thread(kill):
                ask(alias, f"SELECT {endless()}")

    assert fault.sees(query) == "OperationalError 1317"
    fault.recovers()
    assert ask(OURS) == numbers[-1]
    assert fault.lost == 0


@pytest.mark.fault("KILL QUERY right after the release")
def test_a_kill_that_comes_too_late_hits_nobody_else(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database, pool={"pool_size": 1})
    for _ in range(20):
        number = ask(OURS)
        release_connections(OURS)
        observer.query(f"KILL QUERY {number}")
        assert fault.sees_alone(lambda alias: write(alias, "kept")) == "nothing"
    assert written(database) == ["kept"] * 20
    fault.recovers()


@pytest.mark.fault("a deadlock")
def test_a_deadlock_is_djangos_error_and_its_session_stays(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database)
    observer.query("INSERT INTO faults.written (text) VALUES ('one'), ('two')")

    def cross(alias: str) -> None:
        both = threading.Barrier(2)

        def update(first: str, second: str) -> None:
            try:
                with transaction.atomic(using=alias):
                    ask(alias, "UPDATE written SET id = id WHERE id = %s", first)
                    both.wait(HANG)
                    ask(alias, "UPDATE written SET id = id WHERE id = %s", second)
            finally:
                connections[alias].close()

        run_threads(lambda: update("1", "2"), lambda: update("2", "1"))

    assert fault.sees(cross) == "OperationalError 1213"
    fault.recovers()
    assert fault.lost == 0


@any_lease
@pytest.mark.fault("a lock wait that takes too long", long=True)
def test_a_lock_wait_is_djangos_error_and_its_session_stays(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database, options={"init_command": "SET SESSION innodb_lock_wait_timeout = 1"})
    observer.query("INSERT INTO faults.written (text) VALUES ('one')")
    observer.query("BEGIN")
    observer.query("UPDATE faults.written SET text = 'locked'")
    try:
        assert (
            fault.sees(lambda alias: ask(alias, "UPDATE written SET text = 'late'"))
            == "OperationalError 1205"
        )
    finally:
        observer.query("ROLLBACK")
    assert written(database) == ["one"]
    fault.recovers()
    assert fault.lost == 0


@pytest.mark.fault("an XA transaction that was left")
def test_an_xa_transaction_that_was_left_is_gone_and_a_prepared_one_is_kept(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database, pool={"pool_size": 1})

    def leave(alias: str) -> None:
        ask(alias, "XA START 'left'")
        write(alias, "undone")
        connections[alias].close()
        ask(alias, f"XA START '{alias}'")
        write(alias, alias)
        ask(alias, f"XA END '{alias}'")
        ask(alias, f"XA PREPARE '{alias}'")
        connections[alias].close()
        # The server knows it as soon as it is prepared, and gives it to others when it has noticed
        # that its session is over.
        until(lambda: error_of(lambda: observer.query(f"XA COMMIT '{alias}'")) is None)

    assert fault.sees(leave) == "nothing"
    assert written(database) == [STOCK, OURS]
    fault.recovers()


@any_lease
@pytest.mark.fault("a packet that is too large")
def test_a_packet_that_is_too_large_costs_its_session_and_no_other(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database)
    [(limit,)] = observer.query("SELECT @@GLOBAL.max_allowed_packet")
    sql = f"SELECT '{'x' * (limit + 1000)}'"
    # The server closes while it is written to: whether its 1153 arrives is a matter of chance.
    expected = {"OperationalError 1153", "OperationalError 2006", "OperationalError 2013"}
    assert fault.sees(lambda alias: ask(alias, sql), same=False) in expected
    fault.recovers()
    assert fault.lost == 1


@pytest.mark.fault("200 threads on 10 sessions, of which one after the other is killed", long=True)
def test_random_kills_under_200_threads_cost_no_slot_and_no_acknowledged_row(
    fault: Fault, database: Server, observer: Observer
) -> None:
    fault.aim(database, pool={"pool_size": 10, "timeout": 20})
    over = threading.Event()
    acknowledged: list[str] = []
    errors: list[OperationalError] = []
    peak: list[int] = []

    def writer(number: int) -> None:
        turn = 0
        while not over.is_set():
            turn += 1
            text = f"{number}/{turn}"
            try:
                with transaction.atomic(using=OURS):
                    write(OURS, text)
                acknowledged.append(text)
            except OperationalError as error:
                errors.append(error)
                fault.note(f"OperationalError {error.args[0]}")
            finally:
                release_connections(OURS)

    def killer() -> int:
        killed, until_then = 0, time.monotonic() + 2
        try:
            while time.monotonic() < until_then:
                figures = stats().get(OURS)
                if figures is not None:
                    peak.append(figures.in_use + figures.idle)
                for number in list(observer.sessions("faults"))[:1]:
                    killed += kill(observer, number)
                time.sleep(0.02)
        finally:
            over.set()
        return killed

    *_, killed = run_threads(*[lambda n=n: writer(n) for n in range(200)], killer)
    assert killed > 10
    assert len(errors) <= killed
    assert max(peak) <= 10
    rows = written(database)
    assert len(rows) == len(set(rows))
    assert set(acknowledged) <= set(rows)
    assert set(fault.seen) <= KILLED
    assert stats()[OURS].timeouts == 0
    fault.recovers()


def kill(observer: Observer, number: int) -> bool:
    """Kill a session that may have ended meanwhile."""
    try:
        observer.query(f"KILL {number}")
    except Exception as error:
        if error.args[0] != 1094:  # ER_NO_SUCH_THREAD
            raise
        return False
    return True


@pytest.mark.fault("thousands of leases whose sessions are discarded", long=True)
def test_discards_leave_no_descriptor_no_thread_and_no_memory(
    fault: Fault, database: Server
) -> None:
    fault.aim(database)

    def cycle() -> None:
        for leaves in ("DO GET_LOCK('kept', 0)", "SET @renewed = 1"):
            ask(OURS, leaves)
            release_connections(OURS)

    def figures() -> tuple[int, int, int]:
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return len(os.listdir("/proc/self/fd")), threading.active_count(), pages

    for _ in range(500):
        cycle()
    before = figures()
    for _ in range(3000):
        cycle()
    after = figures()
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1]
    assert (after[2] - before[2]) * os.sysconf("SC_PAGE_SIZE") < 4 * 2**20
    fault.note("nothing")
    fault.recovers()
    assert fault.lost == 3500
