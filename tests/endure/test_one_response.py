"""Whatever fails once the head is out, there is one HTTP response on the wire, and it does not look whole."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from gateway.plugin import Unavailable
from gateway.testing import Answer, Close, Gate, ReceivedRequest, ScriptedUpstream, Send, Stall, running_gateway
from tests.endure.kit import (
    NAMES,
    PATHS,
    TYPES,
    LoopClock,
    ask,
    code,
    config,
    error_at_the_end,
    hurried,
    quiet,
    spoken_by,
    stream_of,
    until_word,
)
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


LATE = '''
    """Raises, or answers with a page, long after the head went out with a keep-alive."""
    import asyncio
    from gateway.plugin import Plugin, Reply

    class Late(Plugin):
        async def attempt(self, attempt, call_next):
            await asyncio.sleep(20)
            if attempt.exchange.request.headers.get("x-fault") == "page":
                return Reply(200, {"content-type": "application/json"}, b'{"choices": []}')
            raise RuntimeError("nobody expected this")
'''


@pytest.mark.parametrize("client", NAMES)
def test_a_plugin_that_fails_behind_keep_alives_ends_the_stream_with_the_error_event(client: str) -> None:
    async def main() -> None:
        text = config("http://127.0.0.1:9", plugins="access_log, late")
        async with running_gateway(text, plugins={"late": LATE}, clock=LoopClock()) as gateway:
            for fault in ("raise", "page"):
                async with raw_client(gateway) as raw:
                    await raw.send(post(PATHS[client], ask(client), f"x-fault: {fault}", "Connection: close"))
                    wire = await raw.reader.read()
                assert wire.count(b"HTTP/1.1 ") == 1 and wire.startswith(b"HTTP/1.1 200 ")
                assert error_at_the_end(client, dechunked(wire)) == code(client, "internal_error", "api_error")
                assert b"nobody expected" not in wire and b"choices" not in wire
            await quiet(gateway)
            failed = gateway.events("request_failed")
            assert [line["error_code"] for line in failed] == ["internal_error"] * 2 and failed[0]["plugin"] == "late"

    hurried(main)


ESCAPING = '''
    """Answers with a body of its own that fails in the middle, in a way that nobody is prepared for."""
    from gateway.plugin import Plugin, Reply

    class Body:
        error = None

        async def pump(self, client, status, headers):
            await client.open(status, headers, b"data: begun")
            raise RuntimeError("out of everything")

        async def close(self):
            pass

    class Escaping(Plugin):
        async def handle(self, exchange, call_next):
            return Reply(200, {"content-type": "text/event-stream"}, Body())
'''


async def test_what_nobody_is_prepared_for_drops_the_connection_and_is_logged() -> None:
    text = config("http://127.0.0.1:9", plugins="access_log, escaping")
    async with running_gateway(text, plugins={"escaping": ESCAPING}) as gateway:
        async with raw_client(gateway) as raw:
            await raw.send(post(PATHS["openai"], ask("openai")))
            wire = await raw.rest()
        assert wire.count(b"HTTP/1.1 ") == 1 and b"begun" in wire and not wire.endswith(b"0\r\n\r\n")
        await quiet(gateway)
        (line,) = gateway.events("request_failed")
        assert "out of everything" in line["cause"]


@pytest.mark.parametrize("client", NAMES)
def test_an_abort_behind_keep_alives_is_the_error_event_at_once(client: str) -> None:
    """As at the end of the grace period, when no target has answered yet."""

    async def main() -> None:
        async with (
            ScriptedUpstream([Stall()]) as upstream,
            running_gateway(config(upstream.url), clock=LoopClock()) as gateway,
            raw_client(gateway) as raw,
        ):
            await raw.send(post(PATHS[client], ask(client), "Connection: close"))
            wire = await raw.reader.read(4096)
            assert wire.startswith(b"HTTP/1.1 200 ")
            for exchange in list(gateway.core.live):
                exchange.abort(Unavailable("enough"))
            wire += await raw.reader.read()
            assert wire.count(b"HTTP/1.1 ") == 1
            assert error_at_the_end(client, dechunked(wire)) == code(client, "overloaded", "overloaded_error")
            await upstream.wait_closed()

    hurried(main)
