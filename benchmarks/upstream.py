"""The mock upstream, a process of its own: raw precomputed answers, so that it costs less than anything measured.

    python -m benchmarks.upstream          prints `{"port": N}` and serves until it is ended

`POST` (any path) answers what the body's `bench:` order says; `GET` answers the counts, by which the driver proves
that every request and event really went through the proxy and came from here.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from functools import cache
from typing import cast

import uvloop

from benchmarks.scenarios import ORDER, plain_answer, stream_answer

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


@cache
def plain_reply(size_bytes: int) -> bytes:
    """Return head and body in one piece, to be sent with one write."""
    body = plain_answer(size_bytes)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@cache
def stream_chunks(events: int) -> tuple[bytes, ...]:
    """Return one HTTP chunk an event; the last one carries the end of the body too."""
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in stream_answer(events)]
    return (*chunks[:-1], chunks[-1] + b"0\r\n\r\n")


class Counts:
    """What was asked for and what was answered in full, by all connections together."""

    def __init__(self) -> None:
        self.connections = self.plain = self.streams = self.events = self.cut = 0


class Upstream(asyncio.Protocol):
    """One connection, kept alive: one request after the other, bodies with a length only (else 411: the run fails)."""

    def __init__(self, counts: Counts, loop: asyncio.AbstractEventLoop) -> None:
        self._counts, self._loop = counts, loop
        self._buffer = b""
        self._chunks: tuple[bytes, ...] = ()
        self._next = 0
        self._pace_s = self._begun_at_s = 0.0
        self._timer: asyncio.Handle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._counts.connections += 1

    def data_received(self, data: bytes) -> None:
        buffer = self._buffer + data if self._buffer else data
        end = buffer.find(b"\r\n\r\n") + 4
        if end == 3:
            self._buffer = buffer
            return
        if buffer.startswith(b"GET "):
            self._buffer = b""
            self._reply_counts()
            return
        length = LENGTH.search(buffer, 0, end)
        if length is None:
            self._transport.write(b"HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._transport.close()
            return
        whole = end + int(length[1])
        if len(buffer) < whole:
            self._buffer = buffer
            return
        self._buffer = buffer[whole:]
        self._answer(buffer, end)

    def _answer(self, request: bytes, body_at: int) -> None:
        order = ORDER.search(request, body_at)
        if order is None:
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        elif order[1] == b"plain":
            self._counts.plain += 1
            self._transport.write(plain_reply(int(order[2])))
        else:
            self._chunks, self._next = stream_chunks(int(order[2])), int(order[4] or 0)
            self._pace_s = int(order[3]) / 1000
            self._begun_at_s = self._loop.time() - self._next * self._pace_s
            self._counts.events += self._next
            self._transport.write(STREAM_HEAD + b"".join(self._chunks[: self._next]))
            self._timer = self._loop.call_later(self._pace_s, self._send_event)

    def _send_event(self) -> None:
        """Write one event, in a turn of the loop of its own: two in one turn would leave as one piece."""
        self._transport.write(self._chunks[self._next])
        self._next += 1
        self._counts.events += 1
        if self._next == len(self._chunks):
            self._timer = None
            self._counts.streams += 1
        elif self._pace_s:
            self._timer = self._loop.call_at(self._begun_at_s + (self._next + 1) * self._pace_s, self._send_event)
        else:
            self._timer = self._loop.call_soon(self._send_event)

    def _reply_counts(self) -> None:
        body = json.dumps(vars(self._counts)).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._counts.cut += 1


async def listen(port: int = 0) -> asyncio.Server:
    """Return a started mock on the loopback; `server.sockets` tells its port."""
    loop = asyncio.get_running_loop()
    counts = Counts()
    return await loop.create_server(lambda: Upstream(counts, loop), "127.0.0.1", port, backlog=1024)


async def main() -> None:
    server = await listen()
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
