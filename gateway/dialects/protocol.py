"""The wire formats, pure and synchronous: no asyncio, no aiohttp, no clock.

The protocols every dialect implements. A dialect turns its own bytes into the neutral words of
`gateway.chat` and back; one module a dialect, a new parser for every stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct, field

from gateway.chat import ChatReply, ChatRequest, Event, Usage
from gateway.errors import GatewayError, UpstreamError


class Target(Struct, frozen=True, kw_only=True):
    """What a request renderer must know of where the request goes. `quirks` are the provider's, from
    config/providers.yaml; `params` the route's defaults for body keys: whoever renders puts them in where the
    client named none, a dialect needs them only for what it would otherwise make up (Anthropic's max_tokens)."""

    model: str
    quirks: Mapping[str, object] = field(default_factory=dict)
    params: Mapping[str, object] = field(default_factory=dict)


class Rendered(Struct, frozen=True, kw_only=True):
    """A request body for upstream, headers it needs, and the client fields it could not carry."""

    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()


class AnswerContext(Struct, frozen=True, kw_only=True):
    """What an answer renderer must know: ids, the model name to show ("": the upstream's own), and what the
    client asked for.

    `now_s` is Unix time; `id` a unique suffix for ids the dialect makes up (`chatcmpl-…`, `msg_…`).
    """

    id: str
    model: str
    now_s: float
    request: ChatRequest | None = None
    duration_ns: int = 0


class StreamParser(Protocol):
    """One per stream. `feed` takes bytes however they were cut and returns the events now complete.

    `end` is called at the upstream's clean end; it returns what was still pending and, when the
    stream's finish was never seen, a Failure with code `stream_truncated`.
    """

    def feed(self, data: bytes) -> list[Event]: ...

    def end(self) -> list[Event]: ...


class StreamRenderer(Protocol):
    """One per stream. `render` returns wire bytes for an event, possibly none; `end` the rest and the
    success terminator, for an answer that took `duration_ns`. After `fail` (the dialect's error event, no
    terminator) nothing may follow."""

    def render(self, event: Event) -> bytes: ...

    def end(self, duration_ns: int = 0) -> bytes: ...

    def fail(self, error: GatewayError, request_id: str) -> bytes: ...


class StreamScanner(Protocol):
    """Watches a verbatim stream without changing it: one `see` per framed event or line.

    `see` may raise nothing. After it: `content` is true once the first content passed (non-empty text,
    reasoning, refusal, start of a tool call, or the stop), `finished` once the finish was seen (a stop reason),
    `terminated` once the success terminator was seen ([DONE], message_stop, response.completed, done: true),
    `error` is the stream's own error event, `usage` the last usage seen.
    `terminator` are the bytes to supply when a finished stream lacks its own, b"" where there are none.
    `quiet` is true when the event changed nothing and any that differs from it in the letters of its words alone (no
    quotation mark, no line end) will change nothing either: who finds such a one need not show it.
    """

    content: bool
    quiet: bool
    finished: bool
    terminated: bool
    error: UpstreamError | None
    usage: Usage | None
    terminator: bytes

    def see(self, event: bytes) -> None: ...

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """Return the error event that ends this stream, in step with what has passed (ids, numbering)."""


class Framer(Protocol):
    """Splits a stream into whole wire events: `feed` returns those now complete, each with its own blank
    line or newline, so that joining them gives the input; `tail` is the incomplete rest.

    An event above 1 MiB is not kept: `overflow` is then true and it comes in `sse.Piece`s, not to be parsed.
    """

    @property
    def tail(self) -> bytes: ...

    @property
    def overflow(self) -> bool: ...

    @property
    def is_between(self) -> bool:
        """Whether what comes next is the beginning of an event."""

    def feed(self, data: bytes) -> list[bytes]: ...


class Dialect(Protocol):
    """A wire format. `stream_type` is a stream's content type, `keep_alive` bytes that clients ignore."""

    name: str
    stream_type: str
    keep_alive: bytes

    def parse_request(self, body: bytes) -> ChatRequest:
        """Return the request in neutral words. Raises: BadRequest, with `param` naming the field."""

    def render_request(self, chat: ChatRequest, target: Target) -> Rendered:
        """Return the upstream body. Raises: BadRequest for what this dialect cannot say at all."""

    def parse_reply(self, body: bytes) -> ChatReply:
        """Return a plain answer. Raises: UpstreamError(bad_response | error_event)."""

    def render_reply(self, reply: ChatReply, context: AnswerContext) -> bytes: ...

    def usage(self, body: bytes) -> Usage | None:
        """Return a plain answer's usage, None when it has none. Raises: UpstreamError(bad_response)
        when the body is not a JSON object, UpstreamError(error_event) when it is an error object under a 200."""

    def framer(self) -> Framer: ...

    def scanner(self) -> StreamScanner: ...

    def stream_parser(self) -> StreamParser: ...

    def stream_renderer(self, context: AnswerContext) -> StreamRenderer: ...

    def parse_error(self, status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
        """Return an upstream's refusal (status 400 and above) as an error whose text is cleaned and
        cut at 500 characters. Never raises, whatever the body is."""

    def render_error(self, error: GatewayError, request_id: str) -> tuple[int, bytes]:
        """Return the HTTP status and JSON body a client of this dialect gets."""

    def render_error_event(self, error: GatewayError, request_id: str) -> bytes:
        """Return the same error as the stream event that ends a stream without a terminator."""
