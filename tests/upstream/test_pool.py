"""Which connections are kept, which are used again, and what happens when a kept one has died."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

from gateway.errors import UpstreamError
from gateway.scripted import Close, Gate, ReceivedRequest, Reset, ScriptedUpstream, Stall, reply_bytes, reply_json
from gateway.upstream.direct import DirectTransport
from tests.upstream.kit import Collector, MakeTransport, ask, post, server_tls, soon


def dies_when_reused(*, step: object = None) -> object:
    """Answer the first request of a connection; at the second, close or reset without a word."""
    served: set[int] = set()

    def script(request: ReceivedRequest) -> object:
        if request.connection in served:
            return step or Close()
        served.add(request.connection)
        return reply_json({"connection": request.connection})

    return script


@pytest.mark.parametrize("step", [Close(), Reset()], ids=["closed", "reset"])
async def test_a_reused_connection_that_dies_unanswered_is_replaced_once(
    make_direct: MakeTransport, step: object
) -> None:
    async with ScriptedUpstream(dies_when_reused(step=step)) as upstream:  # type: ignore[arg-type]
        transport = make_direct(upstream)
        assert await ask(transport) == (200, b'{"connection":0}')
        assert await ask(transport) == (200, b'{"connection":1}')
        assert (transport.opened, transport.reused, transport.replaced) == (2, 1, 1)
        assert [request.connection for request in upstream.requests] == [0, 0, 1]


async def test_the_replacement_is_fresh_even_when_others_are_idle(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream(dies_when_reused()) as upstream:  # type: ignore[arg-type]
        transport = make_direct(upstream)
        await asyncio.gather(*[ask(transport) for _ in range(3)])
        assert len(transport.idle) == 3
        assert (await ask(transport))[0] == 200
        assert upstream.requests[-1].connection == 3


async def test_a_fresh_connection_that_dies_unanswered_is_not_replaced(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream(Close()) as upstream:
        with pytest.raises(UpstreamError) as caught:
            await ask(make_direct(upstream))
        assert (caught.value.kind, len(upstream.requests)) == ("broken", 1)


async def test_the_replacement_is_not_replaced_again(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream([reply_json({}), [Close()]]) as upstream:
        transport = make_direct(upstream)
        await ask(transport)
        with pytest.raises(UpstreamError):
            await ask(transport)
        assert len(upstream.requests) == 3


async def test_one_byte_of_an_answer_forbids_the_replacement(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream([reply_json({}), [b"H", Close()], reply_json({})]) as upstream:
        transport = make_direct(upstream)
        await ask(transport)
        with pytest.raises(UpstreamError):
            await ask(transport)
        assert (transport.replaced, len(upstream.requests)) == (0, 2)


async def test_a_timeout_on_a_reused_connection_is_not_replaced(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream([reply_json({}), [Stall()]]) as upstream:
        transport = make_direct(upstream)
        await ask(transport)
        with pytest.raises(UpstreamError) as caught:
            await ask(transport, post(head_s=0.05))
        assert (caught.value.kind, len(upstream.requests)) == ("timeout", 2)


async def test_an_iterator_cannot_be_sent_twice(make_direct: MakeTransport) -> None:
    async def body() -> object:
        yield b"abc"

    async with ScriptedUpstream([reply_json({}), [Close()], reply_json({})]) as upstream:
        transport = make_direct(upstream)
        await ask(transport)
        with pytest.raises(UpstreamError):
            await ask(transport, post(body()))
        assert (transport.replaced, len(upstream.requests)) == (0, 2)


async def test_the_replacement_can_be_turned_off(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream([reply_json({}), [Close()], reply_json({})]) as upstream:
        transport = make_direct(upstream, retry_reused=False)
        await ask(transport)
        with pytest.raises(UpstreamError):
            await ask(transport)


async def test_an_upstream_that_closes_after_answering_is_never_noticed(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream(reply_json({}, close=True)) as upstream:
        transport = make_direct(upstream)
        for _ in range(50):
            assert (await ask(transport))[0] == 200
        assert transport.opened >= 50


@pytest.mark.parametrize("how", ["close_all", "reset_all"])
async def test_an_idle_connection_that_upstream_closes_leaves_the_pool(make_direct: MakeTransport, how: str) -> None:
    async with ScriptedUpstream(reply_json({})) as upstream:
        transport = make_direct(upstream)
        await ask(transport)
        assert len(transport.idle) == 1
        getattr(upstream, how)()
        while transport.idle:
            await asyncio.sleep(0)
        assert (await ask(transport))[0] == 200
        assert transport.replaced == 0


async def test_an_idle_tls_connection_that_upstream_closes_leaves_the_pool(
    make_direct: MakeTransport, authority: Any
) -> None:
    trusted = ssl.create_default_context()
    authority.configure_trust(trusted)
    async with ScriptedUpstream(reply_json({}), ssl=server_tls(authority, "localhost")) as upstream:
        transport = make_direct(f"https://localhost:{upstream.port}", tls=trusted)
        for turn in range(1, 4):
            assert (await ask(transport))[0] == 200
            upstream.close_all()
            while transport.idle:
                await asyncio.sleep(0)
            assert transport.opened == turn


async def test_the_connection_used_last_is_used_next(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream(lambda request: reply_json({"c": request.connection})) as upstream:
        transport = make_direct(upstream)
        await asyncio.gather(*[ask(transport) for _ in range(3)])
        last = transport.idle[-1]
        for _ in range(5):
            await ask(transport)
            assert transport.idle[-1] is last


async def test_no_more_than_max_idle_are_kept_and_the_oldest_go(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream(reply_json({})) as upstream:
        transport = make_direct(upstream, max_idle=2)
        await asyncio.gather(*[ask(transport) for _ in range(5)])
        assert len(transport.idle) == 2
        while upstream.open_connections > 2:
            await asyncio.sleep(0)


async def test_max_idle_zero_keeps_none(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(reply_json({})) as upstream:
        transport = make_transport(upstream, max_idle=0)
        await ask(transport)
        await upstream.wait_closed(0)
        assert (await ask(transport))[0] == 200


async def test_an_idle_connection_is_closed_after_idle_s(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream(reply_json({})) as upstream:
        transport = make_direct(upstream, idle_s=0.05)
        await ask(transport, post(head_s=10))
        await upstream.wait_closed(0)
        assert transport.idle == []


async def test_a_busy_connection_outlives_idle_s(make_direct: MakeTransport) -> None:
    gate = Gate()
    async with ScriptedUpstream([reply_json({}), [gate, *reply_json({"slow": 1})]]) as upstream:
        transport = make_direct(upstream, idle_s=0.05)
        await ask(transport)
        asyncio.get_running_loop().call_later(0.15, gate.open)
        assert await ask(transport) == (200, b'{"slow":1}')
        assert len(upstream.connections) == 1


async def test_close_closes_idle_connections_now(make_transport: MakeTransport) -> None:
    async with ScriptedUpstream(reply_json({})) as upstream:
        transport = make_transport(upstream)
        await ask(transport)
        await transport.close()
        await upstream.wait_closed(0)


async def test_a_stream_survives_the_close_of_its_transport(make_direct: MakeTransport) -> None:
    gate = Gate()
    slow = [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab", gate, b"cd"]
    async with ScriptedUpstream(slow) as upstream:
        transport = make_direct(upstream)
        async with transport.send(post(), deadline=soon()) as response:
            sink = Collector()
            response.start(sink)
            await transport.close()
            gate.open()
            assert await sink.ended() is None
            assert sink.body == b"abcd"
        await upstream.wait_closed(0)


async def test_a_body_not_read_to_its_end_costs_the_connection(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream([b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n", b"x" * 400_000]) as upstream:
        transport = make_direct(upstream)
        async with transport.send(post(), deadline=soon()) as response:
            assert response.status == 200
        await upstream.wait_closed(0)
        assert transport.idle == []


async def test_an_answer_that_was_complete_but_never_read_keeps_its_connection(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream([reply_bytes(b"unread"), reply_bytes(b"next")]) as upstream:
        transport = make_direct(upstream)
        async with transport.send(post(), deadline=soon()) as response:
            assert response.status == 200
        assert await ask(transport) == (200, b"next")
        assert len(upstream.connections) == 1


async def test_a_connection_that_may_carry_nothing_more_is_not_kept(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream(reply_json({})) as upstream:
        transport = make_direct(upstream)
        await ask(transport)
        for reusable, kept in ((True, 1), (False, 0)):
            connection = transport.take()
            assert connection is not None
            connection.reusable = reusable
            transport.let_go(connection, asyncio.get_running_loop().time())
            assert len(transport.idle) == kept
        assert connection.transport.is_closing()


async def test_a_timer_is_armed_once_and_not_for_every_request(make_direct: MakeTransport) -> None:
    async with ScriptedUpstream(reply_json({})) as upstream:
        transport = make_direct(upstream)
        await ask(transport)
        timer = transport.idle[0].expiry._timer
        for _ in range(20):
            await ask(transport)
        assert transport.idle[0].expiry._timer is timer


def test_a_transport_needs_no_running_loop_to_be_made() -> None:
    assert DirectTransport("https://example.com/v1").origin.port == 443
