"""The compose file that sends the gateway's log to Loki: its pieces name one another as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import yaml

from gateway.testing import running_gateway
from tests.imports import ROOT
from tests.tracing.kit import CHAT, asked

ALLOY = (ROOT / "config" / "loki.alloy").read_text("utf-8")


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text("utf-8"))


SERVICES = {**read("docker-compose.yml")["services"], **read("docker-compose.observability.yml")["services"]}
OWN = read("docker-compose.observability.yml")


def pairs(stage: str) -> dict[str, str]:
    """Return what the one map of a stage of Alloy's file says."""
    found = re.search(re.escape(stage) + r" \{[^{]*\{([^}]*)\}", ALLOY)
    assert found, stage
    return dict(re.findall(r'(\w+) = "([^"]*)"', found[1]))


def mounted(service: str) -> dict[str, str]:
    """Return the repository's files that a service sees, by the path at which it does."""
    mounts = [each.split(":") for each in SERVICES[service]["volumes"]]
    return {inside: outside for outside, inside, *_ in mounts if outside.startswith("./")}


def alloy_blocks() -> Iterator[tuple[str, str]]:
    yield from re.findall(r'^([\w.]+) "(\w+)" \{', ALLOY, re.MULTILINE)


def test_each_service_reads_the_file_it_is_given() -> None:
    (loki,) = SERVICES["loki"]["command"]
    assert mounted("loki")[loki.removeprefix("-config.file=")] == "./config/loki.yaml"
    assert mounted("alloy")[SERVICES["alloy"]["command"][-1]] == "./config/loki.alloy"
    storage = next(each for each in SERVICES["alloy"]["command"] if each.startswith("--storage.path="))
    assert f"alloy-data:{storage.partition('=')[2]}" in SERVICES["alloy"]["volumes"]
    for service in ("loki", "alloy"):
        named = [each.split(":")[0] for each in SERVICES[service]["volumes"] if each[0] not in "./"]
        assert named
        assert set(named) <= set(OWN["volumes"])


def test_images_are_pinned() -> None:
    for name in OWN["services"]:
        image = SERVICES[name].get("image") or read("docker-compose.yml")["services"][name]["image"]
        assert re.search(r":v?\d+\.\d+\.\d+$", image), image


def test_everybody_finds_loki_where_it_listens() -> None:
    loki = read("config/loki.yaml")
    here = f"http://loki:{loki['server']['http_listen_port']}"
    assert f'url = "{here}/loki/api/v1/push"' in ALLOY
    provisioned = yaml.safe_load(OWN["configs"]["grafana-datasources"]["content"])["datasources"]
    assert [(each["type"], each["url"]) for each in provisioned] == [("loki", here)]
    assert loki["common"]["path_prefix"] == "/loki"
    assert "loki-data:/loki" in SERVICES["loki"]["volumes"]


def test_old_lines_are_deleted() -> None:
    loki = read("config/loki.yaml")
    assert re.fullmatch(r"\d+h", loki["limits_config"]["retention_period"])
    assert loki["compactor"]["retention_enabled"] is True
    assert loki["compactor"]["delete_request_store"] == loki["schema_config"]["configs"][0]["object_store"]


def test_alloys_components_are_there_and_passed_on() -> None:
    there = {".".join(each) for each in alloy_blocks()}
    named = re.findall(r"((?:discovery|loki)\.[a-z_]+\.[a-z_]+)\.(targets|output|receiver)\b", ALLOY)
    assert {each for each, _ in named} == there - {"loki.source.docker.gateway"}
    assert ALLOY.count("{") == ALLOY.count("}")


def test_the_log_that_is_sent_is_the_gateways() -> None:
    (label,) = re.findall(r'values = \["com\.docker\.compose\.service=(\w+)"\]', ALLOY)
    assert label in SERVICES
    panels = json.loads((ROOT / "config" / "grafana.json").read_text("utf-8"))["panels"]
    queries = [target["expr"] for panel in panels if panel["type"] == "logs" for target in panel["targets"]]
    assert queries
    for query in queries:
        selector = dict(re.findall(r'(\w+)=~?"([^"]*)"', query.partition("}")[0]))
        assert selector["service"] == label
        assert set(selector) <= {"service", "container", *pairs("stage.labels")}


async def test_labels_are_fields_of_the_lines_as_they_are() -> None:
    extracted, labels = pairs("stage.json"), pairs("stage.labels")
    assert set(labels) == {"level", "event", "route"}
    assert set(labels) | {"ts"} == set(extracted)
    async with running_gateway(
        "plugins: [access_log]\nproviders: {echo: {}}\nroutes: [{name: all, targets: ['echo/*']}]"
    ) as gateway:
        await gateway.post(CHAT, asked())
        await gateway.settled()
        (line,) = gateway.events("request")
    assert set(extracted.values()) <= set(line)
    assert (line["level"], line["event"], line["route"]) == ("info", "request", "all")
    assert 'format = "RFC3339Nano"' in ALLOY
    assert datetime.fromisoformat(line["ts"]).tzinfo is not None
