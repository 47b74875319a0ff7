"""examples/failover: exactly what its README says, with providers that misbehave as they are told."""

from __future__ import annotations

import json
import re

from tests.examples.readme import blocks
from tests.imports import ROOT
from tests.serving import run, serving

HOME = ROOT / "examples" / "failover"


async def test_no_request_fails_and_the_breaker_spares_the_fourth_the_detour() -> None:
    [smart, _] = blocks(HOME / "README.md", "bash")
    async with serving(HOME) as gateway:
        printed = await run("bash", "-euo", "pipefail", "-c", smart.at(gateway.url))
    heads, _, providers = printed.partition("{")
    assert re.findall(r"x-gateway-target: (\S+)", heads, re.IGNORECASE) == ["steady/large"] * 4
    assert re.findall(r"x-gateway-attempts: (\d)", heads, re.IGNORECASE) == ["2", "2", "2", "1"]
    breakers = {each["name"]: each["breaker"] for each in json.loads("{" + providers)["data"]}
    assert (breakers["broken"], breakers["steady"]) == ("open", "closed")
    assert any('"breaker_opened"' in line for line in gateway.lines)


async def test_the_hedge_answers_when_the_first_is_late() -> None:
    [_, quick] = blocks(HOME / "README.md", "bash")
    async with serving(HOME) as gateway:
        printed = await run("bash", "-euo", "pipefail", "-c", quick.at(gateway.url))
    assert "x-gateway-target: steady/small" in printed.lower()
    assert "x-gateway-attempts: 2" in printed.lower()
    assert "event: message_stop" in printed


async def test_a_share_of_the_traffic_goes_to_each() -> None:
    async with serving(HOME) as gateway:
        ask = f"""curl -sSf -o /dev/null -D - {gateway.url}/v1/chat/completions \
            -d '{{"model": "spread", "messages": [{{"role": "user", "content": "hi"}}]}}'"""
        printed = await run("bash", "-euo", "pipefail", "-c", f"for n in $(seq 8); do {ask}; done")
    targets = re.findall(r"x-gateway-target: (\S+)", printed, re.IGNORECASE)
    assert (targets.count("steady/a"), targets.count("steady/b")) == (6, 2)
