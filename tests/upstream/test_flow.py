"""Back-pressure both ways: what nobody takes is not read, what upstream does not take is not produced."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.scripted import Gate, ScriptedUpstream, reply_bytes, reply_json
from gateway.upstream.connection import MAX_HELD_BYTES
from tests.upstream.kit import Collector, MakeTransport, ask, post, server_tls, soon

BIG = 32 * 1024 * 1024
KERNEL_BYTES = 16 * 1024 * 1024  # the most that Linux's socket buffers grow to on loopback, with room to spare
ONE_READ_BYTES = 256 * 1024


async def quiet(turns: int = 300) -> None:
    """Let everything that can move move."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Flood:
    """An upstream whose answer of `size` bytes never ends sending while anybody reads."""

    def __init__(self, size: int = BIG, tls: ssl.SSLContext | None = None) -> None:
        self.size, self.sent, self.tls = size, 0, tls
        self.server: asyncio.Server | None = None

    async def __aenter__(self) -> Flood:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        scheme = "http" if self.tls is None else "https"
        self.url = f"{scheme}://localhost:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.server is not None
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % self.size)
            piece = b"x" * 65536
            while self.sent < self.size:
                writer.write(piece[: self.size - self.sent])
                self.sent += min(len(piece), self.size - self.sent)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def test_without_a_sink_no_more_than_the_held_amount_is_read(make_direct: MakeTransport) -> None:
    async with Flood() as flood, make_direct(flood.url).send(post(b"", method="GET"), deadline=soon()) as response:
        await quiet()
        held = sum(map(len, response._connection._chunks))
        assert held <= MAX_HELD_BYTES + ONE_READ_BYTES
        assert flood.sent <= MAX_HELD_BYTES + KERNEL_BYTES
        assert len(await response.read(BIG)) == BIG


async def test_a_paused_stream_stops_and_a_resumed_one_loses_nothing(make_transport: MakeTransport) -> None:
    async with Flood() as flood, make_transport(flood.url).send(post(b"", method="GET"), deadline=soon()) as response:
        sink = Collector()
        response.start(sink)
        await sink.received(1)
        response.pause()
        await quiet()
        stopped_at = sum(map(len, sink.chunks))
        await quiet()
        assert sum(map(len, sink.chunks)) == stopped_at
        assert flood.sent <= stopped_at + KERNEL_BYTES
        assert flood.sent < BIG
        response.resume()
        assert await sink.ended() is None
        assert sum(map(len, sink.chunks)) == BIG


async def test_a_paused_tls_stream_stops_and_a_resumed_one_loses_nothing(
    make_transport: MakeTransport, authority: Any
) -> None:
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    request = post(b"", method="GET")
    async with (
        Flood(tls=server_tls(authority, "localhost")) as flood,
        make_transport(flood.url, tls=trusted).send(request, deadline=soon()) as response,
    ):
        sink = Collector()
        response.start(sink)
        await sink.received(1)
        response.pause()
        await quiet()
        stopped_at = sum(map(len, sink.chunks))
        await quiet()
        assert sum(map(len, sink.chunks)) == stopped_at < BIG
        assert flood.sent < BIG
        response.resume()
        assert await sink.ended() is None
        assert sum(map(len, sink.chunks)) == BIG


async def test_a_sink_that_pauses_in_every_call_gets_one_read_at_a_time(make_direct: MakeTransport) -> None:
    class Pausing(Collector):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            response.pause()

    async with Flood() as flood, make_direct(flood.url).send(post(b"", method="GET"), deadline=soon()) as response:
        await quiet()
        sink = Pausing()
        response.start(sink)
        for count in range(1, 20):
            while len(sink.chunks) < count:
                await sink.changed()
            await quiet(10)
            assert len(sink.chunks) <= count + 1
            response.resume()


async def test_a_pause_at_the_last_byte_does_not_hold_back_the_end(make_transport: MakeTransport) -> None:
    class Pausing(Collector):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            response.pause()

    async with ScriptedUpstream([reply_bytes(b"all"), reply_json({})]) as upstream:
        transport = make_transport(upstream)
        async with transport.send(post(), deadline=soon()) as response:
            sink = Pausing()
            response.start(sink)
            await sink.received(3)
            response.resume()
            assert await sink.ended() is None
        assert (await ask(transport))[0] == 200
        assert len(upstream.connections) == 1


async def test_an_upload_goes_no_faster_than_upstream_reads(make_transport: MakeTransport) -> None:
    made = 0
    gate = Gate()

    async def body() -> AsyncIterator[bytes]:
        nonlocal made
        while made < BIG:
            made += 65536
            yield b"x" * 65536

    async with ScriptedUpstream([gate, *reply_json({})], early=True) as upstream:
        task = asyncio.ensure_future(ask(make_transport(upstream), post(body())))
        await gate.reached()
        await quiet()
        stopped_at = made
        await quiet()
        assert made == stopped_at < BIG
        gate.open()
        assert (await task)[0] == 200


async def test_many_tiny_chunks_are_handed_on_together(make_direct: MakeTransport) -> None:
    body = bytes(range(256)) * 4
    async with ScriptedUpstream(reply_bytes(body, chunked=[1] * len(body))) as upstream:
        transport = make_direct(upstream)
        async with transport.send(post(), deadline=soon()) as response:
            sink = Collector()
            response.start(sink)
            assert await sink.ended() is None
            assert sink.body == body
            assert len(sink.chunks) <= 3
        assert (await ask(transport))[1] == body


@pytest.mark.parametrize("size", [MAX_HELD_BYTES - 1, MAX_HELD_BYTES + 1, 3 * MAX_HELD_BYTES])
async def test_a_late_reader_gets_everything(make_transport: MakeTransport, size: int) -> None:
    for plain in (True, False):
        async with Flood(size) as flood, make_transport(flood.url).send(post(b"", method="GET"), deadline=soon()) as r:
            await quiet(100)
            if plain:
                assert len(await r.read(size)) == size
            else:
                sink = Collector()
                r.start(sink)
                assert await sink.ended() is None
                assert len(sink.body) == size


async def test_the_sink_gets_what_was_held_before_it_started(make_transport: MakeTransport) -> None:
    gate: Any = Gate()
    answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"ab", gate, b"cd"]
    async with ScriptedUpstream(answer) as upstream, make_transport(upstream).send(post(), deadline=soon()) as response:
        await gate.reached()
        sink = Collector()
        response.start(sink)
        await sink.received(2)
        assert sink.body == b"ab"
        gate.open()
        assert await sink.ended() is None
