"""prometheus_client's multi-process mode, with real processes whose pools are numbers alone."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from mysqlpool.contrib.prometheus import PoolCollector
from tests.helpers import HANG, ROOT

from .pools import busy, open_pools

BEGIN = """
import os, sys, time
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from mysqlpool.contrib.prometheus import PoolCollector, register, unregister
from mysqlpool.contrib.prometheus.files import publish
from tests.unit.contrib.pools import Numbers, busy, open_pools, times, waits

os.chdir("/")
registry = CollectorRegistry()
print(os.getpid())
"""

# A forked child of a process that has published, and of which a thread was about to publish again.
FORKED = """
import threading
from mysqlpool.contrib.prometheus import files
with open_pools({"default": busy(timeouts=5)}):
    register(registry)
    publish()
    publishing = threading.Thread(target=files._files._lock.acquire)
    publishing.start()
    publishing.join()
    child = os.fork()
    if not child:
        with open_pools({"default": busy(timeouts=6, lease=times(0.1, 0.1, 0.1))}):
            publish()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
print(child)
os._exit(0)
"""


def run(folder: Path, code: str) -> list[int]:
    """Run it in a process that ends; the numbers that it prints, of which its own is the first."""
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error",
            "-W",
            "ignore:.*fork:DeprecationWarning",
            "-c",
            BEGIN + code,
        ],
        env={
            **os.environ,
            "PROMETHEUS_MULTIPROC_DIR": str(folder),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",  # What is killed has printed its number even so.
        },
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return [int(line) for line in done.stdout.split()]


def told(folder: Path) -> dict[str, float]:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    lines = [line for line in generate_latest(registry).decode().splitlines() if line[0] != "#"]
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
    assert len(found) == len(lines), "a series is there twice"
    return found


def timeouts(folder: Path) -> float:
    return told(folder)['mysqlpool_timeouts_total{alias="default"}']


def waiting(folder: Path) -> dict[int, float]:
    """What each process's gauge says."""
    found = {}
    for name, number in told(folder).items():
        if match := re.fullmatch(r'mysqlpool_waiting{alias="default",pid="(\d+)"}', name):
            found[int(match[1])] = number
    return found


def test_all_that_one_process_tells_is_told_of_several(tmp_path: Path) -> None:
    """The same families with the same labels; gauges have their process beside."""
    code = 'with open_pools({"default": busy()}):\n    publish()\n    os._exit(0)'
    first, second = run(tmp_path, code)[0], run(tmp_path, code)[0]
    alone = CollectorRegistry()
    alone.register(PoolCollector())
    with open_pools({"default": busy()}):
        expected = {
            sample.name + str(sorted(sample.labels.items())): sample.value
            for family in alone.collect()
            for sample in family.samples
        }
        types = {(family.name, family.type, family.documentation) for family in alone.collect()}
    together = CollectorRegistry()
    MultiProcessCollector(together, path=str(tmp_path))
    found: dict[str, float] = {}
    for family in together.collect():
        for sample in family.samples:
            labels = {k: v for k, v in sample.labels.items() if k != "pid"}
            assert ("pid" in sample.labels) == (family.type == "gauge")
            name = sample.name + str(sorted(labels.items()))
            found[name] = found.get(name, 0) + sample.value
    assert found == pytest.approx({name: 2 * value for name, value in expected.items()})
    assert {(f.name, f.type, f.documentation) for f in together.collect()} == types
    assert waiting(tmp_path) == {first: 7, second: 7}


def test_counters_do_not_fall_when_a_process_ends_and_its_gauges_do(tmp_path: Path) -> None:
    code = """
with open_pools({"default": busy()}):
    register(registry)
    publish()
"""
    ended = run(tmp_path, code + "    os._exit(0)")[0]
    assert (timeouts(tmp_path), waiting(tmp_path)) == (2, {ended: 7}), "it was killed"
    with_exit = """
pools = {"default": busy()}
opened = open_pools(pools)
opened.__enter__()
register(registry)
publish()
pools = pools.copy()
opened.__exit__(None, None, None)
opened = open_pools({"default": busy(timeouts=9)})
opened.__enter__()
"""
    left = run(tmp_path, with_exit)[0]
    assert timeouts(tmp_path) == 2 + 9, "what was counted last is there"
    assert waiting(tmp_path) == {ended: 7, left: 0}, "it has no waiters any more"
    mark_process_dead(ended, path=str(tmp_path))
    mark_process_dead(left, path=str(tmp_path))
    assert (timeouts(tmp_path), waiting(tmp_path)) == (11, {})


def test_a_pool_that_is_opened_anew_takes_nothing_back(tmp_path: Path) -> None:
    code = """
from dataclasses import replace
pool = busy()
with open_pools({"default": pool}):
    publish()
    publish()
    pool.present = replace(pool.present, timeouts=5)
    publish()
with open_pools({}):
    publish()
with open_pools({"default": Numbers(pool_size=1, timeouts=1, lease=times(1.0), connects=1)}):
    publish()
os._exit(0)
"""
    [process] = run(tmp_path, code)
    found = told(tmp_path)
    assert found['mysqlpool_timeouts_total{alias="default"}'] == 5 + 1
    assert found['mysqlpool_leases_total{alias="default"}'] == 3 + 1
    assert found['mysqlpool_lease_seconds_count{alias="default"}'] == 3 + 1
    assert found['mysqlpool_lease_seconds_sum{alias="default"}'] == pytest.approx(2.0204 + 1)
    assert found['mysqlpool_lease_seconds_bucket{alias="default",le="1.0"}'] == 2 + 1
    assert found[f'mysqlpool_limit{{alias="default",pid="{process}"}}'] == 1
    assert found['mysqlpool_discards_total{alias="default",reason="dead"}'] == 17


def test_a_closed_pool_has_no_sessions(tmp_path: Path) -> None:
    code = """
with open_pools({"default": busy(), "other": busy()}):
    publish()
with open_pools({"other": busy()}):
    publish()
os._exit(0)
"""
    [process] = run(tmp_path, code)
    found = told(tmp_path)
    states = f',pid="{process}",state="in_use"}}'
    assert found[f'mysqlpool_sessions{{alias="default"{states}'] == 0
    assert found[f'mysqlpool_sessions{{alias="other"{states}'] == 4


def test_a_forked_child_tells_its_own_and_not_its_parents(tmp_path: Path) -> None:
    parent, child = run(tmp_path, FORKED)
    assert timeouts(tmp_path) == 5 + 6
    assert waiting(tmp_path) == {parent: 7, child: 7}
    assert told(tmp_path)['mysqlpool_leases_total{alias="default"}'] == 3 + 3


def test_a_process_with_the_number_of_an_ended_one_goes_on_with_its_file(tmp_path: Path) -> None:
    code = """
from prometheus_client import values
values.ValueClass = values.MultiProcessValue(lambda: 7)
with open_pools({"default": busy()}):
    publish()
os._exit(0)
"""
    run(tmp_path, code)
    run(tmp_path, code)
    assert timeouts(tmp_path) == 2 + 2
    assert waiting(tmp_path) == {7: 7}


def test_who_is_asked_tells_its_own_numbers_as_they_are_now(tmp_path: Path) -> None:
    """In the registry that reads the files, or in another, and never twice."""
    code = """
register(registry, interval=3600)
MultiProcessCollector(registry)
register(registry, interval=3600)
with open_pools({"default": busy()}):
    for timeouts in (2, 4):
        with open_pools({"default": busy(timeouts=timeouts)}):
            lines = generate_latest(registry).decode().splitlines()
        [number] = [line for line in lines if line.startswith("mysqlpool_timeouts_total")]
        print(number.split()[-1].removesuffix(".0"))
os._exit(0)
"""
    assert run(tmp_path, code)[1:] == [2, 4]


def test_to_register_again_puts_off_no_interval_that_has_begun(tmp_path: Path) -> None:
    """A view may register the registry that it makes for each scrape."""
    code = """
from mysqlpool.contrib.prometheus import files
register(registry)
first = files._ticker
register(CollectorRegistry())
assert files._ticker is first is not None
register(registry, interval=1)
assert files._ticker is not first
"""
    run(tmp_path, code)


def test_nothing_is_written_after_the_last_registry_is_gone(tmp_path: Path) -> None:
    code = """
other = CollectorRegistry()
register(registry)
register(other)
opened = open_pools({"default": busy()})
opened.__enter__()
unregister(registry)
unregister(other)
"""
    run(tmp_path, code)
    assert told(tmp_path) == {}


def test_a_folder_that_is_none_is_told_of_at_once(tmp_path: Path) -> None:
    code = """
from django.core.exceptions import ImproperlyConfigured
try:
    register(registry)
except ImproperlyConfigured as error:
    assert "PROMETHEUS_MULTIPROC_DIR has to name a folder that exists" in str(error), error
    print(1)
"""
    assert run(tmp_path / "nowhere", code)[1:] == [1]


def test_a_folder_that_cannot_be_written_is_told_of_at_once(tmp_path: Path) -> None:
    code = """
from django.core.exceptions import ImproperlyConfigured
os.access = lambda path, mode: False  # Root may write everywhere.
try:
    register(registry)
except ImproperlyConfigured as error:
    assert "cannot write to" in str(error), error
    print(1)
"""
    assert run(tmp_path, code)[1:] == [1]
