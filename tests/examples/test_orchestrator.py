"""examples/orchestrator: exactly what its README says."""

from __future__ import annotations

import json
import re

from tests.examples.readme import blocks
from tests.imports import ROOT
from tests.serving import run, serving

TEAM = ROOT / "examples" / "orchestrator"


async def test_the_team_works_at_the_same_time_and_the_graph_streams() -> None:
    team, graph = blocks(TEAM / "README.md", "bash")
    async with serving(TEAM) as gateway:
        answer = json.loads(await run("bash", "-euo", "pipefail", "-c", team.at(gateway.url)))
        streamed = await run("bash", "-euo", "pipefail", "-c", graph.at(gateway.url))
    said = answer["choices"][0]["message"]["content"]
    assert re.findall(r'<result number="(\d)" status="(\w+)">', said) == [("1", "done"), ("2", "done"), ("3", "done")]
    assert "describe plums" in said
    assert any('"workflow_tasks_cut"' in line for line in gateway.lines)
    assert "event: message_stop" in streamed
    assert "Answer" in streamed
