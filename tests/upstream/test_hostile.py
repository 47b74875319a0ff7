"""What an upstream may not do to us: answers that break HTTP end as 502, and never as somebody else's answer."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import InternalError, UpstreamError
from gateway.scripted import Answer, Close, Gate, Reset, ScriptedUpstream, Stall, reply_bytes, reply_json
from tests.upstream.kit import Collector, MakeTransport, ask, post, soon, stream

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"

BAD_HEADS: dict[str, Answer] = {
    "HTTP/0.9": [b"<html>hello</html>", Close()],
    "nothing": [Close()],
    "reset": [Reset()],
    "half a head": [b"HTTP/1.1 200 OK\r\nContent-", Close()],
    "half a head, reset": [b"HTTP/1.1 200 OK\r\nContent-", Reset()],
    "TLS alert": [b"\x15\x03\x01\x00\x02\x02\x46", Close()],
    "both lengths": OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "both lengths, other order": OK + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a list of lengths": OK + b"Content-Length: 5, 6\r\n\r\nhello!",
    "a signed length": OK + b"Content-Length: +5\r\n\r\nhello",
    "a negative length": OK + b"Content-Length: -5\r\n\r\nhello",
    "a length that is not a number": OK + b"Content-Length: five\r\n\r\nhello",
    "an endless length": OK + b"Content-Length: 99999999999999999999999\r\n\r\nhello",
    "NUL in a header": OK + b"X: a\0b\r\nContent-Length: 2\r\n\r\nok",
    "bare CR in a header": OK + b"X: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "66 KB of headers": [OK + b"X: " + b"x" * 1000 + b"\r\n", (b"X: " + b"x" * 1000 + b"\r\n") * 65 + b"\r\n"],
    "1 MB header": [OK + b"X: " + b"x" * 1_000_000 + b"\r\nContent-Length: 2\r\n\r\nok"],
    "1 MB of headers": [OK + b"X: " + b"x" * 1000 + b"\r\n", *[b"X: " + b"x" * 1000 + b"\r\n"] * 1000],
    "a header name without end": [OK, b"x" * 100_000, Stall()],
    "status 99": b"HTTP/1.1 99 X\r\nContent-Length: 2\r\n\r\nok",
    "status 1000": b"HTTP/1.1 1000 X\r\nContent-Length: 2\r\n\r\nok",
    "HTTP/3": b"HTTP/3.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "a switch of protocols": b"HTTP/1.1 101 X\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz",
    "gzip as transfer coding": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n",
    "two transfer codings": OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "seventeen interim answers": [b"HTTP/1.1 100 Continue\r\n\r\n" * 17, *reply_bytes(b"ok")],
    "2,000 interim answers": [b"HTTP/1.1 102 Processing\r\n\r\n" * 2000, *reply_bytes(b"ok")],
}

BAD_BODIES: dict[str, tuple[Answer, bytes]] = {
    "shorter than told": ([OK + b"Content-Length: 10\r\n\r\nhello", Close()], b"hello"),
    "shorter than told, reset": ([OK + b"Content-Length: 10\r\n\r\nhello", Gate(), Reset()], b"hello"),
    "chunk cut short": ([CHUNKED + b"a\r\nhello", Close()], b"hello"),
    "no last chunk": ([CHUNKED + b"5\r\nhello\r\n", Close()], b"hello"),
    "half a last chunk": ([CHUNKED + b"5\r\nhello\r\n0\r\n", Close()], b"hello"),
    "chunk size not hexadecimal": ([CHUNKED + b"5\r\nhello\r\n", Gate(), b"zz\r\n"], b"hello"),
    "chunk size negative": ([CHUNKED + b"5\r\nhello\r\n", Gate(), b"-1\r\n"], b"hello"),
    "chunk size endless": ([CHUNKED + b"5\r\nhello\r\n", Gate(), b"ffffffffffffffffff\r\n"], b"hello"),
    "chunk longer than told": ([CHUNKED + b"5\r\nhello", Gate(), b"!\r\n0\r\n\r\n"], b"hello"),
    "reset without a length": ([OK + b"\r\nhello", Gate(), Reset()], b"hello"),
}


@pytest.mark.parametrize("name", BAD_HEADS)
async def test_a_bad_head_is_a_502_without_a_word_of_it(make_transport: MakeTransport, name: str) -> None:
    async with ScriptedUpstream(BAD_HEADS[name]) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await ask(make_transport(upstream))
        assert (caught.value.kind, caught.value.status) == ("broken", 502)
        assert "127.0.0.1" not in caught.value.message
        assert str(upstream.port) not in caught.value.message
        await upstream.wait_closed()


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_breaks_a_stream_after_its_good_bytes(make_transport: MakeTransport, name: str) -> None:
    answer, good = BAD_BODIES[name]
    gate, steps = _with_gate(answer)
    async with ScriptedUpstream(steps) as upstream:
        async with make_transport(upstream).send(post(), deadline=soon()) as response:
            sink = Collector()
            response.start(sink)
            await sink.received(len(good))
            gate.open()
            error = await sink.ended()
            assert sink.body == good
            assert error is not None
            assert error.kind == "broken"
        await upstream.wait_closed()


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_breaks_a_plain_answer(make_transport: MakeTransport, name: str) -> None:
    gate, steps = _with_gate(BAD_BODIES[name][0])
    gate.open()
    async with ScriptedUpstream(steps) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await ask(make_transport(upstream))
        assert (caught.value.kind, caught.value.status) == ("broken", 502)


def _with_gate(answer: Answer) -> tuple[Gate, list[object]]:
    """Gates belong to one loop: give this test its own."""
    gate = Gate()
    assert isinstance(answer, list)
    return gate, [gate if isinstance(step, Gate) else step for step in answer]


@pytest.mark.parametrize("bad", [b"zz\r\n", b"-1\r\n", b"0\r\nContent-Length: 1\r\n\r\n"])
async def test_good_bytes_in_the_segment_of_the_bad_ones_are_not_lost(make_direct: MakeTransport, bad: bytes) -> None:
    async with ScriptedUpstream([CHUNKED + b"5\r\nhello\r\n" + bad]) as upstream:
        status, body, error = await stream(make_direct(upstream))
        assert (status, body) == (200, b"hello")
        assert error is not None


async def test_every_cut_of_a_stream_is_noticed_and_what_came_before_is_exact(make_transport: MakeTransport) -> None:
    body = b"".join(b"data: %d\n\n" % n for n in range(10))
    whole = CHUNKED + b"".join(b"9\r\ndata: %d\n\n\r\n" % n for n in range(10)) + b"0\r\n\r\n"
    cuts = iter(range(len(CHUNKED), len(whole)))
    async with ScriptedUpstream(lambda request: [whole[: next(cuts)], Close()]) as upstream:
        transport = make_transport(upstream)
        for _ in range(len(CHUNKED), len(whole)):
            status, got, error = await stream(transport)
            assert (status, body.startswith(got)) == (200, True)
            assert error is not None
            assert error.kind == "broken"


EXTRA = [b"X", OK + b"Content-Length: 3\r\n\r\nbad", b"\r\n" + OK]


@pytest.mark.parametrize("extra", EXTRA)
async def test_bytes_behind_an_answer_never_reach_the_next_caller(make_transport: MakeTransport, extra: bytes) -> None:
    good = [OK + b"Content-Length: 4\r\n\r\ngood" + extra]
    async with ScriptedUpstream([good, reply_bytes(b"next")]) as upstream:
        transport = make_transport(upstream)
        try:
            assert await ask(transport) == (200, b"good")
        except UpstreamError as error:  # aiohttp may lose the good answer with the bad bytes
            assert error.kind == "broken"
        assert await ask(transport) == (200, b"next")


@pytest.mark.parametrize("extra", EXTRA)
async def test_bytes_behind_an_answer_close_the_connection_but_not_the_answer(
    make_direct: MakeTransport, extra: bytes
) -> None:
    async with ScriptedUpstream([OK + b"Content-Length: 4\r\n\r\ngood" + extra]) as upstream:
        assert await ask(make_direct(upstream)) == (200, b"good")
        await upstream.wait_closed(0)


async def test_bytes_on_an_idle_connection_close_it(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream([reply_json({"n": 1}), reply_json({"n": 2})]) as upstream:
        transport = make_transport(upstream)
        assert await ask(transport) == (200, b'{"n":1}')
        upstream.send_all(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        await upstream.wait_closed(0)
        assert await ask(transport) == (200, b'{"n":2}')
        assert len(upstream.connections) == 2


@pytest.mark.parametrize("bad", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
@pytest.mark.parametrize("where", ["value", "name", "path", "method"])
async def test_a_line_break_in_a_request_is_refused_unsent(make_transport: MakeTransport, bad: str, where: str) -> None:
    request = post(
        path="/" + bad if where == "path" else "/",
        method=bad if where == "method" else "POST",
        headers=[("x-a", bad)] if where == "value" else [(bad, "x")] if where == "name" else [],
    )
    async with ScriptedUpstream() as upstream:
        with pytest.raises(InternalError):
            await ask(make_transport(upstream), request)
        assert upstream.connections == []


async def test_a_space_in_a_path_is_refused_unsent(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream() as upstream:
        with pytest.raises(InternalError):
            await ask(make_transport(upstream), post(path="/a HTTP/1.1"))


async def test_endless_framing_without_a_body_is_cut(make_direct: MakeTransport) -> None:
    extension = CHUNKED + b"1;" + b"x" * 200_000 + b"\r\n"
    async with ScriptedUpstream([extension, Stall()]) as upstream:
        assert (await asyncio.wait_for(stream(make_direct(upstream)), 10))[2] is not None
        await upstream.wait_closed()
