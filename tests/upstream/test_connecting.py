"""Connecting and waiting: what fails says which kind it was, and names nobody."""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import UpstreamError
from gateway.scripted import Close, Gate, ScriptedUpstream, Stall, reply_json
from gateway.upstream.connect import origin_of, tls_context
from tests.upstream.kit import Collector, MakeTransport, ask, failure, post, server_tls, soon

SHORT_S = 0.05


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
