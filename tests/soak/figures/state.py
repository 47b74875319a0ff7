"""State outage: a Redis that hangs, dies or moves costs a few requests a moment, and is taken up again when it is back."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.imports import ROOT
from tests.soak.client import Line, request
from tests.soak.row import Row, Size, SoakError, not_built, percentile, pick, progress
from tests.soak.running import Gateway, gateway, home, upstream, warm
from tests.state.servers import Servers, one_server, with_sentinels

FIRST, FIRST_S, LATER_S = 5, 0.150, 0.005
BACK_S, FAILOVER_S = 2.0, 5.0
PATIENCE_S = 20.0


async def measure(size: Size) -> list[Row]:
    if not (ROOT / "gateway" / "state" / "redis").exists() or not (ROOT / "plugins" / "rate_limit").exists():
        return [not_built("state outage", "150 ms for the first 5 requests, 5 ms after", "a plugin over a Redis state")]
    requests = pick(size, 40, 300, 1000)
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        with one_server(Path(folder) / "one") as redis:
            rows = await _alone(redis, requests)
        if size != "tiny":
            with with_sentinels(Path(folder) / "many") as redis:
                rows.append(await _failover(redis))
    return rows


def _home(port: int, url: str) -> str:
    limits = "rate_limit: {limits: [{per: route, requests: 100k/s}], when_state_is_lost: local}"
    return f'state: "{url}"\n' + home(port, plugins=limits)


async def _alone(redis: Servers, requests: int) -> list[Row]:
    server = redis.servers[0]
    rows: list[Row] = []
    async with upstream() as up, gateway(_home(up.port, redis.url)) as running:
        await warm(running.port)
        usual = await _asked(running, requests)

        async def lose(what: str, lost: Callable[[], None], back: Callable[[], None]) -> None:
            lost()
            try:
                took = await _asked(running, requests)
            finally:
                back()
            first = max(took[:FIRST]) - percentile(usual, 0.5)
            later = percentile(took[FIRST:], 0.99) - percentile(usual, 0.99)
            again = await _until_back(running)
            progress(f"{what}: first {first * 1000:.1f} ms, later p99 {later * 1000:.2f} ms, back after {again:.2f} s")
            rows.append(
                Row(
                    f"state outage: {what}",
                    "150 ms added for the first 5 requests, 5 ms (p99) after; recovered 2 s after it returns",
                    f"{first * 1000:.1f} ms at most, then p99 {later * 1000:+.1f} ms; {again:.2f} s",
                    first <= FIRST_S and later <= LATER_S and again <= BACK_S,
                    {"first_s": first, "later_s": later, "back_s": again, "answered": len(took)},
                )
            )

        await lose("it hangs", server.freeze, server.thaw)
        await asyncio.sleep(0.5)
        await lose("it dies", server.kill, server.start)
    return rows


async def _failover(redis: Servers) -> Row:
    async with upstream() as up, gateway(_home(up.port, redis.url)) as running:
        await warm(running.port)
        redis.servers[0].kill()
        began, asked = time.monotonic(), 0
        lost = False
        while time.monotonic() < began + PATIENCE_S:
            asked += len(await _asked(running, 5))
            state = (await running.get("/ready"))["checks"]["state"]
            lost = lost or state != "ok"
            if lost and state == "ok":
                break
        else:
            if lost:
                raise SoakError(f"the state was not back after {PATIENCE_S:g} s")
        took = time.monotonic() - began
    return Row(
        "state outage: Sentinel",
        "another master within 5 s; every request answered",
        f"{took:.2f} s, {asked} requests answered meanwhile (the sentinels are given 0.5 s to notice)"
        if lost
        else f"never noticed in {took:.0f} s",
        lost and took <= FAILOVER_S,
        {"took_s": took, "asked": asked},
    )


async def _asked(running: Gateway, count: int) -> list[float]:
    """Return how long each of `count` requests took, one after the other; all must be answered with 200."""
    took = []
    line = await Line.open(running.port)
    for _ in range(count):
        began = time.monotonic()
        answer = await line.ask(request("soak:plain:10"))
        if answer.status != 200:
            raise SoakError(f"{answer.status}: {answer.body[:300]!r}")
        took.append(time.monotonic() - began)
    line.leave()
    return took


async def _until_back(running: Gateway) -> float:
    """Return after how long /ready calls the state ok; requests go on meanwhile, as they would."""
    began = time.monotonic()
    while (await running.get("/ready"))["checks"]["state"] != "ok":
        if time.monotonic() > began + PATIENCE_S:
            raise SoakError(f"/ready still says that the state is lost, {PATIENCE_S:g} s after it returned")
        await _asked(running, 1)
        await asyncio.sleep(0.02)
    return time.monotonic() - began
