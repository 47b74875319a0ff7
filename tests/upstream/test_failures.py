"""Connecting, waiting and leaving: what fails says which kind it was, and nothing stays open."""

from __future__ import annotations

import asyncio
import datetime
import os
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import BadRequest, UpstreamError
from gateway.scripted import Close, Gate, ScriptedUpstream, Stall, reply_bytes, reply_json
from gateway.upstream.connect import origin_of, tls_context
from tests.upstream.kit import Collector, MakeTransport, ask, post, server_tls, soon

SHORT_S = 0.05


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def failure(transport: Any, request: Any = None, deadline_s: float = 20) -> UpstreamError:
    """Return the UpstreamError of an exchange that must fail before its head."""
    with pytest.raises(UpstreamError) as caught:
        async with transport.send(request or post(), deadline=soon(deadline_s)):
            pass
    error = caught.value
    for secret in ("127.0.0.1", "localhost", ".invalid", "::1"):
        assert secret not in error.message
    return error


async def test_refused_is_a_connect_failure(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream() as upstream:
        await upstream.refuse()
        error = await failure(make_transport(upstream))
        assert (error.kind, error.status, error.message) == ("connect", 502, "the upstream refused the connection")


async def test_a_name_that_does_not_resolve_is_a_connect_failure(make_transport: MakeTransport) -> None:
    error = await failure(make_transport("http://no-such-host.invalid:80"))
    assert (error.kind, error.message) == ("connect", "the upstream's name could not be resolved")


async def test_a_name_too_long_for_dns_is_a_connect_failure(make_transport: MakeTransport) -> None:
    assert (await failure(make_transport(f"http://{'a' * 70}.invalid"))).kind == "connect"


async def test_a_handshake_that_stalls_ends_at_connect_s(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream() as plain:
        error = await failure(make_transport(f"https://127.0.0.1:{plain.port}"), post(connect_s=SHORT_S))
        assert (error.kind, error.status, error.code) == ("timeout", 504, "timeout")
        await plain.wait_closed()


async def test_the_deadline_bounds_connecting_too(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream() as plain:
        error = await failure(make_transport(f"https://127.0.0.1:{plain.port}"), deadline_s=SHORT_S)
        assert error.kind == "timeout"
        await plain.wait_closed()


async def test_head_s_bounds_the_wait_for_the_head(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(Stall()) as upstream:
        error = await failure(make_transport(upstream), post(head_s=SHORT_S))
        assert (error.kind, error.status) == ("timeout", 504)
        await upstream.wait_closed()


async def test_the_deadline_bounds_the_wait_for_the_head(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream([b"HTTP/1.1 200 OK\r\nX: ", Stall()]) as upstream:
        assert (await failure(make_transport(upstream), deadline_s=SHORT_S)).kind == "timeout"
        await upstream.wait_closed()


async def test_the_deadline_bounds_reading_the_body(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", Stall()]) as upstream:
        with pytest.raises(UpstreamError) as caught:
            async with make_transport(upstream).send(post(head_s=10), deadline=soon(SHORT_S)) as response:
                await response.read(100)
        assert caught.value.kind == "timeout"
        await upstream.wait_closed()


async def test_head_s_does_not_bound_the_body(make_transport: MakeTransport) -> None:
    gate = Gate()
    answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", gate, b"cd"]
    async with (
        ScriptedUpstream(answer) as upstream,
        make_transport(upstream).send(post(head_s=SHORT_S), deadline=soon()) as response,
    ):
        asyncio.get_running_loop().call_later(3 * SHORT_S, gate.open)
        assert await response.read(100) == b"abcd"


async def test_nothing_bounds_a_stream_once_it_is_started(make_transport: MakeTransport) -> None:
    gate = Gate()
    answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", gate, b"cd"]
    async with (
        ScriptedUpstream(answer) as upstream,
        make_transport(upstream).send(post(head_s=SHORT_S), deadline=soon(SHORT_S)) as response,
    ):
        sink = Collector()
        response.start(sink)
        asyncio.get_running_loop().call_later(3 * SHORT_S, gate.open)
        assert await sink.ended() is None
        assert sink.body == b"abcd"


async def test_a_kept_connection_obeys_each_requests_own_times(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream([reply_json({}), reply_json({}), [Stall()]]) as upstream:
        transport = make_transport(upstream)
        assert (await ask(transport, post(head_s=10)))[0] == 200
        assert (await ask(transport))[0] == 200
        assert (await failure(transport, post(head_s=SHORT_S))).kind == "timeout"
        assert len(upstream.connections) == 1


# --- leaving ---------------------------------------------------------------------------------------


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


# --- request bodies that are iterators ---------------------------------------------------------------


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


# --- TLS -------------------------------------------------------------------------------------------


def trusting(authority: Any) -> ssl.SSLContext:
    context = tls_context()
    fresh = ssl.create_default_context()
    assert fresh.verify_mode == context.verify_mode
    authority.configure_trust(fresh)
    return fresh


async def test_tls_with_a_trusted_certificate_works_and_is_reused(
    make_transport: MakeTransport, authority: Any
) -> None:
    async with ScriptedUpstream(reply_json({"ok": 1}), ssl=server_tls(authority, "localhost")) as upstream:
        transport = make_transport(f"https://localhost:{upstream.port}", tls=trusting(authority))
        assert await ask(transport) == (200, b'{"ok":1}')
        assert await ask(transport) == (200, b'{"ok":1}')
        assert len(upstream.connections) == 1
        assert upstream.requests[0].header("host") == f"localhost:{upstream.port}"


async def test_tls_sends_the_name_it_wants(make_transport: MakeTransport, authority: Any) -> None:
    names: list[str | None] = []
    context = server_tls(authority, "localhost")
    context.sni_callback = lambda connection, name, _: names.append(name)
    async with ScriptedUpstream(reply_json({}), ssl=context) as upstream:
        await ask(make_transport(f"https://localhost:{upstream.port}", tls=trusting(authority)))
    assert names == ["localhost"]


async def test_tls_untrusted_is_a_connect_failure_that_says_so(make_transport: MakeTransport, authority: Any) -> None:
    async with ScriptedUpstream(ssl=server_tls(authority, "localhost")) as upstream:
        error = await failure(make_transport(f"https://localhost:{upstream.port}"))
        assert (error.kind, error.status) == ("connect", 502)
        assert error.message == "the upstream's certificate is not from a trusted authority"


async def test_tls_for_another_name_is_a_connect_failure_that_says_so(
    make_transport: MakeTransport, authority: Any
) -> None:
    async with ScriptedUpstream(ssl=server_tls(authority, "other.example")) as upstream:
        error = await failure(make_transport(f"https://localhost:{upstream.port}", tls=trusting(authority)))
        assert (error.kind, error.message) == ("connect", "the upstream's certificate is for another name")


async def test_tls_expired_is_a_connect_failure_that_says_so(make_transport: MakeTransport, authority: Any) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    async with ScriptedUpstream(ssl=server_tls(authority, "localhost", not_after=past)) as upstream:
        error = await failure(make_transport(f"https://localhost:{upstream.port}", tls=trusting(authority)))
        assert (error.kind, error.message) == ("connect", "the upstream's certificate has expired")


async def test_tls_takes_a_custom_authority_from_a_file(
    make_transport: MakeTransport, authority: Any, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    async with ScriptedUpstream(reply_json({}), ssl=server_tls(authority, "localhost")) as upstream:
        transport = make_transport(f"https://localhost:{upstream.port}", tls=tls_context(file))
        assert (await ask(transport))[0] == 200


async def test_tls_unverified_takes_anybody(make_transport: MakeTransport, authority: Any) -> None:
    async with ScriptedUpstream(reply_json({}), ssl=server_tls(authority, "other.example")) as upstream:
        assert (await ask(make_transport(upstream, tls=tls_context(verify=False))))[0] == 200


async def test_an_upstream_that_closes_in_the_handshake_is_a_connect_failure(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream() as plain:
        transport = make_transport(f"https://127.0.0.1:{plain.port}")
        task = asyncio.ensure_future(failure(transport))
        while not plain.unreadable and not plain.connections:
            await asyncio.sleep(0)
        plain.close_all()
        assert (await task).kind == "connect"


async def test_a_truncated_tls_answer_is_broken(make_transport: MakeTransport, authority: Any) -> None:
    answer = [b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", Close()]
    async with ScriptedUpstream(answer, ssl=server_tls(authority, "localhost")) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await ask(make_transport(f"https://localhost:{upstream.port}", tls=trusting(authority)))
        assert caught.value.kind == "broken"


# --- base URLs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "host", "port", "shown"),
    [
        ("http://Example.com/v1", "example.com", 80, "example.com"),
        ("https://example.com", "example.com", 443, "example.com"),
        ("https://example.com:443/", "example.com", 443, "example.com"),
        ("http://[::1]:8080/v1", "::1", 8080, "[::1]:8080"),
        ("http://[::1]", "::1", 80, "[::1]"),
        ("http://bücher.example", "xn--bcher-kva.example", 80, "xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_what_the_url_says(url: str, host: str, port: int, shown: str) -> None:
    origin = origin_of(url)
    assert (origin.host, origin.port, origin.host_header) == (host, port, shown)
    assert (origin.tls is not None) == url.startswith("https")


@pytest.mark.parametrize("url", ["ftp://x", "unix:/run/x", "example.com", "http://", "http://x:port"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError):
        origin_of(url)


async def test_an_ipv6_upstream_is_reached(make_transport: MakeTransport) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nv6")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "::1", 0)
    port = server.sockets[0].getsockname()[1]
    assert await ask(make_transport(f"http://[::1]:{port}"), post(b"", method="GET")) == (200, b"v6")
    server.close()
