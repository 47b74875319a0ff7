"""The general transport goes through the proxy it was given, and through no other."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from gateway.errors import UpstreamError
from gateway.scripted import ScriptedUpstream, Stall, reply_bytes, reply_json
from gateway.upstream.http import HttpTransport
from tests.upstream.kit import ask, post, soon


@pytest.fixture
async def proxy() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(reply_json({"by": "proxy"})) as proxy:
        yield proxy


async def test_a_plain_request_goes_to_the_proxy_with_its_whole_url(proxy: ScriptedUpstream) -> None:
    transport = HttpTransport("http://upstream.example:8000", proxy=proxy.url)
    assert await ask(transport, post(path="/v1/x?q=1")) == (200, b'{"by":"proxy"}')
    assert proxy.requests[0].path == "http://upstream.example:8000/v1/x?q=1"
    assert proxy.requests[0].header("host") == "upstream.example:8000"
    await transport.close()


async def test_credentials_in_the_proxys_url_go_to_the_proxy(proxy: ScriptedUpstream) -> None:
    transport = HttpTransport("http://upstream.example", proxy=f"http://ann:secret@127.0.0.1:{proxy.port}")
    assert (await ask(transport))[0] == 200
    assert proxy.requests[0].header("proxy-authorization") == "Basic YW5uOnNlY3JldA=="
    await transport.close()


async def test_tls_through_a_proxy_asks_for_a_tunnel_to_the_name(proxy: ScriptedUpstream) -> None:
    proxy.script = reply_bytes(b"", 407)
    transport = HttpTransport("https://upstream.example", proxy=proxy.url)
    with pytest.raises(UpstreamError) as caught:
        await ask(transport)
    assert (proxy.requests[0].method, proxy.requests[0].path) == ("CONNECT", "upstream.example:443")
    assert (caught.value.kind, caught.value.message) == ("connect", "the proxy refused the connection")
    await transport.close()


async def test_a_silent_proxy_ends_at_connect_s(proxy: ScriptedUpstream) -> None:
    proxy.script = Stall()
    transport = HttpTransport("https://upstream.example", proxy=proxy.url)
    with pytest.raises(UpstreamError) as caught:
        await ask(transport, post(connect_s=0.05))
    assert caught.value.kind == "timeout"
    await transport.close()


async def test_a_proxy_that_refuses_is_a_connect_failure(proxy: ScriptedUpstream) -> None:
    await proxy.refuse()
    transport = HttpTransport("http://upstream.example", proxy=proxy.url)
    with pytest.raises(UpstreamError) as caught:
        async with transport.send(post(), deadline=soon()):
            pass
    assert caught.value.kind == "connect"
    assert "127.0.0.1" not in caught.value.message
    await transport.close()


async def test_a_proxy_in_the_environment_is_ignored(proxy: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", proxy.url)
    async with ScriptedUpstream(reply_json({"by": "upstream"})) as upstream:
        transport = HttpTransport(upstream.url)
        assert await ask(transport) == (200, b'{"by":"upstream"}')
        await transport.close()
    assert proxy.requests == []
