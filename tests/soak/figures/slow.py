"""Slow clients: those that trickle their head or body, or do not read, are cut; a good client beside them is not slowed.

The kernel takes some 2.6 MB for a reader before it says that nobody reads. Readers therefore arrive one after the
other, and the good client asks when all 300 are there and stuck: before, its neighbours are not slow but many.
"""

from __future__ import annotations

import asyncio
import time

from tests.soak.client import Line, post, request
from tests.soak.row import Row, Size, percentile, pick, progress
from tests.soak.running import Upstream, gateway, home, upstream, warm

ALLOWED_S = 2.0
TRICKLE_S = 0.2
FLOOR_S = {0.5: 0.001, 0.99: 0.005}
"""By percentile: latencies below this are the machine's noise, and count as this much."""


async def measure(size: Size) -> list[Row]:
    each, limit_s = pick(size, 10, 100, 100), pick(size, 1, 6, 6)
    most_s, settling_s = limit_s + ALLOWED_S, limit_s * 0.7
    async with upstream() as up, upstream() as flooding, gateway(_home(up, flooding, limit_s)) as running:
        await warm(running.port)
        alone = await _good(running.port, pick(size, 0.2, 3.0, 3.0))
        crowd = asyncio.gather(
            *(_trickle(running.port, post(b"{}"), most_s) for _ in range(each)),
            *(_trickle(running.port, post(b" " * 100_000), most_s) for _ in range(each)),
            *(_reader(running.port, flooding, n, n / each * limit_s * 0.6, most_s) for n in range(each)),
        )
        try:
            await asyncio.sleep(settling_s)
            beside = await _good(running.port, limit_s - settling_s)
        except BaseException:
            crowd.cancel()
            raise
        lasted = await crowd
        progress(
            f"good client alone p50 {percentile(alone, 0.5) * 1000:.2f} ms, p99 {percentile(alone, 0.99) * 1000:.2f} ms"
        )
    uncut, slowest = sum(each is None for each in lasted), max(each or 0.0 for each in lasted)
    rates = [max(f, percentile(beside, s)) / max(f, percentile(alone, s)) for s, f in FLOOR_S.items()]
    return [
        Row(
            "slow clients",
            "300 slow heads, bodies and readers: all cut within limit + 2 s",
            f"{len(lasted) - uncut} of {len(lasted)} cut, the last {slowest:.2f} s after it began (limit {limit_s} s)",
            uncut == 0 and slowest <= most_s,
            {"uncut": uncut, "count": len(lasted), "slowest_s": slowest},
        ),
        Row(
            "slow clients: the others",
            "a good client is not slowed twofold",
            f"p50 {percentile(beside, 0.5) * 1000:.2f} ms ({rates[0]:.2f} ×), p99 {percentile(beside, 0.99) * 1000:.2f} ms "
            f"({rates[1]:.2f} ×)",
            max(rates) <= 2.0,
            {"p50": rates[0], "p99": rates[1]},
        ),
    ]


def _home(up: Upstream, flooding: Upstream, limit_s: int) -> str:
    return home(
        up.port,
        server=f"{{timeouts: {{headers: {limit_s}s, body: {limit_s}s, write: {limit_s}s}}}}",
        providers=f'  flooding: {{dialect: openai_chat, base_url: "http://127.0.0.1:{flooding.port}/v1", api_key: k}}',
        routes="  - {name: flooding, match: {model: flooding}, targets: [flooding/m]}",
    )


async def _good(port: int, seconds: float) -> list[float]:
    """Return how long each request of a client took that asks some 200 times a second."""
    line, took = await Line.open(port), []
    data, until = request("soak:plain:1000"), time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        await line.ask(data)
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.003)
    line.leave()
    return took


async def _trickle(port: int, data: bytes, most_s: float) -> float | None:
    """Send a byte now and then; return when the gateway had enough, None when it never did."""
    line = await Line.open(port)
    began = time.monotonic()
    closed = asyncio.create_task(line.closed())
    try:
        for byte in data:
            line.send(bytes([byte]))
            await asyncio.wait({closed}, timeout=TRICKLE_S)
            if closed.done():
                return time.monotonic() - began
            if time.monotonic() > began + most_s + ALLOWED_S:
                return None
        return None
    finally:
        closed.cancel()
        line.leave(reset=True)


async def _reader(port: int, up: Upstream, number: int, after_s: float, most_s: float) -> float | None:
    """Ask for a large stream and do not read it; return how long the upstream was kept, None when it still is."""
    await asyncio.sleep(after_s)
    line = await Line.open(port, receive_bytes=4096)
    line.send(request(f"soak:flood:16:5@r{number}", stream=True, model="flooding"))
    line.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport reads
    await asyncio.sleep(most_s)
    times: list[float] = (await up.tell("/endings"))[f"r{number}"]
    line.leave(reset=True)
    return times[1] - times[0] if len(times) > 1 else None
