"""examples/prompt_chain: exactly what its README says."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

from tests.examples.readme import blocks
from tests.imports import ROOT
from tests.serving import run, serving

CHAIN = ROOT / "examples" / "prompt_chain"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy: runs and rows of one test are not another's."""
    return Path(shutil.copytree(CHAIN, tmp_path / "examples" / "prompt_chain", ignore=shutil.ignore_patterns("var")))


async def test_the_chain_answers_leaves_its_rows_and_is_stopped_by_a_gate(home: Path) -> None:
    answer, refusal = blocks(home / "README.md", "bash")
    [rows] = blocks(home / "README.md", "python")
    async with serving(home) as gateway:
        streamed = await run("bash", "-euo", "pipefail", "-c", answer.at(gateway.url))
        refused = json.loads(await run("bash", "-euo", "pipefail", "-c", refusal.at(gateway.url)))
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    words = "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"])
    assert words.startswith("Why is the sky blue?")
    assert "<analyze>" in words and "<process>" in words
    assert streamed.endswith("data: [DONE]\n\n")
    message = 'step "analyze" was stopped: field "intent" must match the gate\'s pattern'
    assert refused["error"] == {"type": "api_error", "message": message}
    told = (await run(sys.executable, "-c", rows.text, cwd=home.parents[1])).splitlines()
    assert sorted(line.split()[0] for line in told) == ["fast", "fast", "fast", "prompt-chain"]
