"""Open streams: thousands in one process, all complete, and what each costs in memory while it stands open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import resource
import sys
from typing import Any

from tests.imports import ROOT
from tests.soak.row import Row, Size, SoakError, pick, progress
from tests.soak.running import environment, gateway, home, upstream, warm

WORDS = 20
MOST_KIB = 48.0
SPARE = 1500
"""Descriptors that are not streams: a gateway keeps 3 % of its limit free."""


def affordable(count: int) -> int:
    """Return how many streams this process's children may hold: the gateway needs two descriptors for each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return min(count, (hard - SPARE) // 2) if hard != resource.RLIM_INFINITY else count


async def measure(size: Size) -> list[Row]:
    wanted = pick(size, 50, 9000, 9000)
    count, pace_ms = affordable(wanted), pick(size, 10, 200, 200)
    async with upstream() as up, gateway(home(up.port, server="{max_in_flight: 20000}")) as running:
        await warm(running.port)
        before = peak = running.rss_bytes()
        crowd = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.soak.crowd", str(running.port), str(count), f"soak:held:{WORDS}:{pace_ms}", str(WORDS),
            cwd=ROOT, env=environment(), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            begun = await _said(crowd)
            progress(f"{begun['begun']:,} streams open after {begun['took_s']:.1f} s")
            await up.tell("/release")
            ending = asyncio.create_task(_said(crowd))
            while not ending.done():
                peak = max(peak, running.rss_bytes())
                await asyncio.wait({ending}, timeout=0.1)
            said = await ending
            await crowd.wait()
        finally:
            if crowd.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    crowd.kill()
                await crowd.wait()
    each_kib = (peak - before) / count / 1024
    whole = int(said["whole"])
    short_of = f" (descriptors allow no more than {count:,} of {wanted:,})" if count < wanted else ""
    return [
        Row(
            "open streams",
            "9,000 in one process, all complete",
            f"{whole:,} of {count:,} complete{short_of}" + (f"; {said['others']}" if said["others"] else ""),
            whole == count,
            {"whole": whole, "count": count},
        ),
        Row(
            "open streams: memory",
            f"{MOST_KIB:.0f} KiB each or less",
            f"{each_kib:.1f} KiB each, at its most",
            each_kib <= MOST_KIB,
            {"kib": each_kib},
        ),
    ]


async def _said(crowd: asyncio.subprocess.Process) -> dict[str, Any]:
    assert crowd.stdout is not None
    line = await crowd.stdout.readline()
    if not line:
        raise SoakError("the clients ended early; see their error above")
    found: dict[str, Any] = json.loads(line)
    return found
