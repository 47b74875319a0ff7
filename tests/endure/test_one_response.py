"""Whatever fails once the head is out, there is one HTTP response on the wire, and it does not look whole."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gateway.plugin import Unavailable
from gateway.testing import Answer, Close, Gate, ReceivedRequest, ScriptedUpstream, Send, running_gateway
from tests.endure.kit import NAMES, PATHS, TYPES, ask, config, error_at_the_end, quiet, spoken_by, stream_of, until_word
from tests.server.raw import post, raw_client

FAULTY = '''
    """Fails where the request says, once the answer has begun."""
    from gateway.plugin import Plugin, TextDelta

    class Faulty(Plugin):
        async def transform(self, exchange, events):
            async for event in events:
                yield event
                if isinstance(event, TextDelta) and exchange.request.headers.get("x-fault") == "transform":
                    raise RuntimeError("in the middle")

        async def complete(self, exchange):
            if exchange.request.headers.get("x-fault") == "complete":
                raise RuntimeError("at the end")
'''
WATCHING = FAULTY.replace("async def transform", "async def other")


@pytest.mark.parametrize("fault", ["cut", "complete", "transform", "late abort"])
@pytest.mark.parametrize("client", NAMES)
async def test_a_failure_after_the_head_is_an_error_event_and_never_a_second_response(client: str, fault: str) -> None:
    plugin = FAULTY if fault == "transform" else WATCHING

    def script(request: ReceivedRequest) -> Answer:
        name = spoken_by(request)
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {TYPES[name]}\r\n\r\n".encode()
        whole = fault in ("complete", "transform")
        said = stream_of(name) if whole else until_word(name, 2)
        return [Send(head + b"".join(said)), Close()] if fault != "late abort" else [Send(head + b"".join(said)), gate]

    gate = Gate()
    async with (
        ScriptedUpstream(script) as upstream,
        running_gateway(
            config(upstream.url, plugins="security_headers, faulty"), plugins={"faulty": plugin}
        ) as gateway,
    ):
        for target in (client, next(name for name in itertools.cycle(NAMES) if name != client)):
            async with raw_client(gateway) as raw:
                await raw.send(post(PATHS[client], ask(client, target), f"x-fault: {fault}", "Connection: close"))
                if fault == "late abort":
                    async with asyncio.timeout(10):
                        while "wörd1".encode() not in raw.buffer and b"rd1" not in raw.buffer:
                            await raw._more()
                    for exchange in list(gateway.core.live):
                        exchange.abort(Unavailable("enough"))
                wire = await raw.rest()
            assert wire.count(b"HTTP/1.1 ") == 1 and wire.startswith(b"HTTP/1.1 200 ")
            assert wire.lower().count(b"content-type:") == 1
            error_at_the_end(client, dechunked(wire))
        await quiet(gateway)


def dechunked(wire: bytes) -> bytes:
    """Return the body of a chunked response, which must end as HTTP says."""
    rest = wire.partition(b"\r\n\r\n")[2]
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if int(size, 16) == 0:
            assert rest == b"\r\n"
            return body
        body += rest[: int(size, 16)]
        assert rest[int(size, 16) :].startswith(b"\r\n")
        rest = rest[int(size, 16) + 2 :]
