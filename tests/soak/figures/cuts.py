"""Cuts: an upstream that dies at a random byte of its stream is always told of, and nothing before it is lost.

A quarter of the clients speaks each dialect. After FIN every complete event must have come; after RST the kernel
itself may have thrown some away, so that a beginning of them is right too.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter

from tests.soak.client import CHAT, PATHS, Gone, Line, request, told
from tests.soak.row import Row, Size, pick
from tests.soak.running import gateway, home, upstream, warm
from tests.soak.upstream import CUT_EVENTS, STREAM_HEAD, chunks, events, wire, word

CLIENTS = 16
SEED = 20261123


def complete_words(at: int) -> int:
    """Return how many words' events are whole in the first `at` bytes of the stream."""
    end, words = len(STREAM_HEAD), -1  # the first event is the role's
    for framed, event in zip(chunks(CUT_EVENTS), events(CUT_EVENTS), strict=True):
        if end + framed.index(event) + len(event) > at:
            break
        end += len(framed)
        words += 1
    return max(0, words)


def last_cut() -> int:
    """Return the last place that is a cut: one byte more, and the finish has come, which makes the stream complete."""
    return len(wire(CUT_EVENTS)) - len(b"0\r\n\r\n") - sum(len(each) for each in chunks(CUT_EVENTS)[-2:])


async def measure(size: Size) -> list[Row]:
    count = pick(size, 60, 1000, 10_000)
    chance = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    wrong: list[str] = []
    numbers = iter(range(count))
    async with upstream() as up, gateway(home(up.port)) as running:
        await warm(running.port)

        async def work() -> None:
            for number in numbers:
                at, reset, path = chance.randrange(last_cut()), number % 8 >= 4, PATHS[number % len(PATHS)]
                line = await Line.open(running.port)
                try:
                    answer = await line.ask(request(f"soak:cut:{at}:{int(reset)}", path, stream=True))
                except Gone as gone:
                    wrong.append(f"cut at {at} on {path}: the connection ended: {gone.came[-100:]!r}")
                    continue
                finally:
                    line.leave()
                words = complete_words(at)
                kind, fault = judge(answer.status, answer.body, path, words, reset)
                outcomes[kind] += 1
                if fault:
                    wrong.append(f"cut at {at} ({'RST' if reset else 'FIN'}, {words} words) on {path}: {fault}")

        await asyncio.gather(*(work() for _ in range(CLIENTS)))
    return [
        Row(
            "cuts",
            "1,000 cuts at random bytes: every one flagged, no success terminator, all before it exact",
            f"{count:,} cuts: {outcomes['event']:,} ended with an error event, {outcomes['status']:,} with a 5xx, "
            f"{len(wrong)} wrong" + (f"; first: {wrong[0]}" if wrong else ""),
            not wrong and sum(outcomes.values()) == count,
            {"wrong": len(wrong), "flagged": sum(outcomes.values()), "count": count, "examples": wrong[:5]},
        )
    ]


def judge(status: int, body: bytes, path: str, words: int, reset: bool) -> tuple[str, str]:
    """Return how the answer told of the cut, and what is wrong with it."""
    if status >= 500:
        return "status", "" if words == 0 or reset else f"{status} for a stream with {words} words: {body[:200]!r}"
    seen = told(body, path)
    if not seen.failed or seen.succeeded:
        return "event", f"{seen}"
    texts = ["".join(word(n) for n in range(k)) for k in (range(words + 1) if reset else (words,))]
    if seen.text not in texts:
        return "event", f"the text is {seen.text!r}"
    if path == CHAT and seen.text:
        sent = b"".join(events(CUT_EVENTS)[: 1 + len(seen.text.split())])
        if not body.startswith(sent):
            return "event", f"other bytes than were sent: {body[:200]!r}"
    return "event", ""
