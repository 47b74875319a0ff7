"""What is asked and what must come back, byte for byte; the mock upstream and the generator both read it here.

A request carries its order to the mock (`bench:plain:1024`, `bench:stream:500:1`) in its system message, which every
proxy passes on, and in the `user` field, so the same bytes can be sent to every system and each is free to rename the
model. A client of another dialect says it in `metadata.user_id`, which translation makes `user` of.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any, Literal

from benchmarks.translation import translated_plain, translated_stream

ORDER = re.compile(rb"bench:(plain|stream):(\d+)(?::(\d+))?(?::(\d+))?")
_SAID = re.compile(rb'"content":\s?"([^"]*)"')
MODEL_ASKED = "bench"
MODEL_TARGET = "mock-model-1"


def credential(number: int) -> str:
    """Return a caller's key: the first one's is in the homes, hashed."""
    return f"sk-bench-{number:016d}"


CREDENTIAL = credential(0)
SYSTEM = "You are terse."
USAGE = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One way of asking, repeated. `size_bytes` is the size of the request's body and, for `plain`, of the answer's.

    A stream is `events` events, each its own write, `pace_ms` apart (0: as fast as asked), the first `at_once` of them
    together. `exchanges` is the number in one measured round. With `rate_per_s` exchanges begin on a timetable (open
    loop) and each one's latency counts from when it was due; with 0 every connection asks again as soon as it was
    answered (closed loop). `client` is the dialect that is asked in, `openai_chat` (the mock's own) or `anthropic`.
    `keys` callers ask in turn, each with a credential of its own. `variants` requests take turns that differ in length,
    as their answers do, and in the trace context they carry: what a proxy remembers of a head must not be all that is
    measured. `headers` are sent beside the others; `exact` says that the answer must be the mock's bytes: some proxies
    write it anew, and then its words are compared.
    """

    name: str
    title: str
    kind: Literal["plain", "stream"]
    size_bytes: int = 1024
    events: int = 0
    pace_ms: int = 0
    at_once: int = 0
    connections: int = 1
    exchanges: int = 1
    rate_per_s: float = 0.0
    client: str = "openai_chat"
    keys: int = 1
    variants: int = 1
    headers: tuple[tuple[str, str], ...] = ()
    exact: bool = True

    @property
    def units(self) -> int:
        """What CPU is divided by in one round: events of a stream, or plain exchanges."""
        return self.exchanges * (self.events or 1)

    def order(self) -> str:
        """Return the text that tells the mock what to answer."""
        if self.kind == "plain":
            return f"bench:plain:{self.size_bytes}"
        return f"bench:stream:{self.events}:{self.pace_ms}" + (f":{self.at_once}" if self.at_once else "")

    def turns(self, host: str) -> list[tuple[bytes, bytes]]:
        """Return what is asked in turn, and what each must be answered."""
        if self.variants == 1:
            answer = self.answer()
            return [(self.request(host, credential(number)), answer) for number in range(self.keys)]
        found = []
        for number in range(self.variants):
            trace = (("traceparent", f"00-{number + 1:032x}-{number + 1:016x}-01"),)
            one = replace(self, size_bytes=self.size_bytes + 7 * number, headers=(*self.headers, *trace))
            found.append((one.request(host, credential(number % self.keys)), one.answer()))
        return found

    def request(self, host: str, key: str = CREDENTIAL) -> bytes:
        """Return the whole request, head and body, as a client program would send it."""
        own = self.client == "openai_chat"
        system = f"{SYSTEM} {self.order()}"
        turns = [{"role": "user", "content": ""}]
        fields: dict[str, Any] = {"model": MODEL_ASKED, "stream": self.kind == "stream", "temperature": 0.2}
        if own:
            fields |= {"user": self.order(), "messages": [{"role": "system", "content": system}, *turns]}
        else:
            fields |= {"max_tokens": 1024, "metadata": {"user_id": self.order()}, "system": system, "messages": turns}
        body = _padded(fields, self.size_bytes)
        head = (
            f"POST /v1/{'chat/completions' if own else 'messages'} HTTP/1.1\r\nHost: {host}\r\n"
            "Accept: application/json\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {key}\r\nUser-Agent: bench/1\r\n"
            + ("" if own else "anthropic-version: 2023-06-01\r\n")
            + "".join(f"{name}: {value}\r\n" for name, value in self.headers)
            + f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def answer(self) -> bytes:
        """Return the body that every system must deliver: the mock's own, untouched, or the same in other words."""
        plain = self.kind == "plain"
        body = plain_answer(self.size_bytes) if plain else b"".join(stream_answer(self.events))
        if self.client == "openai_chat":
            return body
        return (translated_plain if plain else translated_stream)(body, self.client, MODEL_ASKED)

    def is_right(self, body: bytes, answer: bytes) -> bool:
        """Return whether `body` is the answer: byte for byte, or word for word where bytes are not promised."""
        return body == answer if self.exact else words_in(body) == words_in(answer)


def words_in(body: bytes) -> list[bytes]:
    """Return what an answer says, plain or streamed, however it is written: its texts that are not empty, in order."""
    return [text for text in _SAID.findall(body) if text]


def plain_answer(size_bytes: int) -> bytes:
    """Return a chat completion of exactly `size_bytes` bytes (at least some 400)."""
    fields = {
        "id": "chatcmpl-bench",
        "object": "chat.completion",
        "created": 1767225600,
        "model": MODEL_TARGET,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": ""}, "logprobs": None, "finish_reason": "stop"}
        ],
        "usage": USAGE,
    }
    return _padded(fields, size_bytes)


def stream_answer(events: int) -> list[bytes]:
    """Return `events` server-sent events: a role, words, a stop, the terminator."""
    if events < 4:
        raise ValueError(f"events: {events}: a stream has a role, a word, a stop and a terminator; ask for 4 or more")
    words = [_event({"content": f" word{n:05d}"}, None) for n in range(events - 3)]
    return [_event({"role": "assistant", "content": ""}, None), *words, _event({}, "stop"), b"data: [DONE]\n\n"]


def _event(delta: dict[str, str], finish_reason: str | None) -> bytes:
    chunk = {
        "id": "chatcmpl-bench",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": MODEL_TARGET,
        "system_fingerprint": "fp_bench",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}],
        **({"usage": USAGE} if finish_reason else {}),
    }
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def _padded(fields: dict[str, object], size_bytes: int) -> bytes:
    """Return `fields` as JSON, the last empty `"content":""` filled with words until it is `size_bytes` long."""
    bare = json.dumps(fields, separators=(",", ":")).encode()
    missing = max(0, size_bytes - len(bare))
    words = (b"the quick brown fox jumps over the lazy dog " * (missing // 44 + 1))[:missing]
    before, empty, after = bare.rpartition(b'"content":""')
    return before + empty[:-1] + words + b'"' + after


def suite(*, short: bool) -> tuple[Scenario, ...]:
    """Return what one round measures. `short` is for CI: the same shapes, fewer repetitions.

    Rounds are short and many rather than long and few: a shared machine is slow for seconds at a time, and a median
    can leave out a slow round only when it is one of many.
    """
    few = 3 if short else 1
    many: dict[str, Any] = {"pace_ms": 20, "connections": 200, "exchanges": 200}
    return (
        Scenario("plain-1k", "plain request, 1 KB", "plain", 1024, connections=16, exchanges=12_000 // few),
        Scenario("plain-varied", "varied request, 1 KB", "plain", connections=16, exchanges=6_000 // few, variants=61),
        Scenario("plain-20k", "plain request, 20 KB", "plain", 20 * 1024, connections=16, exchanges=6_000 // few),
        Scenario("stream-1", "event, 1 stream", "stream", events=1000 // few, pace_ms=1),
        Scenario("stream-200", "event, 200 streams", "stream", events=75 if short else 100, **many),
        Scenario("saturation", "64 connections", "plain", connections=64, exchanges=12_000 // few),
        Scenario("latency", "80 requests a second", "plain", connections=8, exchanges=240 // few, rate_per_s=80),
    )
