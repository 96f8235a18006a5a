"""The dashboard shows the documented metrics, and is one that Grafana takes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.telemetry.support import ROOT, documented

DASHBOARD: dict[str, Any] = json.loads((ROOT / "docs" / "grafana" / "oxherd.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
VARIABLES: dict[str, dict[str, Any]] = {each["name"]: each for each in DASHBOARD["templating"]["list"]}


def queries() -> list[str]:
    return [target["expr"] for panel in PANELS for target in panel["targets"]] + [
        each["definition"] for each in VARIABLES.values() if each["type"] == "query"
    ]


def test_each_metric_of_its_queries_is_documented_and_each_that_is_documented_is_shown() -> None:
    histograms = {name for name in documented() if name.endswith(("duration_seconds", "lag_seconds"))}
    shown = {name for query in queries() for name in re.findall(r"oxherd_\w+", query)}
    named = {name.removesuffix("_bucket") if name.removesuffix("_bucket") in histograms else name for name in shown}
    assert named == set(documented())
    assert {f"{name}_bucket" for name in histograms} <= shown


def test_the_labels_of_its_queries_are_those_of_the_metrics() -> None:
    for query in queries():
        for name, selected in re.findall(r"(oxherd_\w+)\{([^}]*)\}", query):
            labels = set(re.findall(r"(\w+)=~?\"", selected)) - {"job"}
            assert labels <= documented()[name.removesuffix("_bucket")], query
        for variable in re.findall(r"\$(\w+)", query):
            assert variable in VARIABLES or variable == "__rate_interval", query


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_each_panel_has_its_place_its_data_source_and_queries(panel: dict[str, Any]) -> None:
    assert panel["type"] in ("timeseries", "stat")
    assert panel["targets"]
    assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    place = panel["gridPos"]
    assert place["x"] + place["w"] <= 24
    for query in (target["expr"] for target in panel["targets"]):
        assert all(query.count(left) == query.count(right) for left, right in ("()", "{}", "[]"))


def test_it_is_a_dashboard_with_a_variable_for_the_data_source() -> None:
    assert (DASHBOARD["title"], DASHBOARD["uid"]) == ("oxherd", "oxherd")
    assert DASHBOARD["schemaVersion"] >= 36
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert VARIABLES["datasource"]["query"] == "prometheus"
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken = [
        (x, y)
        for panel in PANELS
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(taken)) == len(taken)
