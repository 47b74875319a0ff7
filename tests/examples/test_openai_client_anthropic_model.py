"""examples/openai_client_anthropic_model: the program for GPT ends well, with a stand-in that speaks Anthropic's format."""

from __future__ import annotations

import json
import sys

from tests.imports import ROOT
from tests.serving import run, serving

HOME = ROOT / "examples" / "openai_client_anthropic_model"


async def test_the_program_cannot_tell_that_another_dialect_answered() -> None:
    async with serving(HOME / "stand_in.yaml") as anthropic:
        upstream = {"ANTHROPIC_UPSTREAM_URL": anthropic.url, "ANTHROPIC_API_KEY": "any"}
        async with serving(HOME, environ=upstream) as gateway:
            printed = await run(
                sys.executable,
                str(HOME / "ask.py"),
                environ={"OPENAI_BASE_URL": f"{gateway.url}/v1", "OPENAI_API_KEY": "any"},
            )
    lines = printed.splitlines()
    assert "tool: get_weather ['city'] | tool_calls" in lines
    assert "".join(line.removeprefix("piece: ") for line in lines if line.startswith("piece: ")).startswith("Sunny, 21")
    assert "stopped: stop | model: gpt-5-mini" in lines
    assert any(line.startswith("tokens: ") for line in lines)
    assert "structured: ['city', 'degrees']" in lines
    assert "left out for Anthropic: seed" in lines
    warned = [json.loads(line) for line in gateway.lines if '"fields_dropped"' in line]
    assert [line["fields"] for line in warned] == [["seed"]]
