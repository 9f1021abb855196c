"""What only Galera does: all nodes take writes at once, and one alone refuses everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import OperationalError, connections, transaction

from mysqlpool import close_pool, release_connections, stats
from tests.clusters.cluster import DATABASE, Cluster, until
from tests.clusters.conftest import ALIAS, LIMITS, forget, point
from tests.clusters.galera import GaleraNode
from tests.clusters.workload import Workload
from tests.helpers import HANG, error_of, in_thread, session_id

pytestmark = pytest.mark.cluster("galera")


def on_node(alias: str, cluster: Cluster, number: int, lease: str) -> None:
    """An alias of one session on one node."""
    node = cluster.nodes[number]
    pool = {"pool_size": 1, "lease": lease, "logging_name": alias}
    address = {"HOST": node.host, "PORT": str(node.port)}
    settings = {**cluster.settings("hosts"), **address, "OPTIONS": {**LIMITS, "pool": pool}}
    point(alias, settings)


def add_one(alias: str) -> None:
    with connections[alias].cursor() as cursor:
        cursor.execute("UPDATE contended SET value = value + 1 WHERE id = 1")


@pytest.mark.parametrize("at_once", [False, True])
def test_of_two_writers_of_a_row_on_two_nodes_one_gets_1213_at_its_commit(
    cluster: Cluster, lease: str, at_once: bool
) -> None:
    """The error reaches the application as what it is, and the session that got it is fit."""
    cluster.query("INSERT INTO clusters.contended VALUES (1, 0)")
    aliases = [f"writer {number} {lease} {at_once}" for number in (0, 1)]
    for number, alias in enumerate(aliases):
        on_node(alias, cluster, number, lease)
    row = f"SELECT value FROM {DATABASE}.contended WHERE id = 1"
    until(lambda: all(node.query(row) == ((0,),) for node in cluster.nodes), HANG, "a row is there")
    first, second = aliases
    before = [session_id(alias) for alias in aliases]
    release_connections()
    both, committed = threading.Barrier(2), threading.Event()

    def write_first() -> None:
        with transaction.atomic(using=first):
            add_one(first)
            both.wait(HANG)
        committed.set()
        release_connections(first)

    def write_second() -> None:
        with transaction.atomic(using=second):
            add_one(second)
            both.wait(HANG)
            if not at_once:
                assert committed.wait(HANG)

    def write_both() -> BaseException | None:
        with in_thread(lambda: error_of(write_first)) as other:
            mine = error_of(write_second)
        errors = [error for error in (other.value, mine) if error is not None]
        assert len(errors) <= 1
        return errors[0] if errors else None

    error = write_both()
    assert isinstance(error, OperationalError)
    assert error.args[0] == 1213
    assert cluster.query(row) == ((1,),)
    release_connections()
    assert [session_id(alias) for alias in aliases] == before
    assert stats()[second].discards == stats()[first].discards == {}
    with transaction.atomic(using=second):
        add_one(second)
    assert cluster.query(row) == ((2,),)
    for alias in aliases:
        forget(alias)


@contextmanager
def isolated(node: GaleraNode, others: list[Any]) -> Iterator[None]:
    """In this block the node hears nothing of the others, which are a cluster without it."""
    node.as_root("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=1'")
    try:
        until(lambda: node.state()[1] == "non-Primary", HANG, f"{node.name} is out of the cluster")
        until(lambda: all(other.takes_writes() for other in others), HANG, "the others go on")
        yield
    finally:
        node.as_root("SET GLOBAL wsrep_provider_options = 'gmcast.isolate=0'")
        node.cluster.wait_whole()


@pytest.mark.usefixtures("alias")
@pytest.mark.parametrize("reach", ["hosts"], indirect=True)
def test_a_node_out_of_its_cluster_costs_one_error_and_the_next_host_is_taken(
    cluster: Cluster,
) -> None:
    first, *others = cluster.nodes
    assert isinstance(first, GaleraNode)

    def port() -> int:
        with connections[ALIAS].cursor() as cursor:
            # Only what has to do with tables is refused.
            cursor.execute("SELECT @@port, COUNT(*) FROM written")
            found: int = cursor.fetchone()[0]
        release_connections(ALIAS)
        return found

    connections.settings[ALIAS]["OPTIONS"]["pool"]["host_retry"] = 0
    assert port() == first.port
    with isolated(first, others):
        error = error_of(port)
        release_connections(ALIAS)
        assert isinstance(error, OperationalError)
        assert error.args[0] == 1047
        assert sum(stats()[ALIAS].discards.values()) == 1
        for _ in range(3):
            assert port() in {node.port for node in others}
            close_pool()  # The next session is tried on the first one, which lets in, and is asked.
    assert port() == first.port


@pytest.mark.usefixtures("alias")
@pytest.mark.parametrize("reach", ["hosts"], indirect=True)
def test_threads_leave_a_node_that_is_out_of_its_cluster(cluster: Cluster) -> None:
    first, *others = cluster.nodes
    assert isinstance(first, GaleraNode)
    # Until the node knows that it is alone it lets a COMMIT wait, and nobody is to give up before.
    connections.settings[ALIAS]["OPTIONS"] |= {"read_timeout": HANG}
    with (
        Workload(ALIAS) as workload,
        workload.outage("isolated") as outage,
        isolated(first, others),
    ):
        outage.back = workload.until_all_wrote(time.monotonic())
    workload.audit(cluster.rows())
    assert max(outage.by_session.values(), default=0) <= 1
    assert outage.lost == 0
