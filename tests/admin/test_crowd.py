"""Many connections to the admin listener: whoever asks nothing keeps nobody out."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.runtime.clock import SystemClock
from gateway.supervisor.front import MOST_CONNECTIONS, Front
from gateway.testing import running_gateway

CONFIG = "providers: {echo: {}}\nroutes: [{name: all, targets: [echo/echo]}]\n"
ASKED = b"GET /api/status HTTP/1.1\r\nhost: localhost\r\n\r\n"
LIVE = ASKED.replace(b"/api/status", b"/api/live")
DRIPPING = b"GET / HTTP/1.1\r\nhost: localhost\r\nx-a: "
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def front(most: int = MOST_CONNECTIONS) -> AsyncIterator[tuple[str, int]]:
    """Serve the dashboard as a gateway of its own process does; return its address."""
    async with running_gateway(CONFIG) as gateway:
        listening = socket.create_server(("127.0.0.1", 0))
        served = Front(gateway.reloader._source, gateway.url, listening, watch=False, most=most)
        await served.start(gateway.core, gateway.reloader, SystemClock())
        try:
            yield listening.getsockname()
        finally:
            await served.stop()


async def asking(address: tuple[str, int], said: bytes) -> Stream:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(said)
    return reader, writer


async def test_connections_that_ask_nothing_make_room_the_oldest_first() -> None:
    async with front() as address, asyncio.timeout(30):
        live, live_writer = await asking(address, LIVE)
        assert (await live.readline()).startswith(b"HTTP/1.1 200")
        crowd = [await asking(address, DRIPPING if number % 2 else b"") for number in range(3 * MOST_CONNECTIONS)]
        reader, writer = await asking(address, ASKED)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        assert await crowd[0][0].read() == b""  # closed
        while not (await live.readline()).startswith(b"data: "):
            pass  # what listens stays
        for _, each in (*crowd, (live, live_writer), (reader, writer)):
            each.close()


async def test_bodies_that_come_by_drops_make_room_too() -> None:
    head = b"POST /login HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    async with front(4) as address, asyncio.timeout(30):
        crowd = [await asking(address, head + b"expect: 100-continue\r\ncontent-length: 9\r\n\r\nto") for _ in range(4)]
        for reader, _ in crowd:
            assert (await reader.readline()).startswith(b"HTTP/1.1 100")
        reader, writer = await asking(address, ASKED)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        for _, each in (*crowd, (reader, writer)):
            each.close()


async def test_where_all_are_being_answered_one_more_is_refused() -> None:
    async with front(4) as address, asyncio.timeout(30):
        crowd = [await asking(address, LIVE) for _ in range(4)]
        for reader, _ in crowd:
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        reader, writer = await asking(address, ASKED)
        assert (await reader.readline()).startswith(b"HTTP/1.1 503")
        for _, each in (*crowd, (reader, writer)):
            each.close()
