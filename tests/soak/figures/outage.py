"""Upstream outage: the breaker opens soon, one probe goes out at a time, and while a fallback lives no client notices."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

from tests.imports import ROOT
from tests.soak.client import Line, request
from tests.soak.row import Row, Size, not_built, pick, progress
from tests.soak.running import Upstream, gateway, upstream, warm

PROMISE = "upstream outage"
OPEN_FOR_S = 2.0
FAILURES = 3
CLIENTS = 16
AT_ONCE = 40
MODES = ("500", "reset")


def built() -> bool:
    return any((ROOT / "plugins" / name).exists() for name in ("circuit_breaker.py", "circuit_breaker"))


def two(main: int, spare: int) -> str:
    """Return a home with a target and a fallback, and the same target alone."""
    breaker = f", circuit_breaker: {{failures: {FAILURES}, open_for: {OPEN_FOR_S:g}s, probes: 1}}" if built() else ""
    return f"""\
version: 1
plugins: [request_id, access_log, security_headers, timeouts{breaker}]
providers:
  main: {{dialect: openai_chat, base_url: "http://127.0.0.1:{main}/v1", api_key: k}}
  other: {{dialect: openai_chat, base_url: "http://127.0.0.1:{main}/v1", api_key: k}}
  spare: {{dialect: openai_chat, base_url: "http://127.0.0.1:{spare}/v1", api_key: k}}
routes:
  - {{name: alone, match: {{model: alone}}, targets: [other/m], retry: {{attempts: 3, backoff: 10ms..50ms}}}}
  - {{name: all, targets: [main/m], fallbacks: [spare/m]}}
"""


class Asked:
    """What clients asked, and what they got."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.outcomes: Counter[int] = Counter()

    @property
    def count(self) -> int:
        return sum(self.outcomes.values())

    async def one_by_one(self, count: int, model: str = "m") -> None:
        line = await Line.open(self._port)
        for _ in range(count):
            self.outcomes[(await line.ask(request("soak:delay:5", model=model))).status] += 1
        line.leave()

    async def at_once(self, count: int) -> None:
        await asyncio.gather(*(self.one_by_one(1) for _ in range(count)))

    async def for_a_while(self, seconds: float, model: str = "m") -> None:
        until = time.monotonic() + seconds

        async def client() -> None:
            while time.monotonic() < until:
                await self.one_by_one(10, model)

        await asyncio.gather(*(client() for _ in range(CLIENTS)))


async def measure(size: Size) -> list[Row]:
    seconds = pick(size, 0.5, 4.0, 20.0)
    asked_in_all, errors, opened_after, probes, ratios, storms, back = 0, 0, [], [], [], [], []
    async with upstream() as main, upstream() as spare, gateway(two(main.port, spare.port)) as running:
        await warm(running.port)
        for mode in MODES:
            asked = Asked(running.port)
            progress(f"the first target {'answers 500' if mode == '500' else 'resets its connections'}")
            await main.tell(f"/mode/{mode}")
            before = await main.count("posts")
            await asked.one_by_one(20)
            opened_after.append(await main.count("posts") - before)
            if built():
                await asyncio.sleep(OPEN_FOR_S + 0.2)
                before = await main.count("posts")
                await asked.at_once(AT_ONCE)
                probes.append(await main.count("posts") - before)
            ratios.append(await _attempts(asked, [main, spare], seconds))
            alone = Asked(running.port)
            storms.append(await _attempts(alone, [main], seconds / 2, "alone"))
            await main.tell("/mode/ok")
            await asyncio.sleep(OPEN_FOR_S + 0.2)
            before = await main.count("posts")
            await asked.one_by_one(20)
            back.append(await main.count("posts") - before)
            await asyncio.sleep(OPEN_FOR_S + 0.2)
            await alone.one_by_one(5, "alone")
            asked_in_all += asked.count
            errors += asked.count - asked.outcomes[200]
    rows = [
        Row(
            f"{PROMISE}: clients",
            "0 client errors while a fallback lives",
            f"{errors} of {asked_in_all:,} requests, the first target answering 500 and then resetting connections",
            errors == 0,
            {"errors": errors, "asked": asked_in_all},
        )
    ]
    if not built():
        bar = f"opens within 5 failures; 1 probe; attempts at most 1.2 × requests (without: {max(ratios):.2f} ×)"
        return [*rows, not_built(f"{PROMISE}: breaker", bar, "the circuit_breaker plugin")]
    return [
        *rows,
        Row(
            f"{PROMISE}: breaker",
            f"opens within 5 failures; 1 probe of {AT_ONCE} requests; back in use after",
            f"opened after {' and '.join(map(str, opened_after))} failures; {' and '.join(map(str, probes))} probes; "
            f"back: {' and '.join(map(str, back))} of 20 requests",
            max(opened_after) <= 5 and set(probes) == {1} and min(back) >= 15,
            {"opened_after": max(opened_after), "probes": probes, "back": min(back)},
        ),
        Row(
            f"{PROMISE}: attempts",
            "at most 1.2 × requests, with a fallback and without",
            f"{max(ratios):.2f} × with, {max(storms):.2f} × without",
            max(*ratios, *storms) <= 1.2,
            {"ratio": max(ratios), "storm": max(storms)},
        ),
    ]


async def _attempts(asked: Asked, ups: list[Upstream], seconds: float, model: str = "m") -> float:
    """Return how many attempts upstreams saw for each request that clients make for a while."""
    before, requests = sum([await up.count("posts") for up in ups]), asked.count
    await asked.for_a_while(seconds, model)
    return (sum([await up.count("posts") for up in ups]) - before) / (asked.count - requests)
