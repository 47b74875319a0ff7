"""examples/own_plugin: exactly what its README says."""

from __future__ import annotations

import json

from tests.examples.readme import blocks
from tests.imports import ROOT, imports_of
from tests.serving import run, serving

HOME = ROOT / "examples" / "own_plugin"


async def test_it_counts_on_its_page_and_refuses_what_is_retired() -> None:
    counted, refused = blocks(HOME / "README.md", "bash")
    async with serving(HOME) as gateway:
        answer, tally = (await run("bash", "-euo", "pipefail", "-c", counted.at(gateway.url))).rsplit("{", 1)
        wrote = json.loads(answer)["usage"]["completion_tokens"]
        assert wrote > 0
        assert json.loads("{" + tally) == {"echo-2": wrote}

        error = json.loads(await run("bash", "-euo", "pipefail", "-c", refused.at(gateway.url)))
        assert error["type"] == "error"
        assert error["error"]["type"] == "invalid_request_error"
        assert 'use "echo-2"' in error["error"]["message"]


def test_it_imports_only_the_public_api() -> None:
    for path in (HOME / "plugins").glob("*.py"):
        assert {found.module for found in imports_of(path) if found.top == "gateway"} == {"gateway.plugin"}
