"""Answers mutated at random end as an answer or an UpstreamError, and never touch the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.scripted import Close, ScriptedUpstream, Send, reply_bytes
from gateway.upstream.direct import DirectTransport
from tests.upstream.kit import ask, stream

SEEDS = [
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\nhello world",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nT: x\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
    b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b":",
    b"0",
    b"-",
    b"ffffffff",
    b"\xff",
    b"HTTP/1.1 200 OK\r\n\r\n",
    b",",
    b";",
]
EDITS = st.lists(
    st.tuples(st.integers(0, 150), st.sampled_from(["insert", "delete", "replace", "cut"]), st.sampled_from(PIECES)),
    max_size=4,
)


def mutated(seed: bytes, edits: list[tuple[int, str, bytes]]) -> bytes:
    data = seed
    for at, kind, piece in edits:
        at = min(at, len(data))
        if kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "delete":
            data = data[:at] + data[at + len(piece) :]
        elif kind == "replace":
            data = data[:at] + piece + data[at + len(piece) :]
        else:
            data = data[:at]
    return data


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner


@given(st.sampled_from(SEEDS), EDITS, st.lists(st.integers(1, 150), max_size=3), st.booleans(), st.booleans())
def test_a_mutated_answer_is_an_answer_or_an_error_and_the_next_is_untouched(
    runner: asyncio.Runner, seed: bytes, edits: list[tuple[int, str, bytes]], cuts: list[int], close: bool, plain: bool
) -> None:
    first = mutated(seed, edits)

    async def main() -> None:
        bad = [Send(first, cuts=tuple(cut for cut in cuts if cut < len(first))), *([Close()] if close else [])]
        async with ScriptedUpstream([bad, reply_bytes(b"next")]) as upstream:
            transport = DirectTransport(upstream.url)
            try:
                async with asyncio.timeout(5 if close else 0.05):
                    if plain:
                        await ask(transport)
                    else:
                        await stream(transport)
            except (UpstreamError, TimeoutError):
                pass
            assert await ask(transport) == (200, b"next")
            await transport.close()

    runner.run(main())
