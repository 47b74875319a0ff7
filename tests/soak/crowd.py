"""A crowd of streaming clients in a process of its own: `python -m tests.soak.crowd PORT COUNT ORDER WORDS`.

Prints a line when every stream has begun, and at the end how many were whole, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import cast

import uvloop

from tests.soak.client import request

AT_ONCE = 64  # connections being opened; the gateway's backlog is 128
LIMIT_S = 300.0


class Stream(asyncio.Protocol):
    """One client: counts words as they come, and knows a terminator from a cut."""

    def __init__(self, data: bytes, words: int) -> None:
        loop = asyncio.get_running_loop()
        self._data, self._words = data, words
        self._seen, self._tail = 0, b""
        self.begun: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[str] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.write(self._data)

    def data_received(self, data: bytes) -> None:
        text = self._tail + data
        self._seen += text.count(b'"word') - self._tail.count(b'"word')
        self._tail = text[-200:]
        if self._seen and not self.begun.done():
            self.begun.set_result(None)
        if self._tail.endswith(b"0\r\n\r\n"):
            good = self._seen == self._words and b"data: [DONE]" in self._tail
            self._end("whole" if good else f"ended after {self._seen} words: {self._tail[-120:]!r}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(f"cut after {self._seen} words: {exc!r} {self._tail[-120:]!r}")

    def _end(self, how: str) -> None:
        if not self.ended.done():
            self.ended.set_result(how)
            self._transport.close()
        if not self.begun.done():
            self.begun.set_result(None)


async def main(port: int, count: int, order: str, words: int) -> None:
    loop = asyncio.get_running_loop()
    data, gate = request(order, stream=True), asyncio.Semaphore(AT_ONCE)

    async def begin() -> Stream:
        async with gate:
            _, stream = await loop.create_connection(lambda: Stream(data, words), "127.0.0.1", port)
            await stream.begun
        return stream

    began = time.monotonic()
    async with asyncio.timeout(LIMIT_S):
        streams = await asyncio.gather(*(begin() for _ in range(count)))
        print(json.dumps({"begun": len(streams), "took_s": time.monotonic() - began}), flush=True)
        outcomes = Counter([await stream.ended for stream in streams])
    whole = outcomes.pop("whole", 0)
    print(json.dumps({"whole": whole, "others": dict(outcomes.most_common(5))}), flush=True)


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])))
