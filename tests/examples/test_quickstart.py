"""examples/quickstart: exactly what its README says, without network or key."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ollama import AsyncClient

from tests.examples.readme import blocks
from tests.imports import ROOT
from tests.serving import run, serving

HOME = ROOT / "examples" / "quickstart"


async def test_its_curls_get_a_plain_answer_and_a_stream() -> None:
    [block] = blocks(HOME / "README.md", "bash")
    async with serving(HOME) as gateway:
        printed = await run("bash", "-euo", "pipefail", "-c", block.at(gateway.url))
    plain, _, streamed = printed.partition("event: ")
    answer = json.loads(plain)
    assert "hello there" in answer["choices"][0]["message"]["content"]
    assert answer["usage"]["completion_tokens"] > 0
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: ")]
    text = "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")
    assert "hello there" in text
    assert events[-1]["type"] == "message_stop"


async def test_its_sdk_snippet_is_answered_by_the_fallback_when_no_key_is_set(tmp_path: Path) -> None:
    [block] = blocks(HOME / "README.md", "python")
    async with serving(HOME) as gateway:
        script = tmp_path / "snippet.py"
        script.write_text(block.at(gateway.url))
        printed = await run(sys.executable, str(script))
    assert "hello there" in printed
    assert "by echo/echo on route fast" in printed


async def test_the_ollama_package_gets_plain_and_streamed_answers() -> None:
    asked = [{"role": "user", "content": "hello there"}]
    async with serving(HOME) as gateway:
        client = AsyncClient(host=gateway.url)
        plain = await client.chat(model="echo", messages=asked)
        pieces = [piece async for piece in await client.chat(model="echo", messages=asked, stream=True)]
    assert "hello there" in (plain.message.content or "")
    assert "".join(piece.message.content or "" for piece in pieces) == plain.message.content
    assert [piece.done for piece in pieces][-1] is True


async def test_the_access_log_carries_the_answers_request_id() -> None:
    async with serving(HOME) as gateway:
        printed = await run(
            "curl", "-sS", "-D", "-", f"{gateway.url}/v1/chat/completions",
            "-H", "x-request-id: quick-1",
            "-d", '{"model": "echo", "messages": [{"role": "user", "content": "hi"}]}',
        )  # fmt: skip
    assert "x-request-id: quick-1" in printed.lower()
    access = [json.loads(line) for line in gateway.lines if line.startswith("{") and "duration_ms" in line]
    assert [(line["request_id"], line["route"], line["outcome"]) for line in access] == [
        ("quick-1", "echo", "completed")
    ]
