"""The scripted upstream does on the wire what a script says."""

from __future__ import annotations

import asyncio

import pytest

from gateway.scripted import (
    Close,
    Gate,
    ManualClock,
    ReceivedRequest,
    Reset,
    ScriptedUpstream,
    Send,
    Stall,
    reply_bytes,
    reply_json,
    reply_sse,
)  # fmt: skip

GET = b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n"


async def connect(upstream: ScriptedUpstream) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", upstream.port)


async def test_requests_are_recorded_with_order_body_and_connection() -> None:
    async with ScriptedUpstream(reply_json({"ok": True})) as upstream:
        reader, writer = await connect(upstream)
        writer.write(b'POST /a?b HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a: 2\r\nContent-Length: 7\r\n\r\n{"a":1}')
        request = await upstream.wait_for_request()
        assert (request.method, request.path, request.connection) == ("POST", "/a?b", 0)
        assert request.headers == (("Host", "h"), ("X-A", "1"), ("x-a", "2"), ("Content-Length", "7"))
        assert request.json() == {"a": 1}
        writer.write(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n")
        second = await upstream.wait_for_request(1)
        assert second.body == b"abcd"
        assert second.raw.endswith(b"0\r\n\r\n")
        assert (await reader.readuntil(b'{"ok":true}')).startswith(b"HTTP/1.1 200 OK\r\n")
        assert upstream.connections[0].requests == 2
        writer.close()


async def test_a_list_of_answers_is_one_a_request_and_the_last_repeats() -> None:
    async with ScriptedUpstream([reply_bytes(b"1"), reply_bytes(b"2")]) as upstream:
        reader, writer = await connect(upstream)
        bodies = []
        for _ in range(3):
            writer.write(GET)
            await reader.readuntil(b"\r\n\r\n")
            bodies.append(await reader.readexactly(1))
        assert bodies == [b"1", b"2", b"2"]
        writer.close()


async def test_a_gate_holds_the_answer_until_it_is_opened() -> None:
    gate = Gate()
    async with ScriptedUpstream(reply_sse([{"n": 1}, gate, ("named", "x"), "[DONE]"])) as upstream:
        reader, writer = await connect(upstream)
        writer.write(GET)
        await gate.reached()
        assert (await reader.readuntil(b"\n\n\r\n")).endswith(b'data: {"n":1}\n\n\r\n')
        gate.open()
        assert b"event: named\ndata: x\n\n" in await reader.readuntil(b"0\r\n\r\n")
        writer.close()


async def test_reset_is_seen_as_a_reset() -> None:
    async with ScriptedUpstream([Send(b"HTTP/1.1 200 OK\r\n"), Reset()]) as upstream:
        reader, writer = await connect(upstream)
        writer.write(GET)
        with pytest.raises(ConnectionResetError):
            await reader.read()
            await reader.read()
        writer.close()


async def test_close_ends_after_what_was_written() -> None:
    async with ScriptedUpstream([b"partial", Close()]) as upstream:
        reader, writer = await connect(upstream)
        writer.write(GET)
        assert await reader.read() == b"partial"
        writer.close()


async def test_a_leaving_client_is_noticed_while_the_upstream_stalls() -> None:
    async with ScriptedUpstream(Stall()) as upstream:
        _, writer = await connect(upstream)
        writer.write(GET)
        await upstream.wait_for_request()
        writer.close()
        await upstream.wait_closed()


async def test_refuse_makes_further_connections_fail() -> None:
    async with ScriptedUpstream() as upstream:
        await upstream.refuse()
        with pytest.raises(ConnectionRefusedError):
            await connect(upstream)


async def test_an_early_answer_goes_out_before_the_body_is_read() -> None:
    async with ScriptedUpstream([*reply_bytes(b"no", 413), Close()], early=True) as upstream:
        reader, writer = await connect(upstream)
        writer.write(b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 413 ")
        writer.close()


async def test_an_error_in_a_script_function_reaches_the_test() -> None:
    def script(request: ReceivedRequest) -> bytes:
        raise AssertionError(request.path)

    with pytest.raises(AssertionError, match="/x"):
        async with ScriptedUpstream(script) as upstream:
            reader, writer = await connect(upstream)
            writer.write(GET)
            assert await reader.read() == b""
            writer.close()


def test_every_byte_and_chosen_cuts_are_segments_of_their_own() -> None:
    assert Send(b"abc", each_byte=True).segments() == [b"a", b"b", b"c"]
    assert Send(b"abcdef", cuts=(4, 1)).segments() == [b"a", b"bcd", b"ef"]
    assert Send(b"ab").segments() == [b"ab"]


def test_chunk_sizes_are_as_asked_and_the_rest_follows() -> None:
    (step,) = reply_bytes(b"abcdef", chunked=[1, 2])
    assert isinstance(step, Send)
    assert step.data.endswith(b"\r\n\r\n1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\n\r\n")


def test_manual_clock_moves_both_readings_and_jump_only_the_wall() -> None:
    clock = ManualClock(monotonic=5, time=100)
    clock.advance(2.5)
    clock.jump(-50)
    assert (clock.monotonic(), clock.time()) == (7.5, 52.5)
    with pytest.raises(ValueError, match="only moves forward"):
        clock.advance(-1)
