"""An upstream that does to order whatever an upstream can do, in a process of its own: `python -m tests.soak.upstream`.

It prints `{"port": N}` and serves until it is ended. A POST is obeyed by the order in its body, which travels in the
user's text and so through every dialect:

    soak:plain:SIZE · soak:delay:MS · soak:stream:EVENTS:PACE_MS · soak:held:EVENTS:PACE_MS (one, the rest on `/release`)
    soak:silent · soak:begun (one event, then nothing) · soak:cut:BYTES:RESET (that many bytes of the stream, then gone)
    soak:flood:MB:PACE_MS (60 kB at a time, no faster than it is read) · soak:tell (a 400 that repeats the credentials it was sent)

with `@ID` behind it when the moment at which the connection ended is asked for later. GET is for the driver: `/counts`,
`/endings`, `/release`, `/mode/ok`, `/mode/500`, `/mode/reset`. Times are CLOCK_MONOTONIC's, which all processes share.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from functools import cache
from typing import Any, cast

import uvloop

ORDER = re.compile(rb"soak:([a-z]+)(?::(\d+))?(?::(\d+))?(?:@(\w+))?")
LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)", re.IGNORECASE)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
CUT_EVENTS = 20
ANTHROPIC = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
OLLAMA = {
    "model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "hello"},
    "done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1,
}  # fmt: skip


def reply(body: bytes, status: int = 200) -> bytes:
    head = f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


@cache
def plain(size_bytes: int) -> bytes:
    """Return a whole chat completion of about that size, head and body."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    message = {"role": "assistant", "content": "x" * size_bytes}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    body = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return reply(json.dumps(body).encode())


def word(number: int) -> str:
    return f"word{number} "


def event(delta: dict[str, str], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    return b"data: %b\n\n" % json.dumps(data).encode()


@cache
def events(count: int) -> tuple[bytes, ...]:
    """Return a stream's events: the role, `count` words, the finish and the terminator."""
    words = (event({"content": word(number)}) for number in range(count))
    return (event({"role": "assistant", "content": ""}), *words, event({}, "stop"), b"data: [DONE]\n\n")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@cache
def chunks(count: int) -> tuple[bytes, ...]:
    return tuple(chunk(each) for each in events(count))


@cache
def wire(count: int) -> bytes:
    """Return a whole streamed answer as it goes over the wire."""
    return STREAM_HEAD + b"".join(chunks(count)) + LAST


TICK, TICK_S = chunk(event({"content": "tick "})), 20.0
"""What a held stream says while it waits: proxies give up after a minute of silence."""
FLOOD = chunk(event({"content": "x" * 60_000}))


class Facts:
    """What all connections know together."""

    def __init__(self) -> None:
        self.counts = {"posts": 0, "connections": 0, "open": 0, "held": 0, "smuggled": 0}
        self.endings: dict[str, list[float]] = {}
        """By id: when the request came, when its connection ended."""
        self.holding: set[Session] = set()
        self.open: set[Session] = set()
        self.mode = "ok"


class Session(asyncio.Protocol):
    """One connection: requests with a length, one after the other."""

    def __init__(self, facts: Facts, loop: asyncio.AbstractEventLoop) -> None:
        self._facts, self._loop = facts, loop
        self._buffer = b""
        self._left: list[bytes] = []
        self._pace_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._flood = 0
        self._full = False
        self._ids: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._facts.counts["connections"] += 1
        self._facts.counts["open"] += 1
        self._facts.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        now = time.monotonic()
        for each in self._ids:
            self._facts.endings[each].append(now)
        self._facts.counts["open"] -= 1
        self._facts.open.discard(self)
        self._facts.holding.discard(self)
        self._flood = 0
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n") + 4) > 3:
            head = self._buffer[:end]
            found = LENGTH.search(head)
            whole = end + (int(found[1]) if found else 0)
            if len(self._buffer) < whole:
                return
            body, self._buffer = self._buffer[end:whole], self._buffer[whole:]
            if head.startswith(b"GET "):
                self._control(head.split(b" ", 2)[1].decode("latin-1"))
            else:
                self._obey(head, body)

    def _control(self, path: str) -> None:
        facts, answer = self._facts, cast(Any, {})
        if path == "/counts":
            answer = facts.counts
        elif path == "/endings":
            answer = facts.endings
        elif path == "/release":
            for session in list(facts.holding):
                session._go_on()
            facts.holding.clear()
        elif path.startswith("/mode/"):
            facts.mode = path.removeprefix("/mode/")
            if facts.mode == "reset":
                # Idle ones too: a reused connection that dies unanswered is replaced, which is no attempt.
                for session in facts.open - {self}:
                    session._transport.abort()
        else:
            self._transport.write(reply(b'{"error":{"message":"not found"}}', 404))
            return
        self._transport.write(reply(json.dumps(answer).encode()))

    def _obey(self, head: bytes, body: bytes) -> None:
        facts = self._facts
        facts.counts["posts"] += 1
        facts.counts["smuggled"] += b"x-smuggled" in head.lower()
        if facts.mode == "500":
            self._transport.write(reply(b'{"error":{"message":"broken","type":"server_error","code":null}}', 500))
            return
        if facts.mode == "reset":
            self._transport.abort()
            return
        order = ORDER.search(body)
        if order is None:
            self._answer_in_the_dialect_of(head)
            return
        kind, first, second = order[1].decode(), int(order[2] or 0), int(order[3] or 0)
        if order[4]:
            self._ids.append(order[4].decode())
            facts.endings[self._ids[-1]] = [time.monotonic()]
        getattr(self, f"_do_{kind}")(first, second, head)

    def _answer_in_the_dialect_of(self, head: bytes) -> None:
        if b" /v1/messages" in head:
            self._transport.write(reply(json.dumps(ANTHROPIC).encode()))
        elif b" /api/chat" in head:
            self._transport.write(reply(json.dumps(OLLAMA).encode()))
        else:
            self._transport.write(plain(5))

    def _do_plain(self, size_bytes: int, _: int, head: bytes) -> None:
        self._transport.write(plain(size_bytes))

    def _do_delay(self, milliseconds: int, _: int, head: bytes) -> None:
        self._timer = self._loop.call_later(milliseconds / 1000, self._transport.write, plain(5))

    def _do_silent(self, *_: Any) -> None:
        """Say nothing."""

    def _do_begun(self, *_: Any) -> None:
        self._transport.write(STREAM_HEAD + b"".join(chunks(1)[:2]))

    def _do_stream(self, count: int, pace_ms: int, head: bytes) -> None:
        self._begin(count, pace_ms)
        self._timer = self._loop.call_later(self._pace_s, self._next)

    def _do_held(self, count: int, pace_ms: int, head: bytes) -> None:
        self._begin(count, pace_ms or 50)
        self._facts.holding.add(self)
        self._facts.counts["held"] += 1
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._transport.write(TICK)
        self._timer = self._loop.call_later(TICK_S, self._tick)

    def _do_cut(self, at: int, reset: int, head: bytes) -> None:
        self._transport.write(wire(CUT_EVENTS)[:at])
        # Closing sends FIN after what was written; aborting throws away what the kernel has not sent yet.
        (self._transport.abort if reset else self._transport.close)()

    def _do_flood(self, megabytes: int, pace_ms: int, head: bytes) -> None:
        self._flood, self._pace_s = megabytes * 16, pace_ms / 1000
        self._transport.write(STREAM_HEAD)
        self._pour()

    def _pour(self) -> None:
        if self._flood and not self._full:
            self._flood -= 1
            self._transport.write(FLOOD)
            self._timer = self._loop.call_later(self._pace_s, self._pour)

    def _do_tell(self, *given: Any) -> None:
        said = f"refused: {given[-1].decode('latin-1')}"
        self._transport.write(reply(json.dumps({"error": {"message": said, "type": "x", "code": "x"}}).encode(), 400))

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        if self._flood:
            self._pour()

    def _begin(self, count: int, pace_ms: int) -> None:
        first, second, *self._left = chunks(count)
        self._pace_s = pace_ms / 1000
        self._transport.write(STREAM_HEAD + first + second)

    def _go_on(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._pace_s, self._next)

    def _next(self) -> None:
        self._transport.write(self._left.pop(0))
        if self._left:
            self._timer = self._loop.call_later(self._pace_s, self._next)
        else:
            self._timer = None
            self._transport.write(LAST)


async def main() -> None:
    loop, facts = asyncio.get_running_loop(), Facts()
    server = await loop.create_server(lambda: Session(facts, loop), "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(json.dumps({"port": server.sockets[0].getsockname()[1]}) + "\n")
    sys.stdout.flush()
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main())
