"""A stream that is cut anywhere is told apart from a whole one, and what came before the cut is exact."""

from __future__ import annotations

import asyncio
import random
import re
from itertools import product

import pytest

from gateway.testing import Answer, Close, ReceivedRequest, ScriptedUpstream, Send, running_gateway
from tests.endure.kit import (
    NAMES,
    PATHS,
    TERMINATORS,
    TYPES,
    ask,
    batches,
    code,
    config,
    error_at_the_end,
    quiet,
    spoken_by,
    stream_of,
    told,
)  # fmt: skip

CUTS = 125
"""For each dialect, each way to end and each of the two tests: 1,000 cuts in all."""
FINISHES = {"openai": b'"finish_reason":"stop"', "anthropic": b'"stop_reason":"end_turn"', "responses": b"response.completed", "ollama": b'"done":true'}  # fmt: skip
WORD = "wörd0".encode()


class Cut:
    """An answer of which `keep` bytes of the body's wire form come, in chunks of random sizes; then the connection
    closes (`how` close), or HTTP ends as if all were well (`how` end)."""

    def __init__(self, name: str, keep: float, how: str, seed: int) -> None:
        self.name, self.how = name, how
        sizes = random.Random(seed)
        body = b"".join(stream_of(name))
        frames: list[tuple[bytes, bytes]] = []
        at = 0
        while at < len(body):
            piece = body[at : at + sizes.randint(1, 160)]
            frames.append((b"%x\r\n" % len(piece), piece))
            at += len(piece)
        wire = b"".join(size + piece + b"\r\n" for size, piece in frames)
        self.came = b""
        if how == "end":
            self.came = body[: int(keep * len(body))]
            self.wire = b"%x\r\n%b\r\n0\r\n\r\n" % (len(self.came), self.came) if self.came else b"0\r\n\r\n"
        else:
            end = int(keep * len(wire))
            self.wire = wire[:end]
            at = 0
            for size, piece in frames:
                at += len(size)
                self.came += piece[: max(0, end - at)]
                at += len(piece) + 2

    @property
    def answer(self) -> Answer:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {TYPES[self.name]}\r\ntransfer-encoding: chunked\r\n\r\n"
        return [Send(head.encode() + self.wire), Close()]

    @property
    def whole_events(self) -> bytes:
        """What came, without the event that was cut."""
        mark = b"\n" if self.name == "ollama" else b"\n\n"
        return self.came[: self.came.rfind(mark) + len(mark)] if mark in self.came else b""

    @property
    def is_finished(self) -> bool:
        """Whether the finish came; where HTTP ended well, the line break behind it may be missing."""
        seen = self.whole_events
        if self.how == "end":
            rest = self.came[len(seen) :].rstrip(b"\n")
            if any(rest == event.rstrip(b"\n") for event in stream_of(self.name)):
                seen += rest
        return FINISHES[self.name] in seen


def number_in(request: ReceivedRequest) -> int:
    found = re.search(rb"cut-(\d+)\.", request.body)
    assert found is not None
    return int(found[1])


def cuts(name: str, how: str) -> list[Cut]:
    where = random.Random(f"{name} {how}")
    return [Cut(name, where.random(), how, seed) for seed in range(CUTS)]


@pytest.mark.parametrize("how", ["close", "end"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_cut_at_any_byte_is_flagged_and_what_came_before_it_is_exact(name: str, how: str) -> None:
    made = cuts(name, how)

    def script(request: ReceivedRequest) -> Answer:
        return made[number_in(request)].answer

    flagged = whole = refused = 0
    async with ScriptedUpstream(script) as upstream, running_gateway(config(upstream.url), log_level="info") as gateway:
        for batch in batches(list(enumerate(made)), 25):
            answers = await asyncio.gather(
                *(gateway.post(PATHS[name], body=ask(name, text=f"cut-{number}.")) for number, _ in batch)
            )
            for (_, cut), answer in zip(batch, answers, strict=True):
                if cut.is_finished:
                    whole += 1
                    assert answer.status == 200 and answer.body.startswith(cut.whole_events)
                    assert FINISHES[name] in answer.body
                    assert TERMINATORS[name] in answer.body.rstrip().rpartition(b"\n")[2]
                elif WORD in cut.whole_events:
                    flagged += 1
                    assert answer.status == 200 and answer.body.startswith(cut.whole_events)
                    rest = answer.body[len(cut.whole_events) :]
                    assert error_at_the_end(name, rest) == code(name, "stream_truncated", "api_error")
                    assert rest.count(b"data: ") == (0 if name == "ollama" else 1)
                else:
                    refused += 1
                    assert told(name, answer) == (502, code(name, "stream_truncated", "api_error"))
        await quiet(gateway)
        outcomes = [line["outcome"] for line in gateway.events("request")]
        assert (outcomes.count("failed"), outcomes.count("completed")) == (flagged + refused, whole)
    assert flagged > CUTS // 2 and refused


@pytest.mark.parametrize(("client", "target"), [pair for pair in product(NAMES, NAMES) if pair[0] != pair[1]])
async def test_a_cut_stream_is_flagged_in_another_dialect_too(client: str, target: str) -> None:
    made = [cut for how in ("close", "end") for cut in cuts(target, how)[:12]]

    def script(request: ReceivedRequest) -> Answer:
        return made[number_in(request)].answer

    async with ScriptedUpstream(script) as upstream, running_gateway(config(upstream.url), log_level="info") as gateway:
        answers = await asyncio.gather(
            *(
                gateway.post(PATHS[client], body=ask(client, target, text=f"cut-{number}."))
                for number in range(len(made))
            )
        )
        for cut, answer in zip(made, answers, strict=True):
            if cut.is_finished:
                assert answer.status == 200 and TERMINATORS[client] in answer.body
            elif WORD in cut.whole_events:
                assert answer.status == 200
                assert error_at_the_end(client, answer.body) == code(client, "stream_truncated", "api_error")
                words = 1 + max(int(number) for number in re.findall(r"wörd(\d+)", cut.whole_events.decode()))
                heard = answer.body.replace(b"\\u00f6", "ö".encode()).decode()
                assert f"wörd{words - 1} " in heard and f"wörd{words} " not in heard
            else:
                assert told(client, answer)[0] == 502
        assert {spoken_by(request) for request in upstream.requests} == {target}
