"""examples/keys_and_limits: exactly what its README says, restart and rows included."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.examples.readme import blocks
from tests.imports import ROOT
from tests.serving import run, serving

HOME = ROOT / "examples" / "keys_and_limits"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A copy: the rows of one run would count against the budget of the next."""
    return Path(shutil.copytree(HOME, tmp_path / "home", ignore=shutil.ignore_patterns("var")))


async def test_each_caller_is_let_through_as_the_readme_says_and_leaves_its_rows(home: Path) -> None:
    block, sums = blocks(home / "README.md", "bash")
    async with serving(home) as gateway:
        printed = await run("bash", "-euo", "pipefail", "-c", block.at(gateway.url))
    answers = printed.splitlines()
    promised = re.findall(r"# (.*)", block.text)
    statuses = [status for words in promised for status in re.findall(r"\b[2-5]\d\d\b", words)]
    assert (
        [line.split()[1] for line in answers]
        == statuses
        == ["401", "200", "200", "429", "403", "200", "200", "402", "200"]
    )

    folder = home.parent / "examples"
    folder.mkdir()
    (folder / "keys_and_limits").symlink_to(home)
    rows = (await run("bash", "-euo", "pipefail", "-c", sums.text, cwd=home.parent)).splitlines()
    assert rows == [
        "None 401 1 0.0", "team-a 200 3 0.8", "team-a 402 1 0.0", "team-b 200 2 0.0", "team-b 403 1 0.0", "team-b 429 1 0.0",
    ]  # fmt: skip

    async with serving(home) as gateway:  # again: what was spent today is spent
        key = re.findall(r"TEAM_A=(\S+)", block.text)[0]
        body = '{"model": "paid-large", "messages": [{"role": "user", "content": "hello"}]}'
        url = f"{gateway.url}/v1/chat/completions"
        refused = await run(
            "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url, "-H", f"x-api-key: {key}", "-d", body
        )
    assert refused == "402"
