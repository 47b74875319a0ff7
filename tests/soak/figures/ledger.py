"""Ledger: what was kept stays kept over kill -9, and an exchange leaves one row however it ends."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.soak.client import PATHS, Gone, Line, request
from tests.soak.row import Row, Size, pick, progress
from tests.soak.running import gateway, home, upstream, warm

SAFE_AFTER_S = 0.2
CLIENTS = 16
STAYS_S = 0.05
URL = "ledger: sqlite:var/ledger.db\n"
KINDS = (
    ("soak:plain:10", False), ("soak:stream:3:1", True), ("soak:silent", True), ("soak:silent", False),
    ("soak:begun", True), ("soak:cut:400:0", True), ("soak:cut:900:1", True), ("soak:tell", False), ("unknown", False),
)  # fmt: skip


def rows(folder: Path) -> Counter[str]:
    """Return how often each request id is in the ledger, asked as any other program would."""
    connection = sqlite3.connect(folder / "var" / "ledger.db", timeout=10)
    try:
        return Counter(dict(connection.execute("SELECT request_id, count(*) FROM ledger_rows GROUP BY request_id")))
    finally:
        connection.close()


async def measure(size: Size) -> list[Row]:
    return [await _killed(size), await _mixed(size)]


async def _killed(size: Size) -> Row:
    kills, seconds = pick(size, 2, 20, 20), pick(size, 0.6, 1.2, 1.5)
    answered: dict[str, float] = {}
    lost: set[str] = set()
    asked = 0
    numbers = iter(range(10**9))

    async def work(port: int) -> None:
        try:
            line = await Line.open(port)
            while True:
                name = f"kill-{next(numbers)}"
                if (await line.ask(request("soak:plain:10", headers=f"x-request-id: {name}\r\n"))).status == 200:
                    answered[name] = time.monotonic()
        except (Gone, OSError):
            return

    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        async with upstream() as up:
            for _ in range(kills):
                answered.clear()  # what the kill before took along, being young, is not due now
                async with gateway(URL + home(up.port), inside=folder) as running:
                    clients = [asyncio.create_task(work(running.port)) for _ in range(CLIENTS)]
                    await asyncio.sleep(seconds)
                    seen = await asyncio.to_thread(rows, folder)
                    at = time.monotonic()
                    await running.kill()
                    await asyncio.gather(*clients)
                after = await asyncio.to_thread(rows, folder)
                due = {each for each, when in answered.items() if when < at - SAFE_AFTER_S}
                new = (due | set(seen)) - set(after) - lost
                if new:
                    oldest = max(at - answered[each] for each in new)
                    progress(
                        f"{len(new)} rows lost, {len(new & set(seen))} of them seen, the oldest {oldest * 1000:.0f} ms old"
                    )
                lost |= new
                asked += len(answered)
            twice = sum(count > 1 for count in after.values())
    return Row(
        "ledger: kill -9",
        "every row kept that a query returned or that is older than 200 ms, over 20 kills",
        f"{len(lost)} of {asked:,} lost, {twice} twice, over {kills} kills" + (f": {sorted(lost)[:3]}" if lost else ""),
        not lost and not twice and asked > 0,
        {"lost": len(lost), "twice": twice, "answered": asked},
    )


def _only_m(port: int) -> str:
    return URL + home(port).replace("{name: all,", "{name: all, match: {model: m},")


async def _mixed(size: Size) -> Row:
    count = pick(size, 90, 10_000, 10_000)
    numbers = iter(range(count))
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        async with upstream() as up, gateway(_only_m(up.port), inside=folder, admin=True) as running:
            await warm(running.port, 20)

            async def work() -> None:
                for number in numbers:
                    order, stream = KINDS[number % len(KINDS)]
                    model = "nobody-has-it" if order == "unknown" else "m"
                    line = await Line.open(running.port)
                    path, headers = PATHS[number // len(KINDS) % len(PATHS)], f"x-request-id: mixed-{number}\r\n"
                    line.send(request(order, path, stream=stream, model=model, headers=headers))
                    if order == "soak:silent":
                        await asyncio.sleep(STAYS_S)
                    elif order == "soak:begun":
                        await line.head()
                        await line.piece()
                    else:
                        await line.answer()
                    line.leave(reset=number % 2 == 0)

            await asyncio.gather(*(work() for _ in range(CLIENTS)))
            await running.settled()
            await asyncio.sleep(2 * SAFE_AFTER_S)
            found = await asyncio.to_thread(rows, folder)
    counts = [found[f"mixed-{number}"] for number in range(count)]
    missing, twice = counts.count(0), sum(each > 1 for each in counts)
    kinds = Counter(KINDS[number % len(KINDS)][0] for number, each in enumerate(counts) if each != 1)
    progress(f"rows that are not one: {dict(kinds)}")
    return Row(
        "ledger: endings",
        "exactly one row an exchange over 10,000 mixed endings",
        f"{missing} without, {twice} with several, of {count:,}: complete, cut, refused, unknown model, client gone"
        + (f" {dict(kinds)}" if kinds else ""),
        missing == twice == 0,
        {"missing": missing, "several": twice, "count": count},
    )
