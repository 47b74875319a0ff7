"""A live answer that a plugin gives itself: its events, in the client's dialect, as they come."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Final

from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.answered import answer, context_of
from gateway.chat import ChatReply, Event, Failure, Start, Stop
from gateway.errors import GatewayError, InternalError, UpstreamError
from gateway.exchange import Exchange, Reply
from gateway.fold import fold, is_content

if TYPE_CHECKING:
    from gateway.relay.client import ClientStream

KEEP_ALIVE_S: Final = 15.0
"""Silence after which the client gets the head, and then its dialect's keep-alive."""
HELD_BYTES: Final = 64 * 1024
"""A preamble longer than this is let go: it is content in all but name."""
LATE_S: Final = 0.1
"""How long after its deadline an answer is ended: what it waits for has the same deadline, and says more."""
LETTING_GO_S: Final = 1.0
"""How long a plugin's events may take to be closed."""


async def answer_events(exchange: Exchange, events: AsyncIterator[Event], now_s: float) -> Reply:
    """Return an answer made of `events` as they come; it returns when the head is known: at the first content, or after
    15 s of silence. `now_s` is Unix time.

    The events end with Usage and Stop. They come at the pace at which the client reads, observers see them, and they
    are closed when the client leaves. What they raise before the first content is raised here; later it becomes the
    error event, and no terminator follows. A client that asked for no stream gets the whole answer at its end.

    Raises: what `events` raise; InternalError when they end without a Stop.
    """
    if exchange.origin is not None:
        piped = Piped(exchange, events)
        exchange.sources.append(piped)
        await piped.begin()
        return Reply(200, {}, piped)
    if not exchange.request.stream:
        return answer(exchange, await folded(events), now_s)
    live = LiveAnswer(exchange, events, now_s)
    exchange.sources.append(live)
    await live.begin()
    return Reply(200, {hdrs.CONTENT_TYPE: exchange.dialect.stream_type}, live)


async def folded(events: AsyncIterator[Event]) -> ChatReply:
    """Return the whole answer that `events` add up to. Raises: what they raise, InternalError without a Stop."""
    seen: list[Event] = []
    try:
        async for event in events:
            refuse_failure(event)
            seen.append(event)
    finally:
        await close(events)
    if not any(isinstance(event, Stop) for event in seen):
        raise unfinished()
    start = next((event for event in seen if isinstance(event, Start)), Start())
    return fold(ChatReply(id=start.id, model=start.model, created_s=start.created_s, parts=()), seen)


class LiveAnswer:
    """The body of such an answer. One task reads the events; `pump` gives what it made of them to the client."""

    def __init__(self, exchange: Exchange, events: AsyncIterator[Event], now_s: float) -> None:
        loop = asyncio.get_running_loop()
        self.error: GatewayError | None = None
        self._exchange, self._events, self._loop = exchange, events, loop
        route = exchange.route
        self._chain = None if route is None else route.chain
        self._show = None if self._chain is None else self._chain.watcher(exchange)
        self._renderer = exchange.dialect.stream_renderer(context_of(exchange, now_s))
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._tail = b""
        self._raised: Exception | None = None
        self._content: asyncio.Future[None] = loop.create_future()
        self._may_write = asyncio.Event()
        self._client: ClientStream | None = None
        self._wrote_at = loop.time()
        self._task = loop.create_task(self._run())
        late_s = exchange.deadline.remaining() + LATE_S
        self._timer = loop.call_later(late_s, self._abort, UpstreamError("timeout", "the answer did not come in time"))
        exchange.on_abort(self._abort)

    async def begin(self) -> None:
        """Wait for the first content, 15 s at most. Raises: what came instead of it."""
        try:
            both: list[asyncio.Future[None]] = [self._task, self._content]
            await asyncio.wait(both, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.close()
            raise
        if self._task.done() and not self._content.done() and (error := self._raised or self.error) is not None:
            await self.close()
            raise error

    # --- from the plugin ---------------------------------------------------------------------------

    async def _run(self) -> None:
        """Render every event; go no further than the client reads."""
        try:
            try:
                await self._render_all()
            finally:
                await close(self._events)
        except Exception as error:  # the plugin's, or a child's: fail closed, `pump` or `begin` tells it
            self._raised = error

    async def _render_all(self) -> None:
        exchange, renderer, content = self._exchange, self._renderer, self._content
        is_whole = False
        async for event in self._events:
            refuse_failure(event)
            if self._show is not None:
                self._show(event)
            is_whole = is_whole or isinstance(event, Stop)
            out = renderer.render(event)
            if out:
                self._write(out)
            if not content.done() and (is_content(event) or self._held_bytes > HELD_BYTES):
                exchange.first_token_at_s = exchange.first_token_at_s or exchange.deadline.now()
                content.set_result(None)
            if content.done() and not self._may_write.is_set():
                await self._may_write.wait()
        if not is_whole:
            raise unfinished()
        if self._chain is not None and self._chain.completers:
            await self._chain.complete(exchange)
        self._tail = renderer.end(int((exchange.deadline.now() - exchange.started_at_s) * 1e9))

    def _write(self, out: bytes) -> None:
        if self._client is None:
            self._held.append(out)
            self._held_bytes += len(out)
        else:
            self._wrote_at = self._loop.time()
            self._client.write(out)

    # --- to the client -----------------------------------------------------------------------------

    async def pump(self, client: ClientStream, status: int, headers: CIMultiDict[str]) -> web.StreamResponse:
        """Relay to the end. Raises: ConnectionError, CancelledError when the client leaves."""
        self._exchange.committed = True
        first, self._held = b"".join(self._held), []
        if client.opened:
            if first:
                client.write(first)
        else:
            await client.open(status, headers, first or self._exchange.dialect.keep_alive)
        client.stop, client.resume = self._may_write.clear, self._may_write.set
        self._client, self._wrote_at = client, self._loop.time()
        if self._held:  # came while the head was being written
            client.write(b"".join(self._held))
        if not client.paused:
            self._may_write.set()
        while not self._task.done():
            quiet_s = self._loop.time() - self._wrote_at
            await asyncio.wait([self._task], timeout=max(0.0, KEEP_ALIVE_S - quiet_s))
            if self._loop.time() - self._wrote_at >= KEEP_ALIVE_S and not self._task.done():
                self._keep_alive(client)
        if self._raised is not None and self.error is None:
            self.error = as_gateway_error(self._raised)
        if self.error is None:
            return await client.close(self._tail)
        failed = self._renderer.fail(self.error, self._exchange.id)
        return await client.close(failed or self._exchange.dialect.render_error_event(self.error, self._exchange.id))

    def _keep_alive(self, client: ClientStream) -> None:
        self._wrote_at = self._loop.time()
        if self._exchange.dialect.keep_alive and not client.paused:
            client.write(self._exchange.dialect.keep_alive)

    def _abort(self, error: GatewayError) -> None:
        """End with `error`: the head is out, or `begin` raises it."""
        if not self._task.done():
            self.error = self.error or error
            self._task.cancel()

    async def close(self) -> None:
        """Close the events, and so what they wait for."""
        self._timer.cancel()
        self._exchange.on_abort(None)
        if not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task], timeout=LETTING_GO_S)
        client, self._client = self._client, None
        if client is not None:
            client.stop = client.resume = None  # they and this answer would hold one another


class Piped:
    """The same for a child exchange: who asked reads the events themselves, at its own pace."""

    def __init__(self, exchange: Exchange, events: AsyncIterator[Event]) -> None:
        self._events = events
        route = exchange.route
        self._show = route.chain.watcher(exchange) if route is not None and route.chain is not None else None
        self._held: list[Event] = []
        self._is_whole = False

    async def begin(self) -> None:
        """Read up to the first content. Raises: what came instead of it."""
        while not self._held or not is_content(self._held[-1]):
            event = await self._read()
            if event is None:
                return
            self._held.append(event)

    def __aiter__(self) -> Piped:
        return self

    async def __anext__(self) -> Event:
        if self._held:
            return self._held.pop(0)
        event = await self._read()
        if event is None:
            raise StopAsyncIteration
        return event

    async def close(self) -> None:
        """Close the events, unless somebody still waits for the next: whoever that is, is being cancelled."""
        if not getattr(self._events, "ag_running", False):
            await close(self._events)

    async def _read(self) -> Event | None:
        event = await anext(self._events, None)
        if event is None:
            if not self._is_whole:
                raise unfinished()
            return None
        refuse_failure(event)
        if self._show is not None:
            self._show(event)
        self._is_whole = self._is_whole or isinstance(event, Stop)
        return event


def refuse_failure(event: Event) -> None:
    """Raises: UpstreamError for an event that says the answer failed."""
    if type(event) is Failure:
        raise UpstreamError("error_event", event.message, code=event.code, status=event.status)


def unfinished() -> InternalError:
    """Return what is wrong with events that just stop coming: nobody may take them for a whole answer."""
    return InternalError("the answer's events ended without a Stop")


def as_gateway_error(error: Exception) -> GatewayError:
    """Return `error` as the client may see it."""
    if isinstance(error, GatewayError):
        return error
    failure = InternalError("the gateway failed to handle this request")
    failure.__cause__ = error
    return failure


async def close(events: AsyncIterator[Any]) -> None:
    """Close an asynchronous generator; any other iterator has nothing to close."""
    aclose = getattr(events, "aclose", None)
    if aclose is not None:
        await aclose()
