"""A process that writes to a ledger until it is killed, and says on stdout what is safe.

python -m tests.ledger.crash URL HOME NAME

Prints `start` when the ledger is open, then a line for each row: `asked ID` once a query has returned it, `old ID`
once 200 ms have passed since it was recorded.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.ledger.kit import Place, row

SAFE_AFTER_S = 0.2


async def main(url: str, home: str, name: str) -> None:
    loop = asyncio.get_running_loop()
    async with Place(url, Path(home)).opened() as ledger:
        say("start")
        for number in range(1_000_000):
            one = row(f"{name}-{number:06}", ts=float(number))
            ledger.record(one)
            loop.call_later(SAFE_AFTER_S, say, f"old {one.exchange_id}")
            if number % 20 == 0:
                await asyncio.sleep(0.01)  # 2,000 rows a second: what any store keeps up with
            if number % 200 == 0:
                for found in await ledger.rows(at_most=20):
                    say(f"asked {found.exchange_id}")


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
