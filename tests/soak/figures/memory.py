"""Memory: a long run leaves no trace. Plain answers, streams read to the end and streams left, in every dialect, with reloads.

After the warm-up (CPython's and malloc's pools fill for some 50,000 requests), resident memory may grow by 1 MB per 100,000 requests, descriptors not at all, and nothing
may be logged above a warning.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator

from tests.soak.client import PATHS, Line, request
from tests.soak.row import Row, Size, SoakError, pick, progress
from tests.soak.running import Gateway, gateway

HOME = """\
version: 1
plugins: [request_id, access_log, security_headers, cors, timeouts]
providers: {echo: {}}
routes: [{name: echo, match: {model: echo}, targets: [echo/echo]}]
"""
CONCURRENT = 32
SAMPLES = 40
RELOAD_EVERY = 12_000
"""Requests. What a reload replaces waits for the collector: 25 kB each, up to some 300 of them, then no more."""
MOST_GROWTH_BYTES = 1_000_000
Sample = tuple[int, int, int]
"""Requests so far, resident bytes, descriptors."""


async def measure(size: Size) -> list[Row]:
    requests, warm_up = pick(size, 1_280, 128_000, 640_000), pick(size, 256, 56_000, 128_000)
    async with gateway(HOME) as running:
        samples = await _drive(running, requests)
        errors = running.log.read_text().count('"level":"error"')
    steady = [sample for sample in samples if sample[0] >= warm_up]
    growth = growth_per_100k(steady)
    # The last connection's descriptor may be there still when a sample is taken: a leak is what never comes back.
    more = max(0, min(count for _, _, count in steady[-3:]) - max(count for _, _, count in steady[:3]))
    return [
        Row(
            "memory",
            "1 MB per 100,000 requests or less after the warm-up; descriptors flat",
            f"{growth / 1e6:+.2f} MB per 100,000, {more:+d} descriptors, {errors} errors logged; {requests:,} requests, "
            f"{requests // RELOAD_EVERY} reloads, {samples[-1][1] / 1e6:.0f} MB at the end",
            growth <= MOST_GROWTH_BYTES and more == 0 and errors == 0,
            {"growth_per_100k": growth, "descriptors": more, "errors": errors, "requests": requests},
        )
    ]


async def _drive(running: Gateway, requests: int) -> list[Sample]:
    """Return samples taken with no request under way and no connection open."""
    samples: list[Sample] = []
    for step in range(SAMPLES):
        ends = requests * (step + 1) // SAMPLES
        numbers = iter(range(requests * step // SAMPLES, ends))
        await asyncio.gather(*(_work(running.port, numbers) for _ in range(CONCURRENT)))
        if ends // RELOAD_EVERY != requests * step // SAMPLES // RELOAD_EVERY:
            running.process.send_signal(signal.SIGHUP)
        await running.get("/health")
        samples.append((ends, running.rss_bytes(), running.descriptors()))
        if step % 8 == 7:
            progress(f"{ends:>9,} requests  {samples[-1][1] / 1e6:8.1f} MB  {samples[-1][2]:>4} descriptors")
    return samples


async def _work(port: int, numbers: Iterator[int]) -> None:
    line: Line | None = None
    for number in numbers:
        line = await _ask(port, line, number)
    if line is not None:
        line.leave()


async def _ask(port: int, line: Line | None, number: int) -> Line | None:
    """Send one request: every third plain, every third streamed, every third streamed and left."""
    path, kind = PATHS[number // 3 % len(PATHS)], number % 3
    line = line or await Line.open(port)
    line.send(request("one two three four five six", path, stream=kind != 0, model="echo"))
    status, headers = await line.head()
    if status != 200:
        raise SoakError(f"{path}: {status} {await line.body(headers)!r}")
    if kind == 2:
        await line.piece()
        line.leave()
        return None
    await line.body(headers)
    return line


def growth_per_100k(samples: list[Sample]) -> float:
    """Return the slope of resident bytes by least squares, in bytes per 100,000 requests."""
    mean_x = sum(x for x, _, _ in samples) / len(samples)
    mean_y = sum(y for _, y, _ in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y, _ in samples) / spread * 100_000
