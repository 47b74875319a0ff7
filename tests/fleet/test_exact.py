"""Of many requests to several processes exactly as many pass as the limits hold, whatever state they share."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.fleet.kit import Fleet, Said, fleet, together, until, write_home
from tests.fleet.upstream import Upstream, upstream
from tests.state.servers import Servers

PASSES = 100
PLACES = 5
TOKENS = 20_000
HOME = """\
version: 1
state: "%s"
server: {workers: %d}
plugins: [{rate_limit: {limits: [], when_state_is_lost: deny}}]
providers: {up: {dialect: openai_chat, base_url: "%s", api_key: k}}
routes:
  - {name: requests, match: {model: requests}, targets: ["up/*"], plugins: [{rate_limit: {limits: [{per: route, requests: 1/day, burst: 100}]}}]}
  - {name: tokens, match: {model: tokens}, targets: ["up/*"], plugins: [{rate_limit: {limits: [{per: route, tokens: 20k/day}]}}]}
  - {name: places, match: {model: places}, targets: ["up/*"], plugins: [{rate_limit: {limits: [{per: route, concurrency: 5}]}}]}
"""


def passed(said: list[Said]) -> int:
    """Return how many were answered. Only a limit may have refused the others, and it says when to come back."""
    counted = Counter(each.status for each in said)
    assert counted.keys() <= {200, 429, 503}
    assert all(int(each.headers["retry-after"]) >= 1 for each in said if each.status == 429)
    return counted[200]


def late(said: list[Said]) -> int:
    """Return how often the state's answer came too late, as it does on a machine that is busy enough: such a request
    was counted and let nobody in."""
    return sum("state_unavailable" in each.text for each in said if each.status == 503)


async def check_requests(gateways: Fleet, up: Upstream) -> None:
    said = await together(gateways.ask("requests", stream=number % 3 == 0) for number in range(3 * PASSES))
    assert PASSES - late(said) <= passed(said) == up.came["requests"] <= PASSES


async def check_places(gateways: Fleet, up: Upstream) -> None:
    said = await together(gateways.ask("places", do="slow") for _ in range(40 * PLACES))
    assert passed(said) >= PLACES
    assert any(each.status == 429 for each in said)
    assert up.most["places"] <= PLACES

    async def all_at_once() -> bool:
        said = await together(gateways.ask("places", do="slow") for _ in range(PLACES))
        return passed(said) + late(said) == PLACES

    for _ in range(3):  # every place becomes free again, right after its answer: as many as there are come in at once
        await until(all_at_once)
    assert up.most["places"] == PLACES


async def check_tokens(gateways: Fleet, up: Upstream) -> None:
    """Requests reserve more than they use, less than they use at times, and are settled to what they did use."""
    began, largest = time.monotonic(), 0
    refusals = 0
    while refusals < 20:
        asking = []
        for number in range(60):
            sent: dict[str, Any] = {"max_tokens": 60, "stream": number % 2 == 0, "use": [20, 40]}
            body = {"model": "tokens", "messages": [{"role": "user", "content": "hello"}], **sent}
            largest = -(-len(json.dumps(body)) // 4) + 60
            asking.append(gateways.ask("tokens", **sent))
        said = await together(asking)
        assert passed(said) + late(said) <= len(said)
        refusals += sum(each.status == 429 for each in said)
    lasted_s = time.monotonic() - began
    used = up.tokens["tokens"]
    assert used <= TOKENS + lasted_s * TOKENS / 86_400
    assert used > TOKENS - 64 * largest  # as many may have been reserved when the first was refused


async def check_all(home: Path, up: Upstream, count: int) -> None:
    async with fleet(home, count) as gateways:
        for check in (check_requests, check_places, check_tokens):
            await check(gateways, up)


@pytest.mark.parametrize("where", ["one", "cluster"])
async def test_four_processes_over_redis_admit_exactly_what_there_is(
    where: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    state = request.getfixturevalue(where).url + "?prefix=exact:"
    async with upstream() as up:
        await check_all(write_home(tmp_path, HOME % (state, 1, up.url)), up, 4)


async def test_two_workers_over_sqlite_admit_exactly_what_there_is(tmp_path: Path) -> None:
    async with upstream() as up:
        await check_all(write_home(tmp_path, HOME % ("sqlite:var/state.db", 2, up.url)), up, 1)


async def test_what_is_taken_survives_a_failover_to_the_replica(sentinels: Servers, tmp_path: Path) -> None:
    """Half is asked for before the master dies, the rest goes on through the failover, until a limit refuses."""
    master = sentinels.servers[0]
    async with upstream() as up:
        async with fleet(write_home(tmp_path, HOME % (sentinels.url, 1, up.url)), 4) as gateways:
            said = await together(gateways.ask("requests") for _ in range(PASSES // 2))
            lost = late(said)
            assert passed(said) == PASSES // 2 - lost

            async def go_on() -> None:
                """Ask until the limit says no; while nobody knows, nobody is let in."""
                nonlocal lost
                while True:
                    said = await gateways.ask("requests")
                    if said.status == 429:
                        return
                    lost += said.status == 503
                    assert said.status == 200 or json.loads(said.text)["error"]["code"] == "state_unavailable"
                    await asyncio.sleep(0.01)

            asking = [asyncio.create_task(go_on()) for _ in range(4)]
            while up.came["requests"] < PASSES // 2 + 8:
                await asyncio.sleep(0.001)
            master.kill()
            await asyncio.wait_for(asyncio.gather(*asking), 30)
            # A take whose answer the master took with it was counted and let nobody in: of each client one at most.
            assert PASSES - lost <= up.came["requests"] <= PASSES
            assert lost
            assert all(each.process.returncode is None for each in gateways.gateways)
