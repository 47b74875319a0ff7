"""docs/workflows.md: every block loads, and the graph in it runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from gateway.runtime.home import Home
from gateway.runtime.plugins import discover
from gateway.testing import Answer, ReceivedRequest, ScriptedUpstream, running_gateway
from tests.examples.readme import blocks
from tests.imports import ROOT
from tests.workflow.kit import said, text_of

PAGE = ROOT / "docs" / "workflows.md"
BLOCKS = [block.text for block in blocks(PAGE, "yaml")]
[GRAPHS] = [block.text for block in blocks(PAGE, "python")]


def names(text: str) -> list[str]:
    [plugin] = [each["workflow"] for each in yaml.safe_load(text)["plugins"] if "workflow" in each]
    return list(plugin["workflows"])


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: names(text)[0])
async def test_a_block_of_the_page_serves_over_the_echo(text: str) -> None:
    async with running_gateway(text, files={"graphs.py": GRAPHS}) as gateway:
        for name in names(text):
            body = {"model": name, "messages": [{"role": "user", "content": "one\ntwo"}]}
            got = await gateway.post("/v1/chat/completions", body)
            assert got.status == 200, got.body
            assert text_of(got)


def test_the_page_has_the_three_ready_configurations() -> None:
    assert {"cheap", "balanced", "accurate"} <= {name for text in BLOCKS for name in names(text)}


async def test_the_graph_of_the_page_asks_twice() -> None:
    def script(request: ReceivedRequest) -> Answer:
        return said(request, "draft" if len(request.json()["messages"]) == 1 else "better")

    async with ScriptedUpstream(script) as upstream:
        up: Any = f'up: {{dialect: openai, base_url: "{upstream.url}/v1", api_key: k}}'
        [text] = [text for text in BLOCKS if names(text) == ["own"]]
        text = text.replace("providers: {echo: {}}", f"providers: {{{up}}}").replace("echo/echo", "up/m")
        async with running_gateway(text, files={"graphs.py": GRAPHS}) as gateway:
            body = {"model": "own", "messages": [{"role": "user", "content": "hello"}]}
            got = await gateway.post("/v1/chat/completions", body)
    assert text_of(got) == "better"
    assert [message["role"] for message in upstream.requests[1].json()["messages"]] == ["user", "assistant", "user"]


def options_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for below in schema.values():
            yield from options_in(below)
    elif isinstance(schema, list):
        for below in schema:
            yield from options_in(below)


def test_the_page_names_every_option() -> None:
    home = ROOT / "examples" / "prompt_chain"
    schema = discover(Home(home, home / "gateway.yaml")).options_schema("workflow")
    words = PAGE.read_text("utf-8")
    assert [option for option in options_in(schema) if option not in words] == []
