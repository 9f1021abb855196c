"""KILL QUERY between two statements of one packet is seen, though the server does not tell of it.

It has promised more results, and is asleep: see `mysqlpool.session.vigil`.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import MySQLdb
import pytest
from django.db import OperationalError, connections, transaction

from mysqlpool import release_connections, stats
from mysqlpool.aliases import vigils
from mysqlpool.session.session import Session
from tests.faults.proxy import Link, Proxy, Way
from tests.helpers import HANG, identified
from tests.observer import Observer

from .programs import insert
from .wire import PLAIN
from .world import OURS, World, alias

ALIAS = "begin"

# Of this account every host is welcome, such as the other loopback address.
USER = "vigil"
OTHER = "127.0.0.2"

# OK, with the flags for autocommit, for a transaction and for more results.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_ok_packet.html
OK_AND_MORE = b"\x07\x00\x00\x01\x00\x00\x00\x0b\x00\x00\x00"


class Silencer(Proxy):
    """A proxy that keeps all answers after the first one to a text, as a killed server would.

    What it connects to the server has the port of its client, on another address.
    """

    text = b""

    def __init__(self, server: Any) -> None:
        super().__init__(server)
        self._silenced: dict[Link, bytes] = {}

    def _way_on(self, client: socket.socket) -> socket.socket:
        way = super()._way_on(client)
        way.bind((OTHER, client.getpeername()[1]))
        return way

    async def _deliver(self, link: Link, target: socket.socket, data: bytes, way: Way) -> None:
        if way is Way.TO_CLIENT and link in self._silenced:
            data, self._silenced[link] = self._silenced[link], b""
        if way is Way.TO_SERVER and self.text and self.text in data:
            self._silenced[link], self.text = OK_AND_MORE, b""
        await super()._deliver(link, target, data, way)


@pytest.fixture(autouse=True)
def looks(here: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """What the servers said of sessions that had been silent, each time they were asked."""
    said = []
    sees_asleep = Session.sees_asleep

    def noted(self: Session, *args: Any) -> bool:
        said.append(sees_asleep(self, *args))
        return said[-1]

    here.begin_anew()
    monkeypatch.setattr(vigils, "INTERVAL", 0.2)
    monkeypatch.setattr(Session, "sees_asleep", noted)
    yield said
    here.begin_anew()


@pytest.fixture(scope="module")
def silencer(server: Any) -> Iterator[Silencer]:
    with Observer(server) as observer:
        observer.query(f"CREATE USER {USER}@'%%' {identified('')}")
        observer.query(f"GRANT ALL ON *.* TO {USER}@'%%'")
        try:
            with Silencer(server) as silencer:
                yield silencer
        finally:
            observer.query(f"DROP USER {USER}@'%%'")


def through(silencer: Silencer, **options: Any) -> Any:
    pool = {"pool_size": 2, **options.pop("pool", {})}
    return alias(
        ALIAS,
        OURS,
        USER=USER,
        PASSWORD="",
        PORT=silencer.port,
        OPTIONS={**PLAIN, **options, "pool": pool},
    )


def run(sql: str) -> Any:
    with connections[ALIAS].cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchall()


@pytest.mark.parametrize("is_one_idle", [False, True])
def test_a_server_that_is_asleep_is_found_out(
    here: World, silencer: Silencer, looks: list[bool], is_one_idle: bool
) -> None:
    """By a session that is idle, or that is opened for it, and is as good as any."""
    with through(silencer, pool={"lease": "task"}):
        run("SELECT 1")
        if is_one_idle:
            other = threading.Thread(target=_use_another_session)
            other.start()
            other.join(HANG)
        before = stats()[ALIAS].connects
        silencer.text = b"START TRANSACTION"
        with pytest.raises(OperationalError, match="1317"), transaction.atomic(using=ALIAS):
            run(insert(1))
        assert looks == [True, True]
        assert stats()[ALIAS].idle == 1
        assert stats()[ALIAS].connects - before == (0 if is_one_idle else 1)
        with transaction.atomic(using=ALIAS):
            run(insert(2))
    assert here.numbers() == [2]


@pytest.mark.parametrize("unscoped", ["warn", "raise"])
def test_who_asks_the_server_is_not_called_unscoped(
    here: World, silencer: Silencer, looks: list[bool], unscoped: str, caplog: Any
) -> None:
    """It is a thread of the pool's own. Were it refused, whoever waits would wait for ever."""
    with through(silencer, read_timeout=HANG, pool={"unscoped": unscoped}):
        run("SELECT 1")
        silencer.text = b"START TRANSACTION"
        with pytest.raises(OperationalError, match="1317"), transaction.atomic(using=ALIAS):
            run(insert(1))
        assert looks == [True, True]
        assert stats()[ALIAS].unscoped == 0
    assert not [record for record in caplog.records if "unscoped" in record.getMessage()]


def _use_another_session() -> None:
    try:
        run("SELECT 1")
    finally:
        connections[ALIAS].close()


def test_a_server_that_works_is_waited_for(
    here: World, silencer: Silencer, looks: list[bool]
) -> None:
    with through(silencer), transaction.atomic(using=ALIAS):
        assert run("SELECT SLEEP(2)") == ((0,),)
        run(insert(1))
    assert len(looks) > 1
    # One look may come as the answer is on its way. Two in a row would end the connection.
    assert (True, True) not in itertools.pairwise(looks)
    assert here.numbers() == [1]


def test_an_answer_under_way_is_waited_for(
    here: World, silencer: Silencer, looks: list[bool]
) -> None:
    """Whatever the server said of the session before that: it has to be silent to the end."""
    with through(silencer):
        run("SELECT 1")
        holding = threading.Event()

        def hold() -> None:
            with silencer.stalled(Way.TO_CLIENT):
                holding.set()
                time.sleep(1)

        # Nobody else gets an answer either, who might tell that it is asleep.
        holder = threading.Thread(target=hold)
        holder.start()
        assert holding.wait(HANG)
        with transaction.atomic(using=ALIAS):
            run(insert(1))
        holder.join(HANG)
    assert here.numbers() == [1]


def test_a_pool_of_one_waits_for_its_read_timeout(
    here: World, silencer: Silencer, looks: list[bool], observer: Observer
) -> None:
    """The limit holds, and nobody else can ask."""
    with through(silencer, read_timeout=2, pool={"pool_size": 1}):
        run("SELECT 1")
        before = stats()[ALIAS]
        silencer.text = b"START TRANSACTION"
        with pytest.raises(OperationalError, match="2013"), transaction.atomic(using=ALIAS):
            run(insert(1))
        after = stats()[ALIAS]
        assert looks == []
        assert (after.waits, after.timeouts, after.refused, after.connects) == (
            *(before.waits, before.timeouts, before.refused, before.connects),
        )
    assert here.look()[0] == ()


@pytest.mark.long
def test_a_storm_of_kills_hangs_nobody(here: World, observer: Observer) -> None:
    """What was acknowledged is committed, and nothing else; without a read_timeout."""
    acknowledged: list[int] = []
    outcomes: list[int] = []
    at_work: set[int] = set()
    over = threading.Event()

    def write(number: int) -> None:
        try:
            while not over.is_set():
                number += 1
                try:
                    with transaction.atomic(using=ALIAS):
                        with transaction.atomic(using=ALIAS):
                            run(insert(number))
                        at_work.add(connections[ALIAS].connection.thread_id())
                    acknowledged.append(number)
                except OperationalError as error:
                    outcomes.append(error.args[0])
                    # As at a task's end. Where ``SET autocommit=1`` was killed, Django goes on
                    # without it, and would not commit any more.
                    release_connections()
        finally:
            connections[ALIAS].close()

    with alias(ALIAS, OURS, OPTIONS={"pool": {"pool_size": 4}}):
        writers = [
            threading.Thread(target=write, args=(first,), daemon=True) for first in (0, 1_000_000)
        ]
        for writer in writers:
            writer.start()
        end = time.monotonic() + 8
        while time.monotonic() < end:
            for number in list(at_work):
                with contextlib.suppress(MySQLdb.OperationalError):
                    observer.query(f"KILL QUERY {number}")
            time.sleep(0.0003)
        over.set()
        for writer in writers:
            writer.join(HANG)
            assert not writer.is_alive(), "it waits for what will never come"
        assert set(outcomes) == {1317}
    committed = set(here.numbers())
    assert committed == set(acknowledged)
