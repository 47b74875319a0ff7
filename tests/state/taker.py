"""One of several processes that take from the same store as fast as they can; `python -m tests.state.taker URL`.

Says `ready`, waits for a line, works, and says in one JSON object what it was given, with times of the machine's
monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from gateway.errors import StateLost
from gateway.state.opened import store_at
from gateway.state.store import Bucket, Claim, Lease, Quota, StateStore
from gateway.state.url import parse_state

ONCE = 1_000
"""What a bucket that is not refilled and a quota hold; a prime number of takers does not divide it."""
BURST, RATE, SPAN_S = 50, 400.0, 0.6
PLACES = 3
AT_ONCE = 8


async def main(url: str) -> None:
    store = store_at(parse_state(url), Path("/"), now=time.monotonic, warn=lambda *_, **__: None)
    await store.start()
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    found = {"failed": 0, "once": 0, "quota": 0, "refilled": 0, "held": [], "from": time.monotonic()}
    await _together(_refilled, store, found)
    found["to"] = time.monotonic()
    for work in (_once, _leases):
        await _together(work, store, found)
    found["failed"] = store.errors
    await store.close()
    sys.stdout.write(json.dumps(found))


async def _together(work: Any, store: StateStore, found: dict[str, Any]) -> None:
    await asyncio.gather(*(work(store, found, f"{os.getpid()}-{number}") for number in range(AT_ONCE)))


async def _took(store: StateStore, claim: Claim) -> bool:
    """Return whether the claim was allowed. On a machine that is busy enough an answer comes too late now and then."""
    while True:
        try:
            return (await store.take([claim])).allowed
        except StateLost:
            await asyncio.sleep(0.01)


async def _refilled(store: StateStore, found: dict[str, Any], who: str) -> None:
    end = found["from"] + SPAN_S
    while time.monotonic() < end:
        took = await _took(store, Bucket("{t}refilled", 1, BURST, RATE))
        found["refilled"] += took


async def _once(store: StateStore, found: dict[str, Any], who: str) -> None:
    """Take until both are empty; they lie on different shards of a cluster, but each is taken alone."""
    bucket, quota = Bucket("{t}once", 1, ONCE, 1e-9), Quota("{u}quota", 3, 3 * ONCE, 1000.0)
    is_left = [True, True]
    while any(is_left):
        is_left = [await _took(store, bucket), await _took(store, quota)]
        found["once"] += is_left[0]
        found["quota"] += is_left[1]


async def _leases(store: StateStore, found: dict[str, Any], who: str) -> None:
    for _ in range(15):
        lease = Lease("{t}lease", who, PLACES)
        if await _took(store, lease):
            since = time.monotonic()
            await asyncio.sleep(0)
            found["held"].append((since, time.monotonic()))
            with suppress(StateLost):
                await store.settle([lease])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
