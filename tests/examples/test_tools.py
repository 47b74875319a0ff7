"""examples/tools: exactly what its README says; and a real model that uses a tool. `make test-real` runs the latter."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.examples.readme import blocks
from tests.examples.test_local_model import model
from tests.imports import ROOT
from tests.serving import Serving, run, serving

HOME = ROOT / "examples" / "tools"
TEMPLATE = ROOT / "examples" / "local_model" / "tools.jinja"


@asynccontextmanager
async def service(name: str) -> AsyncIterator[str]:
    """Run one of the example's services on a free port; yield its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HOME / f"{name}.py"), "--port", "0",
        stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        yield line.decode().strip().rpartition(" ")[2]
    finally:
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


@asynccontextmanager
async def example(**environ: str) -> AsyncIterator[Serving]:
    async with service("semantic_search") as search, service("agents") as agents:
        async with serving(HOME, environ={"SEARCH_URL": search, "AGENTS_URL": agents, **environ}) as gateway:
            yield gateway


async def said(text: str, gateway: Serving) -> str:
    return await run("bash", "-euo", "pipefail", "-c", text.replace("http://127.0.0.1:8080", gateway.url))


async def test_it_does_what_its_readme_says() -> None:
    by_hand, by_model, by_session = (block.text for block in blocks(HOME / "README.md", "bash"))
    async with example() as gateway:
        listed, _, found = (await said(by_hand, gateway)).partition('{"name":"semantic_search","result"')
        assert [tool["name"] for tool in json.loads(listed)["tools"]] == [
            "semantic_search", "list_agents", "run_agent", "days_between"
        ]  # fmt: skip
        assert '"id":"refunds"' in found
        assert found.count('"id"') == 1

        answer = json.loads(await said(by_model, gateway))
        heard = json.loads(answer["choices"][0]["message"]["content"])
        assert heard["results"][0]["title"] == "Refunds"

        subjects = {hit["taxonomy"] for hit in json.loads(await said(by_session, gateway))["result"]["results"]}
        assert subjects == {"engineering/security"}


async def test_its_agents_and_its_function_work_and_say_why_they_fail() -> None:
    async def executed(gateway: Serving, name: str, **arguments: Any) -> Any:
        body = json.dumps({"name": name, "arguments": arguments})
        command = f"curl -s {gateway.url}/v1/tools/execute -H 'content-type: application/json' --data \"$BODY\""
        return json.loads(await run("bash", "-c", command, environ={"BODY": body}))

    async with example() as gateway:
        assert (await executed(gateway, "days_between", start="2026-01-31", end="2026-03-01"))["result"] == 29
        listed = (await executed(gateway, "list_agents"))["result"]["agents"]
        assert [agent["name"] for agent in listed] == ["summarize", "extract", "calculate"]
        done = await executed(gateway, "run_agent", agent="calculate", input="2 * (3 + 4) / 7")
        assert done["result"] == {"agent": "calculate", "output": 2.0}
        text = "Pay $1,200.50 to a@b.example by 2026-05-01."
        assert (await executed(gateway, "run_agent", agent="extract", input=text))["result"]["output"] == {
            "dates": ["2026-05-01"],
            "amounts": ["$1,200.50"],
            "mails": ["a@b.example"],
        }
        failed = await executed(gateway, "run_agent", agent="calculate", input="open(1)")
        assert not failed["success"]
        assert "only numbers" in failed["error"]


def precedent(question: str, query: str, found: str, words: str) -> list[Any]:
    """Return a turn as it should go: a model this small does what it has seen done."""
    function = {"name": "semantic_search", "arguments": json.dumps({"query": query})}
    return [
        {"role": "user", "content": question},
        {"role": "assistant", "content": "", "tool_calls": [{"id": "a", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "a", "content": found},
        {"role": "assistant", "content": words},
    ]


@pytest.mark.real
@pytest.mark.timeout(300)
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "streamed"])
async def test_a_real_model_uses_a_tool(tmp_path: Path, stream: bool) -> None:
    async with (
        model(tmp_path / "model.log", "--template", str(TEMPLATE)) as url,
        example(LLAMA_URL=url) as gateway,
        AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="any", max_retries=0) as client,
    ):
        asked = precedent("Search for delivery.", "delivery", "Parcels arrive after three days.", "After three days.")
        asked.append({"role": "user", "content": "Search for refunds."})
        request: Any = {"model": "smollm2", "messages": asked, "temperature": 0, "max_tokens": 100}
        if stream:
            chunks = await client.chat.completions.create(**request, stream=True)
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])
        else:
            answer = await client.chat.completions.create(**request)
            assert not answer.choices[0].message.tool_calls
            text = answer.choices[0].message.content or ""
        assert text.strip()
        metrics = await run("curl", "-s", f"{gateway.url}/metrics")
        assert 'llm_gateway_tool_calls_total{outcome="ok",tool="semantic_search"} 1.0' in metrics
