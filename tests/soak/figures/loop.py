"""Loop: at half of what it can serve, bodies of 10 MiB among it, no timer of the gateway's own loop comes late.

A plugin in the measured home has a timer due every 5 ms and notes how late it comes: what the machine's other work
adds is in the figure too.
"""

from __future__ import annotations

import asyncio
import time

from tests.soak.client import Line, request
from tests.soak.row import Row, Size, SoakError, percentile, pick, progress
from tests.soak.running import gateway, home, upstream, warm

CLIENTS = 16
BIG = 10 * 2**20
EVERY_S = 1.0
P99_S, MOST_S = 0.015, 0.100


async def peak_per_s(port: int, seconds: float, order: str = "soak:plain:1000", clients: int = CLIENTS) -> float:
    """Return how many plain requests a second the gateway answers when it is asked without pause."""
    served, until = 0, time.monotonic() + seconds

    async def client() -> None:
        nonlocal served
        line = await Line.open(port)
        data = request(order)
        while time.monotonic() < until:
            answer = await line.ask(data)
            if answer.status != 200:
                raise SoakError(f"{answer.status}: {answer.body[:200]!r}")
            served += 1
        line.leave()

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(clients)))
    return served / (time.monotonic() - began)


async def measure(size: Size) -> list[Row]:
    seconds = pick(size, 1.0, 15.0, 60.0)
    server = "{max_body: 32MiB}"
    async with upstream() as up, gateway(home(up.port, server=server, plugins="probe"), probe=True) as running:
        await warm(running.port)
        peak = await peak_per_s(running.port, pick(size, 0.3, 3.0, 5.0))
        rate = peak / 2
        progress(f"peak {peak:,.0f} requests a second; {seconds:g} s at half of it")
        await running.get("/soak/probe")
        begun = time.monotonic()
        bigs = asyncio.create_task(_big(running.port, begun + seconds))
        await asyncio.gather(*(_paced(running.port, n, rate, begun, seconds) for n in range(CLIENTS)))
        count = await bigs
        late: list[float] = (await running.get("/soak/probe"))["late_s"]
    p99, most = percentile(late, 0.99), max(late)
    return [
        Row(
            "loop",
            "at half load p99 lag 15 ms or less, never over 100 ms, 10 MiB bodies included",
            f"p99 {p99 * 1000:.1f} ms, most {most * 1000:.1f} ms at {rate:,.0f} requests/s with {count} bodies of 10 MiB",
            p99 <= P99_S and most <= MOST_S,
            {"p99_s": p99, "most_s": most, "rate": rate, "bodies": count},
        )
    ]


async def _paced(port: int, number: int, rate: float, begun: float, seconds: float) -> None:
    """Ask by the timetable; who is late asks at once."""
    line = await Line.open(port)
    data = request("soak:plain:1000")
    every = CLIENTS / rate
    due = begun + every * number / CLIENTS
    while due < begun + seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        answer = await line.ask(data)
        if answer.status != 200:
            raise SoakError(f"{answer.status}: {answer.body[:200]!r}")
        due += every
    line.leave()


async def _big(port: int, until: float) -> int:
    """Send 10 MiB and get 10 MiB back, now verbatim, now translated; return how often."""
    count = 0
    line = await Line.open(port)
    line.reader._limit = 64 * 2**20  # type: ignore[attr-defined]  # one line a chunk is not what limits here
    padding = "y" * BIG
    while time.monotonic() < until:
        began = time.monotonic()
        path = ("/v1/chat/completions", "/v1/messages")[count % 2]
        answer = await line.ask(request(f"soak:plain:{BIG} {padding}", path))
        if answer.status != 200 or len(answer.body) < BIG:
            raise SoakError(f"10 MiB on {path}: {answer.status}, {len(answer.body)} bytes: {answer.body[:200]!r}")
        count += 1
        await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))
    line.leave()
    return count
