"""Drive one gateway for a long time and watch what it keeps: `python -m tests.soak [--requests N]`.

Plain answers, streams read to the end and streams left in the middle, in every dialect, over the echo upstream,
with a reload every 5,000 requests. After a warm-up of a fifth, memory may grow by 1 MB per 100,000 requests and open
descriptors not at all; no request may fail. Exits 1 when one of these does not hold.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import signal
import sys
import tempfile
from pathlib import Path

import aiohttp

from tests.serving import Serving, serving

HOME = """\
version: 1
plugins: [request_id, security_headers, cors, timeouts]
providers: {echo: {}}
routes: [{name: echo, match: {model: echo}, targets: [echo/echo]}]
"""
ASKED = {"model": "echo", "max_tokens": 100, "messages": [{"role": "user", "content": "one two three four five six"}]}
PATHS = ("/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses")
CONCURRENT = 32
RELOAD_EVERY = 5_000
COMPLAINT = re.compile(r'"level":"(error|critical)"|Traceback|never awaited|never retrieved')
MOST_GROWTH_BYTES = 1_000_000  # per 100,000 requests


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def descriptors(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


async def ask(session: aiohttp.ClientSession, url: str, number: int) -> None:
    """Send one request; every third is plain, every third streamed, every third streamed and left."""
    path = PATHS[number % len(PATHS)]
    kind = number % 3
    body = {**ASKED, "stream": kind != 0}
    if path == "/v1/responses":
        body["input"] = "one two three four five six"
    async with session.post(url + path, json=body) as answer:
        if answer.status != 200:
            raise AssertionError(f"{path}: {answer.status} {await answer.text()}")
        if kind == 2:
            await answer.content.readany()
            answer.close()  # the client leaves
        else:
            await answer.read()


async def drive(gateway: Serving, requests: int) -> tuple[list[tuple[int, int, int]], int]:
    """Return samples of (requests so far, resident bytes, descriptors), taken with no request under way."""
    pid = gateway.process.pid
    numbers = itertools.count()
    samples = []
    # No connection is kept between two steps, so that descriptors compare.
    for done in range(0, requests, RELOAD_EVERY):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENT)) as session:

            async def work(share: int, session: aiohttp.ClientSession = session) -> None:
                for _ in range(share):
                    await ask(session, gateway.url, next(numbers))

            async with asyncio.TaskGroup() as group:
                for _ in range(CONCURRENT):
                    group.create_task(work(RELOAD_EVERY // CONCURRENT))
        gateway.process.send_signal(signal.SIGHUP)
        async with aiohttp.ClientSession() as session, session.get(gateway.url + "/health") as answer:
            await answer.read()
        samples.append((done + RELOAD_EVERY, resident_bytes(pid), descriptors(pid)))
        print(
            f"{samples[-1][0]:>9,} requests  {samples[-1][1] / 1e6:8.1f} MB  {samples[-1][2]:>4} descriptors",
            flush=True,
        )
    return samples, next(numbers)


def growth_per_100k(samples: list[tuple[int, int, int]]) -> float:
    """Return the slope of resident bytes by least squares, in bytes per 100,000 requests."""
    mean_x = sum(x for x, _, _ in samples) / len(samples)
    mean_y = sum(y for _, y, _ in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _, _ in samples)
    return sum((x - mean_x) * (y - mean_y) for x, y, _ in samples) / spread * 100_000


async def soak(requests: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "gateway.yaml").write_text(HOME)
        async with serving(Path(folder), environ={"LOG_LEVEL": "warning"}) as gateway:
            try:
                samples, sent = await drive(gateway, requests)
            finally:
                complaints = [line for line in gateway.lines if COMPLAINT.search(line)]
                print(f"errors in the log: {len(complaints)} (none)", *complaints[:5], sep="\n  ")
    steady = samples[len(samples) // 5 :]
    growth = growth_per_100k(steady)
    # The last connection's descriptor may be there still when a sample is taken: a leak is what never comes back.
    more = max(0, min(count for _, _, count in steady[-3:]) - max(count for _, _, count in steady[:3]))
    print(f"\n{sent:,} requests, none failed; {len(samples)} reloads")
    print(f"memory: {growth / 1e6:+.2f} MB per 100,000 requests (at most {MOST_GROWTH_BYTES / 1e6:.0f})")
    print(f"descriptors: {more:+d} (none)")
    return int(growth > MOST_GROWTH_BYTES or more > 0 or bool(complaints))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    sys.exit(asyncio.run(soak(parser.parse_args().requests)))
