"""The built-in provider `echo`: answers in every dialect without network or key, for demos, tests and first steps."""

from __future__ import annotations

import asyncio
import random as randomness
import time
from collections.abc import Callable, Iterator
from types import TracebackType

import msgspec
from multidict import CIMultiDict

from gateway.chat import ChatReply, Event, Part, Start, Stop, Text, TextDelta, ToolCallDelta
from gateway.dialects.endpoints import Endpoint, find
from gateway.dialects.protocol import AnswerContext, Dialect
from gateway.dialects.table import DIALECTS
from gateway.errors import GatewayError, MethodNotAllowed, NotFound, Unavailable, UpstreamError
from gateway.upstream.echo_plain import answer as plain_answer
from gateway.upstream.echo_words import EchoAnswer, echo
from gateway.upstream.transport import Sink, UpstreamRequest

_JSON = "application/json"
_PIECES_A_TURN = 32


class EchoTransport:
    """Says back what the user said last, word by word when streamed; see `echo_words` for what it counts.

    `delay_s` is waited before the answer and between the words of a stream (seconds, 0: not at all). `fail` is the
    fraction of requests (0 to 1) that are answered with 503 instead, or the dialect's own number for overload.
    `clock` tells Unix time; `random` returns numbers from 0 up to 1, one a request while `fail` is not 0.
    """

    request_tail: None = None

    def __init__(
        self,
        delay_s: float = 0.0,
        fail: float = 0.0,
        clock: Callable[[], float] = time.time,
        random: Callable[[], float] = randomness.random,
    ) -> None:
        self.delay_s, self.fail = delay_s, fail
        self._clock, self._random = clock, random
        self._count = 0

    def send(self, request: UpstreamRequest, *, deadline: float) -> EchoCall:
        """Return the exchange as a context manager; see `transport.Transport`."""
        return EchoCall(self, request, deadline)

    async def close(self) -> None:
        """Do nothing: there is no connection."""

    def answer(self, request: UpstreamRequest, body: bytes) -> tuple[int, str, bytes | Iterator[bytes]]:
        """Return status, content type, and a body or a stream's pieces."""
        endpoint = find(request.path.partition("?")[0].rstrip("/"))
        dialect = DIALECTS["openai_chat" if endpoint is None else endpoint.dialect]
        self._count += 1
        now_s = self._clock()
        id = f"echo{int(now_s * 1000):x}{self._count:x}"
        try:
            if self.fail and self._random() < self.fail:
                raise Unavailable("the echo provider fails as often as it was told to")
            if endpoint is None:
                raise NotFound("the echo provider does not know this path")
            if request.method not in endpoint.methods:
                raise MethodNotAllowed(f"{request.method} is not allowed here; use {' or '.join(endpoint.methods)}")
            return _served(endpoint, dialect, body, id, now_s)
        except GatewayError as error:
            status, text = dialect.render_error(error, id)
            return status, _JSON, text


def _served(
    endpoint: Endpoint, dialect: Dialect, body: bytes, id: str, now_s: float
) -> tuple[int, str, bytes | Iterator[bytes]]:
    plain = plain_answer(endpoint.name, body, id, int(now_s))
    if isinstance(plain, dict):
        return 200, _JSON, msgspec.json.encode(plain)
    if plain is not None:
        return 200, dialect.stream_type, plain
    if endpoint.kind != "chat":
        raise NotFound(f"the echo provider does not serve {endpoint.path}; name another provider for it")
    chat = dialect.parse_request(body)
    said = echo(chat)
    context = AnswerContext(id=id, model=chat.model, now_s=now_s, request=chat)
    if chat.stream:
        return 200, dialect.stream_type, _streamed(dialect, said, context)
    parts: tuple[Part, ...] = (Text(text="".join(said.words)),) if said.call is None else (said.call,)
    reply = ChatReply(
        id="",
        model=chat.model,
        created_s=int(now_s),
        parts=parts,
        stop=said.stop,
        stop_sequence=said.sequence,
        usage=said.usage,
    )
    return 200, _JSON, dialect.render_reply(reply, context)


def _streamed(dialect: Dialect, said: EchoAnswer, context: AnswerContext) -> Iterator[bytes]:
    renderer = dialect.stream_renderer(context)
    for event in _events(said, context):
        if piece := renderer.render(event):
            yield piece
    if piece := renderer.end():
        yield piece


def _events(said: EchoAnswer, context: AnswerContext) -> Iterator[Event]:
    yield Start(model=context.model, created_s=int(context.now_s))
    if said.call is not None:
        yield ToolCallDelta(index=0, id=said.call.id, name=said.call.name, custom=said.call.custom)
        yield ToolCallDelta(index=0, arguments=said.call.arguments, custom=said.call.custom)
    for word in said.words:
        yield TextDelta(word)
    yield said.usage
    yield Stop(said.stop, said.sequence)


class EchoCall:
    """One request and its answer: the context manager that `send` returns, and the response inside it."""

    head: None = None

    def __init__(self, owner: EchoTransport, request: UpstreamRequest, deadline: float) -> None:
        self._owner, self._request, self._deadline = owner, request, deadline
        self._body: bytes | Iterator[bytes] = b""
        self._pump: asyncio.Task[None] | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._open = True
        self.status = 0
        self.headers: CIMultiDict[str] = CIMultiDict()

    async def __aenter__(self) -> EchoCall:
        request, delay_s = self._request, self._owner.delay_s
        request.is_sent = True
        body = request.body
        if not isinstance(body, bytes):
            body = b"".join([piece async for piece in body])
        if delay_s:
            await self._wait(delay_s, request.head_s)
        self.status, kind, self._body = self._owner.answer(request, body)
        self.headers = CIMultiDict({"content-type": kind})
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    async def _wait(self, delay_s: float, head_s: float) -> None:
        now = asyncio.get_running_loop().time()
        until = min(self._deadline, now + head_s) if head_s else self._deadline
        try:
            async with asyncio.timeout_at(until):
                await asyncio.sleep(delay_s)
        except TimeoutError as error:
            raise UpstreamError("timeout", "the upstream did not answer in time") from error

    def at_hand(self) -> bytes | None:
        return None

    async def read(self, limit: int) -> bytes:
        if not self._open:
            raise UpstreamError("broken", "the answer was given up")
        body = self._body if isinstance(self._body, bytes) else b"".join(self._body)
        if len(body) > limit:
            raise UpstreamError("bad_response", "the upstream's answer is too large")
        return body

    def start(self, sink: Sink) -> None:
        if self._open:
            self._pump = asyncio.get_running_loop().create_task(self._push(sink))

    def pause(self) -> None:
        self._flowing.clear()

    def resume(self) -> None:
        self._flowing.set()

    def abort(self) -> None:
        self._open = False
        if self._pump is not None:
            self._pump.cancel()

    async def _push(self, sink: Sink) -> None:
        delay_s = self._owner.delay_s
        pieces = iter((self._body,)) if isinstance(self._body, bytes) else self._body
        for count, piece in enumerate(pieces):
            if delay_s and count:
                await asyncio.sleep(delay_s)
            elif count % _PIECES_A_TURN == _PIECES_A_TURN - 1:
                await asyncio.sleep(0)  # a long answer leaves the loop to others now and then
            await self._flowing.wait()
            if not self._open:
                return
            if piece:
                sink.data(piece)
        if self._open:
            sink.end(None)
