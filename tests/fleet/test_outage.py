"""Redis stands still, dies and comes back while two gateways are under load."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.fleet.kit import Fleet, fleet, until, write_home
from tests.fleet.upstream import Upstream, upstream
from tests.state.servers import Servers

CLIENTS = 16
HOME = """\
version: 1
state: "%s"
plugins: [{rate_limit: {limits: [{per: ip, requests: 1M/day}, {per: model, concurrency: 1000}], when_state_is_lost: %s}}]
providers: {up: {dialect: openai_chat, base_url: "%s", api_key: k}}
routes: [{name: all, targets: ["up/*"]}]
"""


class Load:
    """Clients that ask both gateways until it ends. `said` are the status and how long it took, in order."""

    def __init__(self, gateways: Fleet) -> None:
        self._gateways = gateways
        self.said: list[tuple[int, float]] = []
        self.runs = True

    async def client(self, number: int) -> None:
        for turn in itertools.count(number):
            if not self.runs:
                return
            began = time.monotonic()
            answer = await self._gateways.ask("m", stream=turn % 2 == 0)
            status = answer.status if answer.status != 200 or answer.is_whole else 0
            self.said.append((status, time.monotonic() - began))
            if status == 503:
                assert json.loads(answer.text)["error"]["code"] == "state_unavailable"
                assert int(answer.headers["retry-after"]) >= 1
                await asyncio.sleep(0.01)

    async def go_on(self, count: int) -> Counter[int]:
        """Return how the next so many requests ended."""
        begun = len(self.said)
        async with asyncio.timeout(30):
            while len(self.said) < begun + count:
                await asyncio.sleep(0.01)
        return Counter(status for status, _ in self.said[begun:])


@asynccontextmanager
async def under_load(gateways: Fleet) -> AsyncIterator[Load]:
    load = Load(gateways)
    clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
    try:
        yield load
    finally:
        load.runs = False
        await asyncio.gather(*clients)


async def are_said(gateways: Fleet, status: str, state: str) -> None:
    """Return once both say so at /ready, which goes on answering."""
    for each in gateways.gateways:

        async def says(each: object = each) -> bool:
            code, told = await each.get("/ready")  # type: ignore[attr-defined]
            assert code == 200
            return bool(told["status"] == status and told["checks"]["state"] == state)

        await until(says, 10)


async def outages(own: Servers, gateways: Fleet, load: Load) -> AsyncIterator[str]:
    """Let the server fail in each way, give the word while it does, and bring it back."""
    (server,) = own.servers
    server.freeze()
    yield "frozen"
    server.thaw()
    await are_said(gateways, "ready", "ok")
    server.kill()
    yield "dead"
    server.start()
    await are_said(gateways, "ready", "ok")
    server.kill()
    server.start()
    yield "restarted"
    await are_said(gateways, "ready", "ok")


def lines(gateways: Fleet, event: str) -> int:
    return sum(f'"event":"{event}"' in line for each in gateways.gateways for line in each.lines)


@pytest.mark.parametrize("policy", ["local", "deny"])
async def test_an_outage_under_load_is_what_the_policy_says(policy: str, own: Servers, tmp_path: Path) -> None:
    async with upstream() as up:
        async with fleet(write_home(tmp_path, HOME % (own.url, policy, up.url)), 2) as gateways:
            async with under_load(gateways) as load:
                await load.go_on(100)
                async for how in outages(own, gateways, load):
                    if how == "restarted":
                        await load.go_on(100)
                        continue
                    await are_said(gateways, "degraded", "lost")
                    await load.go_on(2 * CLIENTS)  # those that were under way
                    ended = await load.go_on(200)
                    # A gateway that says "lost" has its breaker open: nobody waits for the server any more.
                    assert set(ended) == ({200} if policy == "local" else {503}), how
                began = time.monotonic()
                while set(await load.go_on(50)) != {200}:
                    assert time.monotonic() < began + 10
            everything = Counter(status for status, _ in load.said)
            assert everything.keys() == ({200} if policy == "local" else {200, 503})
            slow = [took for _, took in load.said if took > 2.0]
            assert not slow
            assert upstream_was_not_asked_for_refused(up, everything)
            # At most one line of each in ten seconds and process, however many requests met the outage.
            assert 2 <= lines(gateways, "state_lost") <= 2 * 3
            assert lines(gateways, "state_back") <= 2 * 3


def upstream_was_not_asked_for_refused(up: Upstream, everything: Counter[int]) -> bool:
    return up.came["m"] == everything[200]


async def test_a_gateway_starts_without_its_redis_and_finds_it_later(own: Servers, tmp_path: Path) -> None:
    (server,) = own.servers
    server.kill()
    async with upstream() as up:
        async with fleet(write_home(tmp_path, HOME % (own.url, "local", up.url)), 1) as gateways:
            await are_said(gateways, "degraded", "lost")
            assert (await gateways.ask("m")).status == 200
            server.start()
            await are_said(gateways, "ready", "ok")
            assert "x-ratelimit-remaining-requests" in (await gateways.ask("m")).headers
