"""What prometheus_client tells of pools, and what is said where it cannot."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from mysqlpool.contrib.prometheus import PoolCollector, register, unregister
from mysqlpool.contrib.prometheus.metrics import MAX_VALUES, METRICS, OTHER
from tests.helpers import ROOT

from .pools import Numbers, busy, open_pools


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    made = CollectorRegistry()
    register(made)
    yield made
    unregister(made)


def told(registry: CollectorRegistry) -> dict[str, float]:
    """Each sample of a scrape, as it is written."""
    text = generate_latest(registry).decode()
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    found = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines}
    assert len(found) == len(lines), "a series is there twice"
    return found


def test_each_number_is_told_under_its_name(registry: CollectorRegistry) -> None:
    with open_pools({"default": busy()}):
        found = told(registry)
    only = '{alias="default"}'
    numbers = {name: n for name, n in found.items() if "_seconds" not in name}
    assert numbers == {
        'mysqlpool_sessions{alias="default",state="in_use"}': 4,
        'mysqlpool_sessions{alias="default",state="idle"}': 1,
        f"mysqlpool_limit{only}": 8,
        f"mysqlpool_waiting{only}": 7,
        f"mysqlpool_leases_total{only}": 3,
        f"mysqlpool_waits_total{only}": 6,
        f"mysqlpool_timeouts_total{only}": 2,
        f"mysqlpool_refused_total{only}": 9,
        f"mysqlpool_connects_total{only}": 8,
        f"mysqlpool_connect_errors_total{only}": 10,
        f"mysqlpool_renewed_total{only}": 11,
        f"mysqlpool_reaped_total{only}": 13,
        f"mysqlpool_rollbacks_total{only}": 14,
        f"mysqlpool_unscoped_total{only}": 15,
        'mysqlpool_discards_total{alias="default",reason="CREATE"}': 16,
        'mysqlpool_discards_total{alias="default",reason="dead"}': 17,
        'mysqlpool_failures_total{alias="default",class="dead"}': 18,
        'mysqlpool_pinned_total{alias="default",reason="SET"}': 19,
    }


def test_a_histogram_is_cumulative_and_ends_with_the_count(registry: CollectorRegistry) -> None:
    with open_pools({"default": busy()}):
        found = told(registry)

    def bucket(bound: str) -> float:
        return found[f'mysqlpool_wait_seconds_bucket{{alias="default",le="{bound}"}}']

    bounds = ("0.0", "0.0025", "0.005", "300.0", "+Inf")
    assert [bucket(bound) for bound in bounds] == [2, 2, 3, 3, 4]
    assert found['mysqlpool_wait_seconds_count{alias="default"}'] == 4
    assert found['mysqlpool_wait_seconds_sum{alias="default"}'] == 400.003
    assert 'mysqlpool_lease_seconds_bucket{alias="default",le="0.0"}' not in found


def test_both_formats_can_be_read_and_say_what_each_metric_is(registry: CollectorRegistry) -> None:
    with open_pools({"default": busy(), "other": busy()}):
        plain = generate_latest(registry).decode()
        open_one = generate_openmetrics(registry).decode()
    for families in (text_string_to_metric_families(plain), openmetrics_families(open_one)):
        found = {one.name: (one.type, one.documentation) for one in families}
        assert found == {metric.name: (metric.kind, metric.help) for metric in METRICS}
    for metric in METRICS:
        assert metric.help.endswith("."), metric.name


def test_the_names_are_as_prometheus_wants_them() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"mysqlpool_[a-z_]+[a-z]", metric.name)
        assert metric.sample.endswith("_total") == (metric.kind == "counter")
        assert metric.name.endswith("_seconds") == (metric.kind == "histogram")
        assert not set(metric.labels) & {"le", "pid", "job", "instance", "quantile"}
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_without_pools_there_are_no_series(registry: CollectorRegistry) -> None:
    with open_pools({}):
        assert told(registry) == {}


def test_a_pool_without_a_limit_has_none_and_so_no_share_of_it(registry: CollectorRegistry) -> None:
    with open_pools({"default": busy(max_overflow=-1), "other": busy()}):
        found = told(registry)
    assert [name for name in found if "limit" in name] == ['mysqlpool_limit{alias="other"}']


def test_an_alias_is_written_whatever_is_in_it(registry: CollectorRegistry) -> None:
    with open_pools({'a"b\\c\nd': busy()}):
        text = generate_latest(registry).decode()
    samples = [one for family in text_string_to_metric_families(text) for one in family.samples]
    assert {sample.labels["alias"] for sample in samples} == {'a"b\\c\nd'}


def test_a_label_has_so_many_values_at_most_and_none_ever_falls(
    registry: CollectorRegistry,
) -> None:
    """Reasons come from what applications send, in whatever order."""
    discards: dict[str, int] = {}
    before: dict[str, float] = {}
    for number in range(MAX_VALUES * 2):
        discards[f"reason {number}"] = 1
        with open_pools({"default": busy(discards=dict(discards))}):
            found = {n: v for n, v in told(registry).items() if "discards" in n}
        assert sum(found.values()) == len(discards)
        assert all(found[name] >= value for name, value in before.items())
        before = found
    assert len(before) == MAX_VALUES
    assert before[f'mysqlpool_discards_total{{alias="default",reason="{OTHER}"}}'] == MAX_VALUES + 1


def test_a_pool_that_takes_anothers_place_takes_its_series(registry: CollectorRegistry) -> None:
    with open_pools({"default": busy()}):
        before = told(registry)
    with open_pools({"default": Numbers(pool_size=1)}):
        after = told(registry)
    assert after.keys() < before.keys()
    assert after['mysqlpool_timeouts_total{alias="default"}'] == 0


def test_a_scrape_may_ask_for_one_metric_alone(registry: CollectorRegistry) -> None:
    with open_pools({"default": busy()}):
        found = told(registry.restricted_registry(["mysqlpool_waiting"]))  # type: ignore[arg-type]
        assert registry.get_sample_value("mysqlpool_waiting", {"alias": "default"}) == 7
    assert found == {'mysqlpool_waiting{alias="default"}': 7}


def test_to_register_twice_changes_nothing(registry: CollectorRegistry) -> None:
    assert register(registry) is register(registry)
    with open_pools({"default": busy()}):
        told(registry)


def test_a_second_collector_of_the_same_names_is_refused(registry: CollectorRegistry) -> None:
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(PoolCollector())


def test_what_registered_a_name_of_ours_before_is_told_of(registry: CollectorRegistry) -> None:
    taken = CollectorRegistry()
    Gauge("mysqlpool_waiting", "Mine.", registry=taken)
    with pytest.raises(ValueError, match="mysqlpool_waiting"):
        register(taken)
    unregister(taken)  # It has none of ours, and keeps its own.
    assert told(taken) == {"mysqlpool_waiting": 0}


def test_by_default_it_is_the_registry_of_prometheus_client() -> None:
    try:
        register()
        with open_pools({"default": busy()}):
            assert REGISTRY.get_sample_value("mysqlpool_waiting", {"alias": "default"}) == 7
    finally:
        unregister()
    with open_pools({"default": busy()}):
        assert REGISTRY.get_sample_value("mysqlpool_waiting", {"alias": "default"}) is None
    unregister()


def test_a_collector_may_be_registered_by_hand() -> None:
    by_hand, by_itself = CollectorRegistry(auto_describe=True), CollectorRegistry()
    by_hand.register(PoolCollector())
    PoolCollector(registry=by_itself)
    with open_pools({"default": busy()}):
        for registry in (by_hand, by_itself):
            assert told(registry)['mysqlpool_waiting{alias="default"}'] == 7


@pytest.mark.parametrize("interval", [0, -1, float("inf"), float("nan")])
def test_an_interval_that_is_none_is_refused(interval: float) -> None:
    made = CollectorRegistry()
    with pytest.raises(ValueError, match="interval has to be a positive number of seconds"):
        register(made, interval=interval)
    assert told(made) == {}


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for function in (register, PoolCollector):
        with pytest.raises(ImproperlyConfigured, match=r"pip install 'mysqlpool\[prometheus\]'"):
            function()


def test_the_extra_that_is_named_has_the_package() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert '"prometheus": ["prometheus-client' in setup


def test_importing_the_module_imports_no_prometheus_client() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None; import mysqlpool.contrib.prometheus"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


def test_a_folder_that_was_named_too_late_is_told_of(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    with pytest.raises(ImproperlyConfigured, match="before Python starts"):
        register(CollectorRegistry())
