"""Streams that stand open, in a process of its own: what a system holds for each is read meanwhile.

    python -m benchmarks.crowd < order.json

Prints a line when every stream has said its first words, waits for its input to close, and prints whether all of them
were still open then.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, cast

import uvloop

from benchmarks.scenarios import Scenario

AT_ONCE = 64
"""Connections being opened at a time: backlogs are short."""
BEGIN_LIMIT_S = 90.0


class Stream(asyncio.Protocol):
    """One client: it has begun when a word came, and is open until the connection or the answer ends."""

    def __init__(self, data: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self._data = data
        self._tail = b""
        self.is_open = True
        self.begun: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        text = self._tail + data
        if b"word0" in text and not self.begun.done():
            self.begun.set_result(None)
        self._tail = text[-8:]
        self.is_open = self.is_open and not text.endswith(b"0\r\n\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_open = False
        if not self.begun.done():
            self.begun.set_exception(ConnectionError(f"a stream ended before its first word: {self._tail!r}"))


async def main(order: dict[str, Any]) -> None:
    loop = asyncio.get_running_loop()
    asked = order["scenario"]
    scenario = Scenario(**{**asked, "headers": tuple((name, value) for name, value in asked["headers"])})
    data, gate = scenario.request(f"{order['host']}:{order['port']}"), asyncio.Semaphore(AT_ONCE)

    async def begin() -> Stream:
        async with gate:
            _, stream = await loop.create_connection(lambda: Stream(data, loop), order["host"], order["port"])
        await stream.begun
        return stream

    async with asyncio.timeout(BEGIN_LIMIT_S):
        streams = await asyncio.gather(*(begin() for _ in range(scenario.connections)))
    print(json.dumps({"open": len(streams)}), flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    print(json.dumps({"open": sum(stream.is_open for stream in streams)}), flush=True)


if __name__ == "__main__":
    try:
        uvloop.run(main(json.loads(sys.stdin.readline())))
    except (OSError, TimeoutError) as error:
        sys.exit(str(error) or f"not all streams began within {BEGIN_LIMIT_S:.0f} s")
