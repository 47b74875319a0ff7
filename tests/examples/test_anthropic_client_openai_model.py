"""examples/anthropic_client_openai_model: the program for Claude ends well, with a stand-in that speaks OpenAI's format."""

from __future__ import annotations

import json
import sys

from tests.imports import ROOT
from tests.serving import run, serving

HOME = ROOT / "examples" / "anthropic_client_openai_model"


async def test_the_program_cannot_tell_that_another_dialect_answered() -> None:
    async with serving(HOME / "stand_in.yaml") as openai:
        upstream = {"OPENAI_UPSTREAM_URL": f"{openai.url}/v1", "OPENAI_API_KEY": "any"}
        async with serving(HOME, environ=upstream) as gateway:
            printed = await run(
                sys.executable,
                str(HOME / "ask.py"),
                environ={"ANTHROPIC_BASE_URL": gateway.url, "ANTHROPIC_API_KEY": "any"},
            )
    lines = printed.splitlines()
    assert lines[0].startswith("tokens, at most: ")
    assert "tool: get_weather | tool_use" in lines
    assert "".join(line.removeprefix("piece: ") for line in lines if line.startswith("piece: ")).startswith("Sunny, 21")
    assert any(line.startswith("stopped: end_turn | model: claude-haiku-4-5 | tokens: ") for line in lines)
    assert "left out for OpenAI: top_k" in lines
    asked = [json.loads(line) for line in openai.lines if line.startswith("{") and "duration_ms" in line]
    assert {line["path"] for line in asked} <= {"/v1/chat/completions"}
    warned = [json.loads(line) for line in gateway.lines if '"fields_dropped"' in line]
    assert [line["fields"] for line in warned] == [["top_k"]]
