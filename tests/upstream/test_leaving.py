"""Leaving at any moment closes the connection, leaks nothing and silences the sink."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from gateway.scripted import Gate, ScriptedUpstream, Stall, reply_json
from tests.upstream.kit import Collector, MakeTransport, ask, failure, post, soon

SHORT_S = 0.05


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.parametrize("answer", [[Stall()], [b"HTTP/1.1 200 OK\r\nX: y", Stall()]], ids=["silent", "half a head"])
async def test_cancelling_the_wait_for_a_head_closes_the_connection(make_transport: MakeTransport, answer: Any) -> None:
    async with ScriptedUpstream(answer) as upstream:
        task = asyncio.ensure_future(ask(make_transport(upstream)))
        await upstream.wait_for_request()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await upstream.wait_closed()


async def test_cancelling_a_read_closes_the_connection(make_transport: MakeTransport) -> None:
    gate = Gate()
    async with ScriptedUpstream([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", gate]) as upstream:
        task = asyncio.ensure_future(ask(make_transport(upstream)))
        await gate.reached()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await upstream.wait_closed()


async def test_leaving_the_block_before_the_end_closes_the_connection(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", Stall()]) as upstream:
        async with make_transport(upstream).send(post(), deadline=soon()) as response:
            sink = Collector()
            response.start(sink)
            await sink.received(2)
        await upstream.wait_closed()
        assert sink.ends == []


async def test_abort_closes_at_once_and_silences_the_sink(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", Stall()]) as upstream:
        async with make_transport(upstream).send(post(), deadline=soon()) as response:
            sink = Collector()
            response.start(sink)
            await sink.received(2)
            response.abort()
            await upstream.wait_closed()
            assert (sink.body, sink.ends) == (b"ab", [])
        response.abort()
        response.pause()
        response.resume()


async def test_a_sink_may_abort_from_inside_data(make_transport: MakeTransport) -> None:
    class Leaver(Collector):
        def data(self, chunk: bytes) -> None:
            super().data(chunk)
            response.abort()

    async with (
        ScriptedUpstream([b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n", b"ab", b"cd"]) as upstream,
        make_transport(upstream).send(post(), deadline=soon()) as response,
    ):
        sink = Leaver()
        response.start(sink)
        await upstream.wait_closed()
        assert (len(sink.chunks), sink.ends) == (1, [])


async def test_a_response_let_go_of_cannot_touch_the_next_one(make_direct: MakeTransport) -> None:
    gate = Gate()
    slow = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", gate, b"cd"]
    async with ScriptedUpstream([reply_json({}), slow]) as upstream:
        transport = make_direct(upstream)
        async with transport.send(post(), deadline=soon()) as first:
            await first.read(100)
        async with transport.send(post(), deadline=soon()) as second:
            first.abort()
            first.pause()
            gate.open()
            assert await second.read(100) == b"abcd"
        assert len(upstream.connections) == 1


async def test_a_thousand_cancels_leak_no_file(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream(Stall()) as upstream:
        transport = make_direct(upstream)
        await failure(transport, deadline_s=SHORT_S)
        before = open_files()
        for turn in range(1000):
            task = asyncio.ensure_future(ask(transport))
            for _ in range(turn % 12):  # cancelled at every stage of connecting and asking
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        for connection in upstream.connections:
            await connection.peer_closed.wait()
        while upstream.open_connections:
            await asyncio.sleep(0)
        assert open_files() <= before + 2


async def test_cancelling_a_handshake_leaks_no_file(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream() as plain:
        transport = make_direct(f"https://127.0.0.1:{plain.port}")
        await failure(transport, post(connect_s=SHORT_S))
        before = open_files()
        for index in range(1, 30):
            task = asyncio.ensure_future(ask(transport))
            while len(plain.connections) <= index:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await plain.wait_closed(index)
        while plain.open_connections:
            await asyncio.sleep(0)
        assert open_files() <= before + 2
