"""Threads that write through Django while the node that they write to fails, and comes back.

Each test is one outage. What was seen of it, and how long it took until all threads were back,
stands in the last lines of the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from django.db import connections

from mysqlpool import release_connections, stats
from tests.clusters.cluster import Cluster, Node
from tests.clusters.conftest import ALIAS, LIMITS, POOL_SIZE
from tests.clusters.workload import Outage, Workload

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("alias")]


def node_in_use(cluster: Cluster) -> Node:
    """The node to which the alias leads now."""
    with connections[ALIAS].cursor() as cursor:
        cursor.execute("SELECT @@port")
        [port] = cursor.fetchone()
    release_connections(ALIAS)
    return next(node for node in cluster.nodes if node.port == port)


@pytest.fixture
def workload(cluster: Cluster, alias: None) -> Iterator[Workload]:
    """Writers, whose rows are looked at in the end."""
    with Workload(ALIAS) as workload:
        yield workload
    cluster.heal()
    workload.audit(cluster.rows())
    for outage in workload.outages:
        assert max(outage.by_session.values(), default=0) <= 1, f"{outage}"
        unknown = outage.errors.keys() - EXPECTED
        assert not unknown, f"{outage}"
    figures = stats()[ALIAS]
    assert figures.in_use == figures.waiting == 0
    assert figures.idle <= POOL_SIZE


# What an outage may cost: a lost session, a server that takes no connections or no writes now, a
# node that is out of its cluster, and no session at all within the request's time.
EXPECTED = {
    *("OperationalError 2006", "OperationalError 2013", "OperationalError 2055"),
    *("OperationalError 2002", "OperationalError 2003", "OperationalError 2012"),
    # What the plugin makes of a server that dies while it is asked who somebody is.
    "OperationalError 2061",
    "OperationalError 2027",  # What MariaDB's client library makes of Router's 2003.
    *("OperationalError 1290", "OperationalError 1836"),
    *("OperationalError 1047", "OperationalError 1180"),
    *("OperationalError 1927", "OperationalError 1053", "OperationalError 3100"),
    "PoolTimeout",
}


def fails(workload: Workload, cluster: Cluster, name: str, fail: Callable[[], None]) -> Outage:
    """An outage, from this fault until all threads have written elsewhere."""
    with workload.outage(name) as outage:
        fail()
        cluster.writer()
        outage.down = time.monotonic() - outage.began
        outage.back = workload.until_all_wrote(time.monotonic())
    return outage


def returns(workload: Workload, cluster: Cluster, name: str, repair: Callable[[], None]) -> Outage:
    """A node comes back under load, and all threads have written since."""
    with workload.outage(name) as outage:
        repair()
        cluster.wait_whole()
        outage.back = workload.until_all_wrote(time.monotonic())
    return outage


def may_be_lost(outage: Outage) -> int:
    """One transaction a session, and one more for each read_timeout that they wait for a node."""
    return POOL_SIZE * (1 + int((outage.down or 0) / LIMITS["read_timeout"]))


def test_a_killed_node_costs_at_most_the_transactions_in_flight(
    cluster: Cluster, workload: Workload
) -> None:
    node = node_in_use(cluster)
    outage = fails(workload, cluster, "killed", node.kill)
    assert outage.lost <= may_be_lost(outage)
    with workload.at_ease():
        returns(workload, cluster, "started again", node.start)


def test_a_frozen_node_costs_at_most_the_transactions_in_flight(
    cluster: Cluster, workload: Workload
) -> None:
    node = node_in_use(cluster)
    outage = fails(workload, cluster, "frozen", node.freeze)
    assert outage.lost <= may_be_lost(outage)
    with workload.at_ease():
        returns(workload, cluster, "thawed", node.thaw)


def test_a_node_that_is_made_read_only_costs_each_session_one_error(
    cluster: Cluster, workload: Workload
) -> None:
    node = node_in_use(cluster)
    try:
        fails(workload, cluster, "read-only", node.read_only)
    finally:
        returns(workload, cluster, "writable again", node.writable)
