"""What OpenTelemetry's SDK is told of pools, by the semantic conventions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    HistogramDataPoint,
    InMemoryMetricReader,
    MetricReader,
)
from opentelemetry.sdk.metrics.view import DropAggregation, View
from opentelemetry.semconv._incubating.metrics import db_metrics
from prometheus_client import CollectorRegistry

from mysqlpool.contrib import opentelemetry, opentelemetry_metrics
from mysqlpool.contrib.opentelemetry_metrics import (
    PREFIX,
    instrument_metrics,
    spread,
    uninstrument_metrics,
)
from mysqlpool.pool.times import BOUNDS, WAIT_BOUNDS, Times
from tests.helpers import ROOT, run_threads

from .pools import Numbers, busy, open_pools, times, waits

DELTAS: dict[type, AggregationTemporality] = dict.fromkeys(
    (Counter, Histogram, ObservableCounter), AggregationTemporality.DELTA
)


def made(*readers: MetricReader, **further: Any) -> MeterProvider:
    return MeterProvider([*readers], shutdown_on_exit=False, **further)


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    instrument_metrics(made(reader))
    yield reader
    uninstrument_metrics()


def metrics(reader: InMemoryMetricReader) -> dict[str, Any]:
    data = reader.get_metrics_data()
    scopes = [scope for one in data.resource_metrics for scope in one.scope_metrics] if data else []
    return {metric.name: metric for scope in scopes for metric in scope.metrics}


def points(reader: InMemoryMetricReader, alias: str = "default") -> dict[str, Any]:
    """By name and, where there are several, state: a number, or a histogram."""
    found: dict[str, Any] = {}
    for name, metric in metrics(reader).items():
        for point in metric.data.data_points:
            attributes = dict(point.attributes)
            assert attributes.pop(f"{PREFIX}.pool.name") == alias
            key = " ".join([name.removeprefix(f"{PREFIX}."), *map(str, attributes.values())])
            assert key not in found
            found[key] = point if isinstance(point, HistogramDataPoint) else point.value
    return found


def test_each_number_is_told_by_the_conventions(reader: InMemoryMetricReader) -> None:
    with open_pools({"default": busy()}):
        found = points(reader)
    histograms = {key: found.pop(key) for key in ("create_time", "wait_time", "use_time")}
    assert found == {
        "count used": 4,
        "count idle": 1,
        "max": 8,
        "idle.max": 5,
        "idle.min": 2,
        "pending_requests": 7,
        "timeouts": 2,
    }
    waited = histograms["wait_time"]
    assert waited.explicit_bounds == WAIT_BOUNDS
    assert waited.bucket_counts == waits(0.0, 0.0, 0.003, 400.0).counts
    assert (waited.count, waited.sum) == (4, pytest.approx(400.003))
    assert histograms["create_time"].bucket_counts == times(0.002).counts
    assert histograms["use_time"].bucket_counts == times(0.0004, 0.02, 2.0).counts
    assert histograms["use_time"].sum == pytest.approx(2.0204)


def test_names_units_and_kinds_are_those_of_the_conventions(reader: InMemoryMetricReader) -> None:
    with open_pools({"default": busy()}):
        found = metrics(reader)
    makers = {
        name.removeprefix("create_"): make
        for name, make in vars(db_metrics).items()
        if name.startswith("create_db_client_connection_")
    }
    kinds = {True: "counter", False: "up_down_counter", None: "histogram"}
    told = {
        name: (
            metric.unit,
            kinds[getattr(metric.data, "is_monotonic", None)],
        )
        for name, metric in found.items()
    }
    wanted: dict[str, tuple[str, str]] = {}
    for make in makers.values():
        meter = Asked()
        make(meter)
        wanted.update(meter.asked)
    assert told == wanted


class Asked:
    """A meter that notes which instruments the conventions' own package makes."""

    def __init__(self) -> None:
        self.asked: dict[str, tuple[str, str]] = {}

    def __getattr__(self, name: str) -> Any:
        def create(*, name: str, unit: str, **further: Any) -> None:
            kind = method.removeprefix("create_").removeprefix("observable_")
            if not name.startswith("db.client.connections."):  # deprecated
                self.asked[name] = unit, kind

        method = name
        return create


def test_what_was_recorded_once_is_not_recorded_again(reader: InMemoryMetricReader) -> None:
    with open_pools({"default": busy()}):
        points(reader)
        assert points(reader)["use_time"].count == 3
    with open_pools({"default": busy(lease=times(0.0004, 0.02, 2.0, 3.0))}):
        assert points(reader)["use_time"].count == 4
        assert points(reader)["use_time"].sum == pytest.approx(5.0204)


def test_each_of_two_readers_is_told_all(reader: InMemoryMetricReader) -> None:
    whole, deltas = InMemoryMetricReader(), InMemoryMetricReader(preferred_temporality=DELTAS)
    instrument_metrics(made(whole, deltas))
    for leases, new in ((1, 1), (3, 2), (4, 1)):
        pool = busy(lease=times(*[0.02] * leases), timeouts=leases)
        with open_pools({"default": pool}):
            seen = points(deltas)
            assert (seen["use_time"].count, seen["timeouts"]) == (new, new)
            seen = points(whole)
            assert (seen["use_time"].count, seen["timeouts"]) == (leases, leases)
            assert "use_time" not in points(deltas)


def test_a_pool_that_takes_anothers_place_takes_nothing_back() -> None:
    deltas = InMemoryMetricReader(preferred_temporality=DELTAS)
    instrument_metrics(made(deltas))
    with open_pools({"default": busy()}):
        points(deltas)
    with open_pools({"default": Numbers(pool_size=1, timeouts=1, lease=times(0.1))}):
        seen = points(deltas)
    assert (seen["timeouts"], seen["use_time"].count) == (1, 1)
    with open_pools({}):
        seen = points(deltas)
    assert seen == {"timeouts": 0}
    uninstrument_metrics()


def test_an_alias_that_the_settings_lost_is_told_of_as_long_as_it_has_a_pool() -> None:
    reader = InMemoryMetricReader()
    instrument_metrics(made(reader))
    with open_pools({"a removed tenant": busy()}):
        assert points(reader, "a removed tenant")["timeouts"] == 2
    with open_pools({}):
        assert "timeouts" not in points(reader, "a removed tenant")
    uninstrument_metrics()


def test_prometheus_is_told_the_same_by_the_sdks_exporter() -> None:
    registry = CollectorRegistry()
    instrument_metrics(made(PrometheusMetricReader(registry=registry)))
    with open_pools({"default": busy()}):
        samples = [one for family in registry.collect() for one in family.samples]
    found = {
        (one.name, one.labels.get("le") or one.labels.get("db_client_connection_state")): one.value
        for one in samples
    }
    assert found["db_client_connection_count", "used"] == 4
    assert found["db_client_connection_timeouts_total", None] == 2
    assert found["db_client_connection_wait_time_seconds_bucket", "0.0"] == 2
    assert found["db_client_connection_wait_time_seconds_bucket", "+Inf"] == 4
    uninstrument_metrics()


def test_a_view_may_drop_the_metric_that_is_collected_first() -> None:
    reader = InMemoryMetricReader()
    dropped = View(instrument_name=f"{PREFIX}.count", aggregation=DropAggregation())
    instrument_metrics(made(reader, views=[dropped]))
    with open_pools({"default": busy()}):
        seen = points(reader)
    assert seen["use_time"].count == 3
    assert "count used" not in seen
    uninstrument_metrics()


def test_a_pool_without_a_limit_has_no_maximum(reader: InMemoryMetricReader) -> None:
    with open_pools({"default": busy(max_overflow=-1)}):
        assert not {"max", "idle.max"} & points(reader).keys()


def test_more_times_than_one_collection_takes_are_recorded_in_the_next(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opentelemetry_metrics, "MAX_RECORDS", 4)
    lease = times(*[0.02] * 5, *[2.0] * 5)
    with open_pools({"default": Numbers(lease=lease)}):
        counts = [points(reader)["use_time"].count for _ in range(4)]
        assert counts == [4, 8, 10, 10]
        assert points(reader)["use_time"].bucket_counts == lease.counts


def test_after_uninstrument_nothing_is_told_until_it_is_instrumented_again() -> None:
    reader = InMemoryMetricReader(preferred_temporality=DELTAS)
    provider = made(reader)
    instrument_metrics(provider)
    with open_pools({"default": busy()}):
        assert points(reader)
        uninstrument_metrics()
        uninstrument_metrics()
        assert points(reader) == {}
        instrument_metrics(provider)
        instrument_metrics(provider)
        seen = points(reader)
        assert seen["count used"] == 4
        assert "use_time" not in seen, "it was told already"
    uninstrument_metrics()


def test_a_second_provider_takes_the_firsts_place(reader: InMemoryMetricReader) -> None:
    second = InMemoryMetricReader()
    instrument_metrics(made(second))
    with open_pools({"default": busy()}):
        assert points(reader) == {}
        assert points(second)["use_time"].count == 3


def test_in_a_child_the_pools_are_counted_from_nothing(
    reader: InMemoryMetricReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_pools({"default": busy()}):
        assert points(reader)["timeouts"] == 2
        instruments = opentelemetry_metrics._present
        assert instruments is not None
        run_threads(instruments._lock.acquire)  # Another thread had it when the process forked.
        monkeypatch.setattr("os.getpid", lambda: 0)
    with open_pools({"default": busy(timeouts=3)}):
        assert points(reader)["timeouts"] == 3


def test_instrument_tells_metrics_too() -> None:
    reader = InMemoryMetricReader()
    opentelemetry.instrument(meter_provider=made(reader))
    with open_pools({"default": busy()}):
        assert points(reader)["count used"] == 4
        opentelemetry.uninstrument()
        assert "count used" not in points(reader)


def test_without_a_provider_it_is_the_global_one_which_may_come_later() -> None:
    code = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from mysqlpool.contrib.opentelemetry_metrics import instrument_metrics
from tests.unit.contrib.pools import busy, open_pools
instrument_metrics()
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
with open_pools({"default": busy()}):
    found = reader.get_metrics_data().to_json()
    assert found.count('"db.client.connection.use_time"') == 1, found
"""
    run = [sys.executable, "-W", "error", "-c", code]
    subprocess.run(run, cwd=ROOT, check=True, timeout=60)


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ImproperlyConfigured, match=r"pip install 'mysqlpool\[opentelemetry\]'"):
        instrument_metrics()
    uninstrument_metrics()


def test_importing_the_module_imports_no_opentelemetry() -> None:
    code = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "import mysqlpool.contrib.opentelemetry_metrics"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


SECONDS = st.one_of(
    st.floats(0, 400), st.sampled_from([0.0, *BOUNDS]), st.floats(0, 0.002), st.just(1e6)
)


@given(st.lists(SECONDS, max_size=20), st.sampled_from([BOUNDS, WAIT_BOUNDS]))
def test_what_is_recorded_has_the_buckets_and_the_sum_of_what_was_measured(
    seconds: list[float], bounds: tuple[float, ...]
) -> None:
    measured = times(*seconds, bounds=bounds)
    again = Times(bounds)
    for value, count in spread(bounds, list(measured.counts), measured.seconds):
        for _ in range(count):
            again.add(value)
    assert again.histogram().counts == measured.counts
    assert again.seconds == pytest.approx(measured.seconds, rel=1e-9, abs=1e-9)


def test_bounds_grow() -> None:
    """On which `spread` and every bucket rely."""
    assert all(low < high for bounds in (BOUNDS, WAIT_BOUNDS) for low, high in pairwise(bounds))
