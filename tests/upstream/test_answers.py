"""Every way HTTP/1.1 lets an upstream frame an answer, over both transports."""

from __future__ import annotations

import asyncio

import pytest

from gateway.errors import UpstreamError
from gateway.scripted import Answer, Close, Gate, ScriptedUpstream, Send, Stall, reply_bytes, reply_json, reply_sse
from tests.upstream.kit import Collector, MakeTransport, ask, post, soon, stream


async def test_a_plain_exchange_sends_and_returns_what_it_was_given(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(reply_json({"ok": True}, headers=[("X-Two", "1"), ("x-two", "2")])) as upstream:
        transport = make_transport(upstream)
        request = post(b'{"m": 1}', "/v1/x?q=%2F&a=b", headers=[("X-A", "1"), ("authorization", "Bearer k")])
        async with transport.send(request, deadline=soon()) as response:
            assert response.status == 200
            assert response.headers["content-type"] == "application/json"
            assert response.headers.getall("x-two") == ["1", "2"]
            assert await response.read(100) == b'{"ok":true}'
        seen = upstream.requests[0]
        assert (seen.method, seen.path, seen.body) == ("POST", "/v1/x?q=%2F&a=b", b'{"m": 1}')
        named = {name.lower(): value for name, value in seen.headers}
        assert named == {
            "host": f"127.0.0.1:{upstream.port}",
            "x-a": "1",
            "authorization": "Bearer k",
            "content-length": "8",
        }


async def test_a_get_has_no_body_headers_and_an_empty_post_says_zero(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream() as upstream:
        transport = make_transport(upstream)
        await ask(transport, post(b"", method="GET", headers=[]))
        await ask(transport, post(b"", headers=[]))
        assert upstream.requests[0].header("content-length", "absent") == "absent"
        assert upstream.requests[0].header("transfer-encoding", "absent") == "absent"
        assert upstream.requests[1].header("content-length") == "0"


async def test_a_connection_is_used_again(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream([reply_json({}), reply_bytes(b"abc", chunked=[1]), reply_sse([{"n": 1}])]) as upstream:
        transport = make_transport(upstream)
        assert await ask(transport) == (200, b"{}")
        assert await ask(transport) == (200, b"abc")
        assert await stream(transport) == (200, b'data: {"n":1}\n\n', None)
        assert await ask(transport) == (200, b'data: {"n":1}\n\n')
        assert [request.connection for request in upstream.requests] == [0, 0, 0, 0]


CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'a\r\ndata: {"a"\r\n8;ext=1\r\n: "\xc3\xa9"}\n\r\n1\r\n\n\r\n0\r\nTrailer: x\r\n\r\n'
)
BODY = b'data: {"a": "\xc3\xa9"}\n\n'


@pytest.mark.parametrize("cut", range(1, len(CHUNKED)))
async def test_a_chunked_answer_is_the_same_cut_at_any_byte(make_transport: MakeTransport, cut: int) -> None:
    async with ScriptedUpstream(Send(CHUNKED, cuts=(cut,))) as upstream:
        transport = make_transport(upstream)
        assert await stream(transport) == (200, BODY, None)
        assert await ask(transport) == (200, BODY)
        assert len(upstream.connections) == 1


async def test_an_answer_of_single_bytes_is_whole(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(Send(CHUNKED, each_byte=True)) as upstream:
        transport = make_transport(upstream)
        assert await stream(transport) == (200, BODY, None)
        assert await ask(transport) == (200, BODY)


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"]
)
async def test_without_a_length_the_connections_end_is_the_bodys(make_transport: MakeTransport, head: bytes) -> None:
    async with ScriptedUpstream([Send(head + b"until"), b" the end", Close()]) as upstream:
        transport = make_transport(upstream)
        assert await ask(transport) == (200, b"until the end")
        assert await stream(transport) == (200, b"until the end", None)
        assert len(upstream.connections) == 2


async def test_trailers_are_headers_of_no_answer(make_transport: MakeTransport) -> None:
    with_trailer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Late: 1\r\n\r\n"
    async with ScriptedUpstream([[with_trailer], reply_bytes(b"next")]) as upstream:
        transport = make_transport(upstream)
        for body in (b"ok", b"next"):
            async with transport.send(post(), deadline=soon()) as response:
                assert await response.read(10) == body
                assert "x-late" not in response.headers


async def test_a_large_head_is_taken_and_a_large_body_behind_it_does_not_count(make_direct: MakeTransport) -> None:
    fields = [("X", "x" * 1000)] * 60
    async with ScriptedUpstream(reply_bytes(b"y" * 150_000, headers=fields)) as upstream:
        assert await ask(make_direct(upstream)) == (200, b"y" * 150_000)


@pytest.mark.parametrize("status", [204, 304])
async def test_no_body_where_http_has_none(make_transport: MakeTransport, status: int) -> None:
    answer = f"HTTP/1.1 {status} X\r\n{'Content-Length: 5' if status == 304 else 'X: y'}\r\n\r\n".encode()
    async with ScriptedUpstream(answer) as upstream:
        transport = make_transport(upstream)
        assert await ask(transport) == (status, b"")
        assert await stream(transport) == (status, b"", None)


async def test_a_head_request_has_no_body_whatever_length_is_told(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n") as upstream:
        transport = make_transport(upstream)
        request = post(b"", method="HEAD")
        assert await ask(transport, request, limit=10) == (200, b"")
        assert await stream(transport, request) == (200, b"", None)


@pytest.mark.parametrize("extra", [b"Connection: close\r\n", b"connection: Close\r\n"])
async def test_connection_close_is_obeyed(make_transport: MakeTransport, extra: bytes) -> None:
    async with ScriptedUpstream(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + extra + b"\r\nok") as upstream:
        transport = make_transport(upstream)
        assert await ask(transport) == (200, b"ok")
        await upstream.wait_closed(0)
        assert await ask(transport) == (200, b"ok")
        assert len(upstream.connections) == 2


@pytest.mark.parametrize(
    "interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"]
)
async def test_up_to_sixteen_interim_answers_are_skipped(make_transport: MakeTransport, interim: bytes) -> None:
    async with ScriptedUpstream([interim * 16, *reply_bytes(b"ok")]) as upstream:
        transport = make_transport(upstream)
        async with transport.send(post(), deadline=soon()) as response:
            assert response.status == 200
            assert "link" not in response.headers
            assert await response.read(10) == b"ok"
        assert await ask(transport) == (200, b"ok")


async def test_error_statuses_are_answers_like_any_other(make_transport: MakeTransport) -> None:
    async with (
        ScriptedUpstream(reply_json({"error": {}}, 429, [("Retry-After", "7")])) as upstream,
        make_transport(upstream).send(post(), deadline=soon()) as response,
    ):
        assert (response.status, response.headers["retry-after"]) == (429, "7")
        assert await response.read(100) == b'{"error":{}}'


async def test_redirects_are_not_followed_and_cookies_not_kept(make_transport: MakeTransport) -> None:
    answer = reply_bytes(b"", 302, [("Location", "/elsewhere"), ("Set-Cookie", "a=b")])
    async with ScriptedUpstream(answer) as upstream:
        transport = make_transport(upstream)
        assert await ask(transport) == (302, b"")
        assert await ask(transport) == (302, b"")
        assert [request.path for request in upstream.requests] == ["/v1/x", "/v1/x"]
        assert upstream.requests[1].header("cookie") == ""


async def test_compressed_bodies_come_as_they_are(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(reply_bytes(b"\x1f\x8bnot really", headers=[("Content-Encoding", "gzip")])) as upstream:
        assert await ask(make_transport(upstream)) == (200, b"\x1f\x8bnot really")


async def test_pieces_reach_the_sink_as_they_arrive(make_transport: MakeTransport) -> None:
    gate = Gate()
    async with (
        ScriptedUpstream(reply_sse([{"n": 1}, gate, {"n": 2}])) as upstream,
        make_transport(upstream).send(post(), deadline=soon()) as response,
    ):
        sink = Collector()
        response.start(sink)
        await sink.received(15)
        assert (sink.body, sink.ends) == (b'data: {"n":1}\n\n', [])
        gate.open()
        assert await sink.ended() is None
        assert sink.body == b'data: {"n":1}\n\ndata: {"n":2}\n\n'


async def test_many_answers_at_once_do_not_mix(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(lambda request: reply_bytes(request.body * 50, chunked=[3])) as upstream:
        transport = make_transport(upstream)
        answers = await asyncio.gather(*[ask(transport, post(b"%03d" % n)) for n in range(60)])
        assert answers == [(200, b"%03d" % n * 50) for n in range(60)]


@pytest.mark.parametrize(
    "answer",
    [
        [b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", Stall()],
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n40\r\n", b"x" * 64 + b"\r\n40\r\n", b"x" * 64, Stall()],
        [b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 300_000, Stall()],
    ],
    ids=["told", "chunked", "until close"],
)
async def test_a_body_over_the_limit_is_refused_before_it_ends(make_transport: MakeTransport, answer: Answer) -> None:
    async with ScriptedUpstream(answer) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await ask(make_transport(upstream), limit=100)
        assert (caught.value.kind, caught.value.status) == ("bad_response", 502)
        assert caught.value.code == "bad_upstream_response"
        await upstream.wait_closed()


async def test_a_whole_body_over_the_limit_is_refused_too(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(reply_bytes(b"x" * 101)) as upstream:
        transport = make_transport(upstream)
        assert (await ask(transport, limit=101))[0] == 200
        with pytest.raises(UpstreamError, match="too large"):
            await ask(transport, limit=100)
