"""Limits: four gateways on one Redis never admit more than burst + rate × t, over any span, and hardly ever less.

An admission lies somewhere between a request's sending and its answer. Admitted within a span were at least those that
were sent after its beginning and answered before its end: if these are too many, the limit did not hold.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from tests.imports import ROOT
from tests.soak.client import Line, request
from tests.soak.row import Row, Size, SoakError, not_built, pick
from tests.soak.running import gateway, home, upstream, warm
from tests.state.servers import one_server

PROCESSES, CLIENTS = 4, 12
RATE, BURST = 200, 200
PAUSE_S = 0.005
MOST_MISSING = 0.001


Span = tuple[float, float]
"""When a request was sent, and when it was answered."""


def excess(admitted: list[Span]) -> float:
    """Return by how much the worst span of all was exceeded: 0 or less when the limit held."""
    worst = float("-inf")
    for begin, _ in admitted:
        ends = sorted(end for sent, end in admitted if sent >= begin)
        worst = max(worst, *(count - BURST - RATE * (end - begin) for count, end in enumerate(ends, 1)))
    return worst


def shortfall(admitted: list[Span], refused: list[Span]) -> float:
    """Return which share of what was due between the first refusal and the last is missing, at the least.

    Refused means that less than one was left just then. When nobody was refused for so long that the bucket may have
    been full meanwhile, nothing was due for the rest of that time.
    """
    (sent, _), (_, end) = refused[0], refused[-1]
    idle = sum(max(0.0, b[1] - a[0] - BURST / RATE) for a, b in itertools.pairwise(refused))
    due = RATE * max(0.0, refused[-1][0] - refused[0][1] - idle)
    came = sum(answered >= sent and asked <= end for asked, answered in admitted)
    return max(0.0, due - 1 - came) / due if due else 0.0


async def measure(size: Size) -> list[Row]:
    promise = f"limits over {PROCESSES} processes"
    if not (ROOT / "plugins" / "rate_limit").exists():
        return [not_built(promise, "never more than burst + rate × t", "the rate_limit plugin")]
    seconds = pick(size, 1.0, 10.0, 60.0)
    admitted: list[Span] = []
    refused: list[Span] = []
    lost = 0
    # Counted a route: the warm-up has one of its own.
    text = f"rate_limit: {{limits: [{{per: model, requests: {RATE}/s, burst: {BURST}}}], when_state_is_lost: deny}}"
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="soak-"))
        redis = stack.enter_context(one_server(Path(folder)))
        up = await stack.enter_async_context(upstream())
        config = f'state: "{redis.url}"\n' + home(up.port, plugins=text)
        ports = [(await stack.enter_async_context(gateway(config))).port for _ in range(PROCESSES)]
        for port in ports:
            await warm(port, 20)
        data = request("soak:plain:10", model="limited")
        until = time.monotonic() + seconds

        async def work(port: int) -> None:
            nonlocal lost
            line = await Line.open(port)
            while (sent := time.monotonic()) < until:
                answer = await line.ask(data)
                if answer.status == 200:
                    admitted.append((sent, time.monotonic()))
                elif answer.status == 429 and "retry-after" in answer.headers:
                    refused.append((sent, time.monotonic()))
                    await asyncio.sleep(PAUSE_S)
                elif b"state_unavailable" in answer.body:  # a store that took longer than 100 ms: nobody is let in
                    lost += 1
                    await asyncio.sleep(PAUSE_S)
                else:
                    raise SoakError(f"{answer.status}: {answer.body[:300]!r}")
            line.leave()

        await asyncio.gather(*(work(ports[number % PROCESSES]) for number in range(CLIENTS)))
    over = excess(admitted)
    lasted = max(sent for sent, _ in admitted) - min(end for _, end in admitted)
    missing = shortfall(admitted, refused) if refused else 0.0
    return [
        Row(
            promise,
            "never more than burst + rate × t over any span t; under-admission 0.1 % or less",
            f"{len(admitted):,} admitted in {lasted:.1f} s at {RATE}/s and a burst of {BURST}, {len(refused):,} refused"
            + (f", {lost:,} without an answer from the store" if lost else "")
            + "; worst span "
            + f"{over:+.1f} of what is allowed, {missing:.2%} too few",
            over <= 0 and missing <= MOST_MISSING,
            {"excess": over, "missing": missing, "admitted": len(admitted), "refused": len(refused)},
        )
    ]
