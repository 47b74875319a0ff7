"""Cancel: a client that leaves closes its upstream connection at once, also while the upstream is silent."""

from __future__ import annotations

import asyncio
import time

from tests.soak.client import PATHS, Line, request
from tests.soak.row import Row, Size, SoakError, percentile, pick
from tests.soak.running import gateway, home, upstream, warm

CLIENTS = 20
KINDS = (("soak:silent", False), ("soak:silent", True), ("soak:begun", True))
MOST_S = 0.100
STAYS_S = 0.05
"""How long a client waits for a silent upstream before it leaves."""
LEASES = 60
"""How many requests may run at once: when all who left are gone, so many streams must be let in, and not one fewer."""


async def measure(size: Size) -> list[Row]:
    leavers = pick(size, 60, 1000, 10_000)
    left: dict[str, float] = {}
    plugins = f"probe, rate_limit: {{limits: [{{per: route, concurrency: {LEASES}}}]}}"
    async with upstream() as up, gateway(home(up.port, plugins=plugins), admin=True, probe=True) as running:
        await warm(running.port)
        await running.settled()
        before = (running.descriptors(), (await running.get("/soak/probe"))["tasks"], await up.count("open"))
        numbers = iter(range(leavers))

        async def work() -> None:
            for number in numbers:
                order, stream = KINDS[number % len(KINDS)]
                line = await Line.open(running.port)
                line.send(request(f"{order}@x{number}", PATHS[number % len(PATHS)], stream=stream))
                if order == "soak:begun":
                    if (await line.head())[0] != 200:
                        raise SoakError(f"leaver {number} was not let in")
                    await line.piece()
                else:
                    await asyncio.sleep(STAYS_S)
                left[f"x{number}"] = time.monotonic()
                line.leave(reset=number % 2 == 0)

        await asyncio.gather(*(work() for _ in range(CLIENTS)))
        await running.settled()
        await asyncio.sleep(0.5)
        endings: dict[str, list[float]] = await up.tell("/endings")
        after = (running.descriptors(), (await running.get("/soak/probe"))["tasks"], await up.count("open"))
        leases = LEASES - await _let_in(running.port)
    # A request whose client left before it reached the upstream has nothing to close there.
    open_still = [each for each, times in endings.items() if len(times) == 1]
    took = [times[1] - left[each] for each, times in endings.items() if len(times) > 1]
    p99, most = percentile(took, 0.99), max(took)
    leaked = tuple(max(0, b - a) for a, b in zip(before, after, strict=True))
    return [
        Row(
            "cancel",
            "upstream closed within 100 ms (p99) of the client leaving, also when silent",
            f"p99 {p99 * 1000:.1f} ms, most {most * 1000:.1f} ms of {len(took):,}; {len(open_still)} left open",
            p99 <= MOST_S and not open_still,
            {"closed": len(took), "open": len(open_still), "p99_s": p99, "leavers": leavers},
        ),
        Row(
            "cancel: leaks",
            "no descriptor, task or lease left of 1,000",
            f"{leaked[0]} descriptors, {leaked[1]} tasks, {leases} leases, {leaked[2]} upstream connections, 0 in flight",
            not any(leaked) and leases == 0,
            {"leaked": sum(leaked) + leases},
        ),
    ]


async def _let_in(port: int) -> int:
    """Return how many of `LEASES` streams at once are let in."""
    lines = [await Line.open(port) for _ in range(LEASES)]
    for line in lines:
        line.send(request("soak:begun", stream=True))
    statuses = [(await line.head())[0] for line in lines]
    for line in lines:
        line.leave()
    return statuses.count(200)
