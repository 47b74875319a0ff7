"""Request bodies that are iterators, or large: sent chunked or whole, and given up when the answer says so."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

import pytest

from gateway.errors import BadRequest
from gateway.scripted import Gate, ScriptedUpstream, Stall, reply_bytes, reply_json
from tests.upstream.kit import MakeTransport, ask, post


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_an_iterator_is_sent_chunked(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(reply_json({})) as upstream:
        transport = make_transport(upstream)
        for _ in range(2):
            assert (await ask(transport, post(pieces(b"abc", b"", b"defg"), head_s=10)))[0] == 200
        assert upstream.requests[0].body == b"abcdefg"
        assert upstream.requests[0].header("transfer-encoding") == "chunked"
        assert upstream.requests[0].header("content-length", "absent") == "absent"
        assert len(upstream.connections) == 1


async def test_an_iterators_own_error_reaches_the_caller(make_transport: MakeTransport) -> None:
    closed = []

    async def failing() -> AsyncIterator[bytes]:
        try:
            yield b"abc"
            raise BadRequest("the client's body is bad")
        finally:
            closed.append(True)

    async with ScriptedUpstream(reply_json({})) as upstream:
        with pytest.raises(BadRequest, match="body is bad"):
            await ask(make_transport(upstream), post(failing()))
        await upstream.wait_closed()
        assert (upstream.requests, closed) == ([], [True])


async def test_cancelling_an_upload_closes_connection_and_iterator(make_transport: MakeTransport) -> None:
    started, closed = asyncio.Event(), asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            yield b"abc"
            started.set()
            await asyncio.Event().wait()
        finally:
            closed.set()

    async with ScriptedUpstream(reply_json({})) as upstream:
        task = asyncio.ensure_future(ask(make_transport(upstream), post(endless())))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await upstream.wait_closed()
        await closed.wait()


async def test_an_early_answer_is_returned_while_the_upload_goes_on(make_transport: MakeTransport) -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"abc"
        await asyncio.Event().wait()

    async with ScriptedUpstream([*reply_bytes(b"too large", 413), Stall()], early=True) as upstream:
        assert await ask(make_transport(upstream), post(endless())) == (413, b"too large")


async def test_an_early_answer_to_bytes_is_returned_and_the_connection_closed(make_direct: MakeTransport) -> None:
    gate = Gate()
    async with ScriptedUpstream([*reply_bytes(b"too large", 413), gate], early=True) as upstream:
        transport = make_direct(upstream)
        assert await ask(transport, post(b"x" * 30_000_000)) == (413, b"too large")
        gate.open()
        await upstream.wait_closed()
        assert transport.idle == []


async def test_a_large_body_arrives_whole_with_its_length(make_transport: MakeTransport) -> None:
    body = os.urandom(5_000_000)
    async with ScriptedUpstream(reply_json({})) as upstream:
        transport = make_transport(upstream)
        assert (await ask(transport, post(body)))[0] == 200
        assert upstream.requests[0].body == body
        assert upstream.requests[0].header("content-length") == "5000000"
        assert (await ask(transport))[0] == 200
        assert len(upstream.connections) == 1
