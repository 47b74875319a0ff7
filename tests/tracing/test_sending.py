"""Spans on their way: batches, a collector that is down or slow, the end of the process, the plugin that is off."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import pytest

from gateway.chain import HOOKS, overrides
from gateway.errors import ConfigErrors
from gateway.testing import RunningGateway, ScriptedUpstream, reply_json, running_gateway
from tests.tracing.kit import CHAT, WAIT_S, asked, collector, free_port
from tests.tracing.test_spans import GOOD, config

EXAMPLE = """
plugins:
  - tracing: {endpoint: "${OTEL_EXPORTER_OTLP_ENDPOINT:-}"}
providers: {echo: {}}
routes: [{name: echo, targets: ["echo/*"]}]
"""
ONE = """
plugins: [{{tracing: {{endpoint: "{url}", interval: {interval}, headers: {{authorization: "Bearer {secret}"}}}}}}]
providers: {{echo: {{}}}}
routes: [{{name: echo, targets: ["echo/*"]}}]
"""
SECRET = "canary-of-the-collector-0123456789"


def one(url: str, interval: str = "10ms") -> str:
    return ONE.format(url=url, interval=interval, secret=SECRET)


async def counted(gateway: RunningGateway) -> dict[str, int]:
    told = await gateway.core.group.total("plugin tracing: spans")
    assert isinstance(told, dict)
    return told


async def told(gateway: RunningGateway, event: str) -> None:
    """Wait for a line that another thread asks the loop to write."""
    async with asyncio.timeout(WAIT_S):
        while not gateway.events(event):
            await asyncio.sleep(0)


async def test_without_an_endpoint_no_hook_stands_in_the_chain() -> None:
    async with running_gateway(EXAMPLE) as gateway:
        (plugin,) = gateway.core.snapshot.plugins
        assert plugin.name == "tracing"
        assert not [hook for hook in (*HOOKS, "http_routes") if overrides(plugin, hook)]
        assert (await gateway.post(CHAT, asked())).status == 200


async def test_the_environment_names_the_collector_as_opentelemetry_has_it() -> None:
    async with collector() as seen:
        async with running_gateway(EXAMPLE, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": seen.url + "/"}) as gateway:
            await gateway.post(CHAT, asked())
        assert len(seen.spans) == 2
        assert seen.paths == ["/v1/traces"]


async def test_the_whole_address_is_taken_as_it_is() -> None:
    async with collector() as seen:
        async with running_gateway(one(seen.url + "/otlp/v1/traces", "1h")) as gateway:
            await gateway.post(CHAT, asked())
        assert seen.paths == ["/otlp/v1/traces"]


async def test_spans_that_wait_go_out_together_when_the_gateway_stops() -> None:
    async with collector() as seen:
        async with running_gateway(one(seen.url, "1h")) as gateway:
            for _ in range(5):
                await gateway.post(CHAT, asked())
            await gateway.settled()
            assert not seen.spans
        assert len(seen.spans) == 10
        assert [each["Authorization" if "Authorization" in each else "authorization"] for each in seen.headers] == [
            f"Bearer {SECRET}"
        ]


async def test_a_reload_sends_what_the_snapshot_before_it_had() -> None:
    async with collector() as seen, collector() as other:
        async with running_gateway(one(seen.url, "1h")) as gateway:
            await gateway.post(CHAT, asked())
            gateway.configure(one(other.url, "1h"))
            await gateway.reloader.reload("test")
            await gateway.settled()
            assert len(seen.spans) == 2
            await gateway.post(CHAT, asked())
        assert (len(seen.spans), len(other.spans)) == (2, 2)


async def test_a_collector_that_is_down_costs_spans_one_warning_and_nothing_else() -> None:
    port = free_port()
    async with running_gateway(one(f"http://127.0.0.1:{port}", "1h")) as gateway:
        for _ in range(3):
            assert (await gateway.post(CHAT, asked())).status == 200
        await gateway.settled()
        lines = gateway.log
        gateway.configure(EXAMPLE)
        await gateway.reloader.reload("test")
        await told(gateway, "spans_dropped")
        (line,) = gateway.events("spans_dropped")
        assert (line["level"], line["dropped"]) == ("warning", 6)
        assert await counted(gateway) == {"sent": 0, "dropped": 6}
        assert SECRET not in json.dumps(lines)


async def test_a_refusal_is_warned_of_once_and_its_end_is_told() -> None:
    async with collector() as seen:
        seen.answer = 401
        async with running_gateway(one(seen.url)) as gateway:
            for number in range(1, 4):
                await gateway.post(CHAT, asked())
                await seen.until(lambda seen, number=number: len(seen.paths) >= number)  # type: ignore[misc]
            seen.answer = 200
            await gateway.post(CHAT, asked())
            await seen.of("server")
            gateway.configure(EXAMPLE)
            await gateway.reloader.reload("test")
            await gateway.settled()
            await told(gateway, "spans_sent_again")
            (warning,), (over,) = gateway.events("spans_dropped"), gateway.events("spans_sent_again")
            assert "401" in warning["why"]
            assert over["dropped"] == 6
            assert await counted(gateway) == {"sent": 2, "dropped": 6}


async def test_a_collector_that_hangs_holds_up_neither_requests_nor_the_end() -> None:
    async with collector() as seen:
        seen.gate.clear()
        async with running_gateway(one(seen.url)) as gateway:
            for _ in range(20):
                assert (await gateway.post(CHAT, asked())).status == 200
        assert not seen.spans


async def test_content_is_in_no_span_unless_it_is_wanted() -> None:
    async with collector() as seen, ScriptedUpstream(reply_json(GOOD)) as upstream:
        async with running_gateway(config(seen.url, upstream.url)) as gateway:
            await gateway.post(CHAT, asked(text="my canary prompt"))
            await seen.of("server")
    shown = repr(seen.spans)
    assert "canary" not in shown
    assert "secret word" not in shown


@pytest.mark.parametrize("stream", [False, True])
async def test_content_that_is_wanted_is_said_as_the_conventions_have_it(stream: bool) -> None:
    async with collector() as seen:
        text = one(seen.url).replace("interval:", "content: true, interval:")
        async with running_gateway(text) as gateway:
            body = asked("echo", text="my prompt", stream=stream)
            body["messages"].insert(0, {"role": "system", "content": "be brief"})
            await gateway.post(CHAT, {**body, "temperature": 0.5, "max_tokens": 50})
            (attempt,) = await seen.of("client")
    said = attempt.attributes
    assert json.loads(said["gen_ai.system_instructions"]) == [{"type": "text", "content": "be brief"}]
    assert json.loads(said["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "my prompt"}]}
    ]
    (answer,) = json.loads(said["gen_ai.output.messages"])
    assert (answer["role"], answer["finish_reason"]) == ("assistant", "stop")
    assert "my prompt" in answer["parts"][0]["content"]
    assert said["gen_ai.response.finish_reasons"] == ["stop"]
    assert (said["gen_ai.request.temperature"], said["gen_ai.request.max_tokens"]) == (0.5, 50)
    assert said["gen_ai.response.model"]


async def test_a_missing_extra_is_told_with_its_place_and_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.partition(".")[0] == "opentelemetry"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigErrors, match=r'gateway\.yaml:\d+:\d+: .*needs the module .*"llm-gateway\[otel\]"'):
        async with running_gateway(one("http://127.0.0.1:9")):
            pass
    async with running_gateway(EXAMPLE) as gateway:
        assert (await gateway.post(CHAT, asked())).status == 200


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "grpc://collector:4317", "http://"])
async def test_what_is_no_address_is_refused_with_its_place(endpoint: str) -> None:
    with pytest.raises(ConfigErrors, match=r"gateway\.yaml:\d+:\d+: .*endpoint is no address"):
        async with running_gateway(one(endpoint)):
            pass


def test_nothing_of_opentelemetry_is_imported_without_an_endpoint() -> None:
    source = Path(__file__).parents[2] / "plugins" / "tracing"
    for name in ("__init__.py", "spans.py", "content.py"):
        assert "import opentelemetry" not in (source / name).read_text("utf-8")
        assert "from opentelemetry" not in (source / name).read_text("utf-8")
