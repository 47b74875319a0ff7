"""A client that leaves takes its upstream with it, at once and in every dialect, and leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from gateway.testing import Answer, ReceivedRequest, RunningGateway, ScriptedUpstream, Send, Stall, running_gateway
from tests.endure.kit import (
    NAMES,
    PATHS,
    TYPES,
    LoopClock,
    ask,
    batches,
    config,
    descriptors,
    hurried,
    quiet,
    spoken_by,
    until_word,
)  # fmt: skip
from tests.server.raw import post, raw_client

PAIRS = [(client, target) for client in NAMES for target in NAMES]
FIRST_WORD = b"rd0"


def script(request: ReceivedRequest) -> Answer:
    name = spoken_by(request)
    if b"silent" in request.body:
        return [Stall()]
    head = f"HTTP/1.1 200 OK\r\ncontent-type: {TYPES[name]}\r\n\r\n".encode()
    return [Send(head + b"".join(until_word(name, 1))), Stall()]


async def leave(gateway: RunningGateway, upstream: ScriptedUpstream, client: str, target: str, silent: bool) -> None:
    before = len(upstream.requests)
    async with raw_client(gateway) as raw:
        await raw.send(post(PATHS[client], ask(client, target, text="silent" if silent else "speak")))
        if silent:
            await upstream.wait_for_request(before)
        else:
            assert await raw.until(FIRST_WORD) is not None


@pytest.mark.parametrize("silent", [True, False], ids=["silent upstream", "mid-stream"])
@pytest.mark.parametrize(("client", "target"), PAIRS)
async def test_an_upstream_is_closed_when_its_client_leaves(client: str, target: str, silent: bool) -> None:
    async with ScriptedUpstream(script) as upstream, running_gateway(config(upstream.url)) as gateway:
        await leave(gateway, upstream, client, target, silent)
        await upstream.wait_closed(0)
        await quiet(gateway)
        (line,) = gateway.events("request")
        assert (line["outcome"], line["status"]) == ("disconnected", 499)
        assert not gateway.events("request_failed") and not gateway.events("attempt_failed")


async def test_three_hundred_that_leave_leak_no_descriptor_task_place_or_count() -> None:
    async with (
        ScriptedUpstream(script) as upstream,
        running_gateway(config(upstream.url, plugins="access_log, circuit_breaker")) as gateway,
    ):
        await asyncio.gather(*(leave(gateway, upstream, *pair, silent=False) for pair in PAIRS))
        await quiet(gateway)
        held = (descriptors(), len(asyncio.all_tasks()))
        for batch in batches([(*PAIRS[n % 16], n % 3 == 0) for n in range(300)], 30):
            await asyncio.gather(*(leave(gateway, upstream, *each) for each in batch))
        await quiet(gateway)
        async with asyncio.timeout(10):
            while upstream.open_connections or descriptors() > held[0] or len(asyncio.all_tasks()) > held[1]:
                await asyncio.sleep(0)
        assert gateway.server.pipeline._dispatcher.in_flight == 0
        health = gateway.core.snapshot.shared.health
        assert {each.in_flight for each in health.among(gateway.core.snapshot.targets)} == {0}
        lines = gateway.events("request")
        assert len(lines) == 316 and {line["outcome"] for line in lines} == {"disconnected"}
        assert {each.breaker.state for each in health.among(gateway.core.snapshot.targets)} == {"closed"}


@pytest.mark.parametrize("client", NAMES)
def test_an_upstream_is_closed_when_its_client_leaves_behind_keep_alives(client: str) -> None:
    """The head has gone out with a keep-alive, and no target has answered yet."""

    async def main() -> None:
        async with (
            ScriptedUpstream(script) as upstream,
            running_gateway(config(upstream.url), clock=LoopClock()) as gateway,
        ):
            async with raw_client(gateway) as raw:
                await raw.send(post(PATHS[client], ask(client, text="silent")))
                assert (await raw.reader.read(4096)).startswith(b"HTTP/1.1 200 ")
            await upstream.wait_closed(0)
            await quiet(gateway)
            (line,) = gateway.events("request")
            assert (line["outcome"], line["status"]) == ("disconnected", 499)

    hurried(main)
