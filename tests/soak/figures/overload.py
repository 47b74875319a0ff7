"""Overload: at three times what is taken, as much is served as at the peak, and the rest is told so at once.

What is taken is `max_in_flight` requests, each 100 ms at its upstream: the peak is what exactly so many clients get.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque

from tests.soak.client import Line, get, request
from tests.soak.figures.loop import peak_per_s
from tests.soak.row import Row, Size, SoakError, percentile, pick, progress
from tests.soak.running import gateway, home, upstream, warm

IN_FLIGHT = 80
ORDER = "soak:delay:100"
LEAST_GOODPUT, REJECTED_S, HEALTH_S = 0.8, 0.050, 0.100


async def measure(size: Size) -> list[Row]:
    seconds = pick(size, 0.5, 6.0, 30.0)
    async with upstream() as up, gateway(home(up.port, server=f"{{max_in_flight: {IN_FLIGHT}}}")) as running:
        await warm(running.port)
        peak = await peak_per_s(running.port, pick(size, 0.5, 3.0, 5.0), ORDER, IN_FLIGHT)
        progress(f"peak {peak:,.0f} requests a second; {seconds:g} s at three times that")
        idle = deque([await Line.open(running.port) for _ in range(IN_FLIGHT * 4)])
        served, rejected, health = 0, [], []
        tasks: set[asyncio.Task[None]] = set()
        data = request(ORDER)

        async def ask(line: Line) -> None:
            nonlocal served
            began = time.monotonic()
            answer = await line.ask(data)
            if answer.status == 200:
                served += 1
            elif answer.status == 503 and "retry-after" in answer.headers:
                rejected.append(time.monotonic() - began)
            else:
                raise SoakError(f"{answer.status}: {answer.body[:200]!r}")
            idle.append(line)

        async def look() -> None:
            line = await Line.open(running.port)
            while True:
                began = time.monotonic()
                await line.ask(get("/health"))
                health.append(time.monotonic() - began)
                await asyncio.sleep(0.05)

        looking = asyncio.create_task(look())
        begun = time.monotonic()
        asked = 0
        while (now := time.monotonic()) < begun + seconds:
            while asked < (now - begun) * peak * 3:
                asked += 1
                line = idle.popleft() if idle else await Line.open(running.port)
                task = asyncio.create_task(ask(line))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.001)
        goodput = served / (time.monotonic() - begun) / peak
        for failed in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(failed, BaseException):
                raise failed
        looking.cancel()
        for line in idle:
            line.leave()
    slowest, slowest_health = percentile(rejected, 0.99), percentile(health, 0.99)
    return [
        Row(
            "overload ×3",
            "goodput 80 % of the peak or more",
            f"{goodput:.0%} of {peak:,.0f}/s, asked {asked / seconds:,.0f}/s",
            goodput >= LEAST_GOODPUT,
            {"goodput": goodput, "served": served, "rejected": len(rejected), "asked": asked},
        ),
        Row(
            "overload ×3: rejections",
            "within 50 ms (p99), with retry-after",
            f"p99 {slowest * 1000:.1f} ms, most {max(rejected, default=0.0) * 1000:.1f} ms of {len(rejected):,}",
            slowest <= REJECTED_S and bool(rejected),
        ),
        Row(
            "overload ×3: health",
            "within 100 ms (p99)",
            f"p99 {slowest_health * 1000:.1f} ms, most {max(health) * 1000:.1f} ms of {len(health):,}",
            slowest_health <= HEALTH_S,
        ),
    ]
