"""examples/drop_in: the same programs print the same, and ask the same of upstream, with and without the gateway."""

from __future__ import annotations

import json
import sys

import pytest

from tests.examples.provider import provider
from tests.imports import ROOT
from tests.serving import run, serving

HOME = ROOT / "examples" / "drop_in"
CLIENTS_KEY = "sk-client-0123456789"
GATEWAYS_KEY = "sk-gateway-9876543210"


def environ(url: str) -> dict[str, str]:
    return {
        "OPENAI_BASE_URL": f"{url}/v1", "OPENAI_API_KEY": CLIENTS_KEY,
        "ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": CLIENTS_KEY,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("ask_openai.py", ("chat: Red, green and blue. | stop", "usage: 15", "event: response.completed", "[3, 3]")),
        ("ask_anthropic.py", ("message: Red, green and blue. | end_turn | 6", "piece: , green", "count: 9")),
    ],
)
async def test_a_program_cannot_tell_the_gateway_from_the_provider(script: str, expected: tuple[str, ...]) -> None:
    upstream = {"OPENAI_API_KEY": GATEWAYS_KEY, "ANTHROPIC_API_KEY": GATEWAYS_KEY}
    async with provider() as server:
        direct = await run(sys.executable, str(HOME / script), environ=environ(server.url))
        asked_directly, server.asked = server.asked, []
        upstream |= {"OPENAI_UPSTREAM_URL": f"{server.url}/v1", "ANTHROPIC_UPSTREAM_URL": server.url}
        async with serving(HOME, environ=upstream) as gateway:
            through = await run(sys.executable, str(HOME / script), environ=environ(gateway.url))

    assert through == direct
    for words in expected:
        assert words in direct

    assert [path for path, _, _ in server.asked] == [path for path, _, _ in asked_directly]
    for (_, sent, credential), (_, meant, _) in zip(server.asked, asked_directly, strict=True):
        assert json.loads(sent) == json.loads(meant)
        assert GATEWAYS_KEY in credential
        assert CLIENTS_KEY not in credential
    assert not any(CLIENTS_KEY in line or GATEWAYS_KEY in line for line in gateway.lines)
