"""What a scripted upstream is told to do: steps, and the answers made of them."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Send:
    """Write bytes. `cuts` are offsets at which a new segment begins; `each_byte` makes every byte its own."""

    data: bytes
    cuts: tuple[int, ...] = ()
    each_byte: bool = False

    def segments(self) -> list[bytes]:
        """Return the pieces, each of which the client's kernel gets on its own."""
        if self.each_byte:
            return [self.data[i : i + 1] for i in range(len(self.data))]
        edges = [0, *sorted(self.cuts), len(self.data)]
        return [self.data[a:b] for a, b in itertools.pairwise(edges) if a < b]


class Gate:
    """A place in a script where the upstream waits until the test calls `open`. Stays open from then on."""

    def __init__(self) -> None:
        self._reached, self._open = asyncio.Event(), asyncio.Event()

    async def reached(self) -> None:
        """Return once an upstream stands at the gate: everything before it has been written."""
        await self._reached.wait()

    def open(self) -> None:
        """Let the script go on."""
        self._open.set()

    async def pass_through(self) -> None:
        """Wait as the upstream does; the scripted upstream's business."""
        self._reached.set()
        await self._open.wait()


@dataclass(frozen=True, slots=True)
class Stall:
    """Say nothing more, and keep the connection open until the other side closes it."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Send RST: the other side loses what it has not read yet."""


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection after what was written has gone out (FIN)."""


Step = Send | Gate | Stall | Reset | Close
Answer = bytes | Step | Sequence["bytes | Step"]
Headers = Iterable[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class ReceivedRequest:
    """One request as it came. `headers` keep order, case and doubles; `body` has its framing removed;
    `raw` is every byte of it; `connection` the number of the connection it came on, from 0."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    raw: bytes
    connection: int

    def header(self, name: str, default: str = "") -> str:
        """Return the first header of that name, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)

    def json(self) -> Any:
        """Return the body as JSON. Raises: ValueError."""
        return json.loads(self.body)


Script = Answer | Sequence[Answer] | Callable[[ReceivedRequest], Answer]


def reply_bytes(
    body: bytes,
    status: int = 200,
    headers: Headers = (),
    *,
    content_length: int | None = None,
    chunked: Sequence[int] | None = None,
    close: bool = False,
    each_byte: bool = False,
) -> list[bytes | Step]:
    """Return an answer with `body`.

    `content_length` lies about the length; `chunked` sends chunks of these sizes (the rest in one more) instead;
    `close` closes the connection afterwards without having said so; `each_byte` sends every byte on its own.
    """
    lines = [f"{name}: {value}\r\n" for name, value in headers]
    if chunked is None:
        lines.append(f"Content-Length: {len(body) if content_length is None else content_length}\r\n")
        framed = body
    else:
        lines.append("Transfer-Encoding: chunked\r\n")
        edges = [0]
        for size in chunked:
            edges.append(min(edges[-1] + size, len(body)))
        edges.append(len(body))
        framed = b"".join(_chunk(body[a:b]) for a, b in itertools.pairwise(edges) if a < b) + b"0\r\n\r\n"
    head = f"HTTP/1.1 {status} {_reason(status)}\r\n{''.join(lines)}\r\n".encode("latin-1")
    return [Send(head + framed, each_byte=each_byte), *([Close()] if close else [])]


def reply_json(body: Any, status: int = 200, headers: Headers = (), *, close: bool = False) -> list[bytes | Step]:
    """Return an answer with `body` as JSON."""
    text = json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()
    return reply_bytes(text, status, [("Content-Type", "application/json"), *headers], close=close)


def reply_sse(
    events: Iterable[Any],
    status: int = 200,
    headers: Headers = (),
    *,
    content_type: str = "text/event-stream",
    terminated: bool = True,
) -> list[bytes | Step]:
    """Return a chunked event stream, each event in a chunk and a segment of its own.

    An event is bytes (sent as they are), text or JSON (`data: …`), a pair (event name, text or JSON), or a step:
    `reply_sse([{"n": 1}, gate, {"n": 2}, "[DONE]"])`. `terminated` False leaves out the last chunk; after a
    Reset, Close or Stall nothing is sent anyway.
    """
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers)
    framing = f"Content-Type: {content_type}\r\n{extra}Transfer-Encoding: chunked\r\n\r\n"
    head = f"HTTP/1.1 {status} {_reason(status)}\r\n{framing}"
    steps: list[bytes | Step] = [Send(head.encode("latin-1"))]
    for event in events:
        if isinstance(event, Send | Gate | Stall | Reset | Close):
            steps.append(event)
        else:
            steps.append(Send(_chunk(_event(event))))
    if terminated:
        steps.append(Send(b"0\r\n\r\n"))
    return steps


def _event(event: Any) -> bytes:
    if isinstance(event, bytes):
        return event
    name, data = event if isinstance(event, tuple) else ("", event)
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"), ensure_ascii=False)
    return f"{f'event: {name}' + chr(10) if name else ''}data: {text}\n\n".encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _reason(status: int) -> str:
    return {200: "OK", 204: "No Content", 304: "Not Modified", 429: "Too Many Requests"}.get(status, "Status")
