"""docs/metrics.rst and the dashboard name what is exported, and their code works."""

from __future__ import annotations

import importlib.resources
import json
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest
from django.test import RequestFactory
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from mysqlpool.contrib import opentelemetry_metrics
from mysqlpool.contrib.prometheus import PoolCollector, unregister
from tests.documents import Block, blocks_of
from tests.helpers import ROOT

from .pools import busy, open_pools
from .test_opentelemetry_metrics import made, metrics

DOCS = (ROOT / "docs" / "metrics.rst").read_text(encoding="utf-8")
BLOCKS = [block for block in blocks_of(DOCS) if not block.kind.startswith("directive")]
FILE = importlib.resources.files("mysqlpool.contrib") / "grafana" / "mysqlpool.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))

# What Prometheus adds to each series, and prometheus_client where there are several processes.
ADDED = {"job", "instance", "pid"}


def exported() -> dict[str, set[str]]:
    """The labels of each series, by its name, as they are really exported."""
    registry = CollectorRegistry()
    registry.register(PoolCollector())
    found: dict[str, set[str]] = {}
    with open_pools({"default": busy()}):
        for family in registry.collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


SERIES = exported()


def used_in(expression: str) -> dict[str, set[str]]:
    """The series of an expression, and what labels are asked of each by a selector."""
    found: dict[str, set[str]] = {}
    for name, selector in re.findall(r"\b(mysqlpool_\w+)(?:\{([^}]*)\})?", expression):
        labels = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", selector)
        found.setdefault(name, set()).update(labels)
    return found


def grouped(expression: str) -> set[str]:
    lists = re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", expression)
    return {label.strip() for one in lists for label in one.split(",")}


def check(expression: str) -> None:
    """It names series and labels that there are, and is well formed as far as one can tell."""
    used = used_in(expression)
    assert used, expression
    for name, labels in used.items():
        assert name in SERIES, f"{name} in {expression}"
        assert labels <= SERIES[name] | ADDED, expression
    assert grouped(expression) <= set.union(*(SERIES[name] for name in used)) | ADDED, expression
    for name in used:
        counted = name.endswith(("_total", "_bucket", "_sum", "_count"))
        rated = re.search(rf"\b(rate|increase)\({name}", expression) is not None
        assert counted == rated, f"a counter is shown by its rate, and a gauge is not: {expression}"
    assert expression.count("(") == expression.count(")")
    assert ("_bucket" in expression) == ("histogram_quantile" in expression)


def test_the_check_finds_what_is_not_there() -> None:
    for wrong in (
        "mysqlpool_wating",
        "rate(mysqlpool_leases[5m])",
        'mysqlpool_sessions{status="idle"}',
        "sum by (reason) (mysqlpool_waiting)",
        "mysqlpool_timeouts_total",
        "up",
    ):
        with pytest.raises(AssertionError):
            check(wrong)


# The dashboard


def panels(kind: str = "timeseries") -> list[dict[str, Any]]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] == kind]


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_shows_what_is_exported_of_what_was_chosen(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        check(target["expr"])
        for labels in used_in(target["expr"]).values():
            assert {"job", "instance", "alias"} <= labels
        shown = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert shown <= grouped(target["expr"]) - {"le"}, "a legend names what is left"
        assert target["datasource"] == panel["datasource"] == source()
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert panel["description"].endswith(".")


def source() -> dict[str, str]:
    return {"type": "prometheus", "uid": "${datasource}"}


def test_every_metric_is_on_the_dashboard() -> None:
    text = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    families = {re.sub("_(bucket|sum|count)$", "", name) for name in SERIES}
    assert {re.sub("_bucket$", "", name) for name in used_in(text)} == families


def test_the_variables_are_the_source_and_what_a_series_is_chosen_by() -> None:
    variables = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
    assert list(variables) == ["datasource", "job", "instance", "alias"]
    assert variables.pop("datasource")["type"] == "datasource"
    for name, one in variables.items():
        asked = re.fullmatch(r"label_values\((.*), (\w+)\)", one["query"]["query"])
        assert asked is not None
        assert asked[2] == name
        for series, labels in used_in(asked[1]).items():
            assert labels <= SERIES[series] | ADDED
        assert one["datasource"] == source()
        assert one["includeAll"]
        assert one["multi"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used == {*variables, "datasource", "__rate_interval", "__all"}


def test_no_panel_lies_on_another() -> None:
    assert DASHBOARD["schemaVersion"] >= 38
    assert DASHBOARD["id"] is None, "Grafana gives it one"
    every = DASHBOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    for one, other in combinations([panel["gridPos"] for panel in every], 2):
        assert (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
    assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in every)


def test_the_dashboard_is_shipped() -> None:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    assert '"mysqlpool.contrib": ["grafana/*.json"]' in setup


# The page


def rows(first: str) -> list[list[str]]:
    """The cells of the list-tables' rows that begin with such a name."""
    found = re.findall(rf"^   \* - (``{first}.*)\n((?:     - .*\n)+)", DOCS, re.MULTILINE)
    return [[name, *re.findall("     - (.*)", cells)] for name, cells in found]


def names(cell: str) -> set[str]:
    return set(re.findall("``([^`]+)``", cell))


def test_the_table_has_each_metric_as_it_is_exported() -> None:
    families: dict[str, Metric] = {}
    for family in PoolCollector().describe():
        families[f"{family.name}_total" if family.type == "counter" else family.name] = family
    table = {next(iter(names(row[0]))): row[1:] for row in rows("mysqlpool_")}
    assert list(table) == list(families)
    for name, (kind, labels, text) in table.items():
        assert (kind, text) == (families[name].type, families[name].documentation)
        sample = name if name in SERIES else f"{name}_count"
        assert names(labels) == SERIES[sample]


def test_the_table_has_each_metric_of_opentelemetry() -> None:
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    opentelemetry_metrics.instrument_metrics(made(reader))
    with open_pools({"default": busy()}):
        told = metrics(reader)
    opentelemetry_metrics.uninstrument_metrics()
    kinds = {True: "Counter", False: "UpDownCounter", None: "Histogram"}
    expected = {
        name: [kinds[getattr(metric.data, "is_monotonic", None)], f"``{metric.unit}``"]
        for name, metric in told.items()
    }
    assert {row[0].strip("`"): row[1:3] for row in rows("db.client")} == expected


def expressions(block: Block) -> Iterator[str]:
    """The expressions of rules, which may be folded over several lines."""
    for match in re.finditer(
        r"^( *)expr: (?:>-\n((?:\1  .*\n)+)|(.*)\n)", block.text, re.MULTILINE
    ):
        yield " ".join((match[2] or match[3]).split())


def test_the_alerts_name_what_is_exported() -> None:
    [block] = [block for block in BLOCKS if block.kind == "yaml"]
    found = list(expressions(block))
    assert len(found) == block.text.count("alert:") == 6
    for expression in found:
        check(expression)
        assert grouped(expression) - {"le"} == {"job", "instance", "alias"}
    assert set(re.findall(r"\$labels\.(\w+)", block.text)) <= {"job", "instance", "alias"}


def test_every_series_that_the_page_names_is_exported() -> None:
    known = {*SERIES, *(re.sub("_(bucket|count|sum)$", "", name) for name in SERIES)}
    assert set(re.findall(r"\bmysqlpool_\w+", DOCS)) <= known


def test_the_code_of_the_page_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one namespace, one block after the other."""
    names: dict[str, Any] = {"__name__": "shop"}
    shown = [block for block in BLOCKS if block.kind == "python"]
    assert len(shown) == 4
    for block in shown:
        exec(compile(block.text, "docs/metrics.rst", "exec"), names)
    try:
        names["ShopConfig"].ready(None)
        with open_pools({"default": busy()}):
            answer = names["metrics"](RequestFactory().get("/metrics"))
        assert 'mysqlpool_waiting{alias="default"} 7.0' in answer.content.decode()
        assert answer["Content-Type"].startswith("text/plain")
    finally:
        unregister()


def test_the_command_that_finds_the_dashboard_finds_it(capsys: pytest.CaptureFixture[str]) -> None:
    [command] = re.findall(r'python -c "(.*)"', DOCS)
    exec(command, {})
    shown = capsys.readouterr().out.strip()
    with open(shown, encoding="utf-8") as file:
        assert json.load(file) == DASHBOARD
