"""Jobs in each queue: right, within the limits of the pools, and released when they are done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.observer import Observer

from .checks import ends_well, parameters, rows_are_right, within_limits
from .products import QUEUES, Kept, Queue
from .project.work import BASIC, expected
from .running import Running, stays, until

pytestmark = pytest.mark.servers

JOBS = 120
KEPT_SECONDS = 1.0
"""In which whoever releases after a job would have done so."""
KINDS = list(BASIC)


def prepare(running: Running, count: int, kinds: Sequence[str] = ()) -> None:
    """Make the queue's tables, and hand it its jobs, by processes that have ended afterwards."""
    product = running.product
    assert isinstance(product, Queue)
    if product.apps:
        running.run("-m", "django", "migrate", "--verbosity", "0")
    running.run("-m", "tests.servers.project.enqueue", product.module, str(count), *kinds)


def are_right(jobs: list[dict[str, Any]], count: int) -> None:
    assert sorted(job["n"] for job in jobs) == list(range(count))
    for job in jobs:
        assert job["kind"] == KINDS[job["n"] % len(KINDS)]
        assert job["answer"] == expected(job["kind"], job["n"]), job


@pytest.mark.parametrize("product", parameters(QUEUES))
def test_every_job_is_done_right_within_the_limit_and_nothing_is_left(
    product: Queue, site: dict[str, str], observer: Observer
) -> None:
    with Running(product, site) as running:
        prepare(running, JOBS)
        with within_limits(observer, running):
            running.start()
            running.wait_for_jobs(JOBS)
            until(lambda: running.held() == 0, 5, "all leases have ended")
        are_right(running.jobs(), JOBS)
        assert product.claims or not any(job["kept"] for job in running.jobs())
        rows_are_right(observer, [n for n in range(JOBS) if KINDS[n % len(KINDS)] == "write"])
        ends_well(observer, running)


@pytest.mark.parametrize("product", parameters([one for one in QUEUES if one.kept]))
def test_without_what_releases_a_thread_does_what_the_table_says(
    product: Queue, site: dict[str, str], observer: Observer
) -> None:
    count = 60
    with Running(product, site, bare=True) as running:
        prepare(running, count)
        running.start()
        running.wait_for_jobs(count)
        jobs = running.jobs()
        assert len(jobs) == count
        for_ever = product.kept is Kept.FOR_EVER
        assert any(job["kept"] for job in jobs) == for_ever
        found = [job for job in jobs if job["kind"] != "dirty" and "+05:00" in job["answer"]]
        assert bool(found) == for_ever
        stays(lambda: running.held() > 0, KEPT_SECONDS, "a lease is kept")
        ends_well(observer, running)


@pytest.mark.parametrize("product", parameters([one for one in QUEUES if one.kept]))
def test_with_the_default_lease_nothing_has_to_be_set(
    product: Queue, site: dict[str, str], observer: Observer
) -> None:
    count = 60
    with Running(product, site, bare=True, lease="transaction") as running:
        prepare(running, count, [kind for kind in KINDS if kind != "dirty"])
        running.start()
        running.wait_for_jobs(count)
        until(lambda: running.held() == 0, 5, "all leases have ended")
        assert not any(job["kept"] for job in running.jobs())
        ends_well(observer, running)
