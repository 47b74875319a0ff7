"""What is shipped to look at the metrics with asks for those that there are: dashboard, alerts, the compose file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.testing import running_gateway
from tests.metrics.kit import ASKED, CHAT, PREFIX, scrape
from tests.metrics.test_scrape import CONTRACT

ROOT = Path(__file__).parents[2]
HISTOGRAMS = {name for name in CONTRACT if name.endswith("_seconds") and name != "loop_lag_seconds"}
SELECTOR = re.compile(PREFIX + r"(\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"')
BY = re.compile(r"\bby \(([^)]*)\)")
FROM_PROMETHEUS = {"instance", "job"}


def dashboard() -> Mapping[str, Any]:
    return json.loads((ROOT / "config" / "grafana.json").read_text("utf-8"))  # type: ignore[no-any-return]


def alerts() -> list[Mapping[str, Any]]:
    (group,) = yaml.safe_load((ROOT / "config" / "alerts.yaml").read_text("utf-8"))["groups"]
    return list(group["rules"])


def dashboard_queries() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", ()):
            if target["datasource"]["type"] == "prometheus":
                yield target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["definition"]


QUERIES = [*dashboard_queries(), *(rule["expr"] for rule in alerts())]


def named(query: str) -> dict[str, str]:
    """Return the metrics that a query names, each with its matchers."""
    found = {}
    for name, matchers in SELECTOR.findall(query):
        base = re.sub(r"_(bucket|sum|count)$", "", name)
        found[base if base in HISTOGRAMS else name] = matchers
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_metrics_and_labels_that_there_are(query: str) -> None:
    metrics = named(query)
    assert metrics or "up{" in query
    labels: set[str] = set(FROM_PROMETHEUS)
    for name, matchers in metrics.items():
        assert name in CONTRACT
        own = {*CONTRACT[name], *FROM_PROMETHEUS}
        assert set(MATCHER.findall(matchers)) <= own
        if name in HISTOGRAMS:
            assert f"{PREFIX}{name}_" in query, "a histogram has no sample of its bare name"
            own.add("le")
        labels |= own
    for group in BY.findall(query):
        assert {label.strip() for label in group.split(",")} <= labels
    assert [query.count(each) for each in "({["] == [query.count(each) for each in ")}]"]


def test_a_counter_is_never_shown_as_it_stands() -> None:
    for query in QUERIES:
        for name in named(query):
            if name.endswith("_total") or name in HISTOGRAMS:
                assert re.search(r"(rate|increase|label_values)\(" + PREFIX + name, query), query


def test_the_dashboard_shows_every_metric() -> None:
    assert {name for query in dashboard_queries() for name in named(query)} == set(CONTRACT)


def test_panels_stand_beside_one_another() -> None:
    taken: dict[tuple[int, int], str] = {}
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for x in range(at["x"], at["x"] + at["w"]):
            for y in range(at["y"], at["y"] + at["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]


def test_every_alert_says_what_is_wrong_and_what_to_do() -> None:
    rules = alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule.keys() - {"for"} == {"alert", "expr", "labels", "annotations"}
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"].keys() == {"summary", "description"}
        for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
            assert label in FROM_PROMETHEUS | {"route", "target"}
            assert f"by ({label})" in rule["expr"] or "up{" in rule["expr"]


def test_the_compose_file_mounts_what_there_is() -> None:
    base = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
    more = yaml.safe_load((ROOT / "docker-compose.observability.yml").read_text("utf-8"))
    configs, volumes = {**base["configs"], **more["configs"]}, {**base["volumes"], **more["volumes"]}
    for name, service in more["services"].items():
        assert {**base["services"].get(name, {}), **service}["profiles"] == ["observability"]
        for mount in service.get("volumes", ()):
            source = mount.split(":")[0]
            assert source in volumes or source.startswith("/var/run/") or (ROOT / source).is_file()
        for each in service.get("configs", ()):
            assert each["source"] in configs
    for each in more["configs"].values():
        assert yaml.safe_load(each["content"])
    assert "/etc/prometheus/alerts.yaml" in str(more["services"]["prometheus"]["volumes"])
    assert "/etc/prometheus/alerts.yaml" in more["configs"]["prometheus"]["content"]


async def test_the_repositorys_own_home_is_measured() -> None:
    home = (ROOT / "gateway.yaml").read_text("utf-8")
    async with running_gateway(home) as gateway:
        assert (await gateway.post(CHAT, ASKED)).status == 200
        told = await scrape(gateway)
    assert told.of("requests_total", route="echo", status="200") == 1
