"""5 stream: one live upstream answer on its way to the client.

A `LiveStream` is the transport's sink. Until the first content (the commit point) it holds back what came, so that
attempts may still drop it and try another target; then `pump` attaches the client and bytes are pushed straight
through. Whatever happens, it ends once: completed with the dialect's terminator, failed with its error event
and no terminator, or given up because the client left.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

from aiohttp import web
from multidict import CIMultiDict

from gateway.chain import Chain, as_gateway_error
from gateway.chat import Usage
from gateway.dialects.protocol import Dialect
from gateway.errors import GatewayError, UpstreamError
from gateway.exchange import Attempt
from gateway.relay.client import ClientStream
from gateway.upstream.repeated import conceal, concealed
from gateway.upstream.transport import UpstreamResponse

HELD_BYTES = 64 * 1024
"""A preamble longer than this is let go: it is content in all but name."""
WAITING_BYTES = 256 * 1024
"""How much may wait for the client to be attached before upstream is paused."""
KEEP_ALIVE_S = 15.0
"""Silence after which the client gets its dialect's keep-alive."""


class LiveStream:
    """Base of verbatim and translated streams: holding, timers, back-pressure, the one end.

    Subclasses implement `digest` (bytes from upstream in, bytes for the client out) and `drain` (the upstream ended
    cleanly). They set `content` at the first content, call `finish(tail)` with the terminator once the answer is whole,
    and `fail(error, tail)` when it cannot be.
    """

    __slots__ = (
        "_client", "_closed", "_done", "_held", "_held_bytes", "_last_at", "_lease", "_loop", "_now", "_over", "_raw",
        "_response", "_seen_event", "_tail", "_timer", "_waiting", "_wrote_at", "attempt", "chain",
        "content", "dialect", "error", "exchange", "ready",
    )  # fmt: skip
    speaks = True
    """Whether keep-alives and error events may stand between its bytes."""

    def __init__(
        self,
        attempt: Attempt,
        chain: Chain,
        dialect: Dialect,
        lease: AbstractAsyncContextManager[UpstreamResponse],
        response: UpstreamResponse,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.attempt, self.exchange, self.chain, self.dialect = attempt, attempt.exchange, chain, dialect
        self.ready: asyncio.Future[None] = loop.create_future()
        self.content = False
        self.error: GatewayError | None = None
        self._lease, self._response, self._loop = lease, response, loop
        self._done: asyncio.Future[None] = loop.create_future()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._waiting = False
        self._tail = b""
        self._over = False
        self._closed = False
        self._client: ClientStream | None = None
        self._raw: asyncio.Transport | None = None  # the client's, while whole HTTP chunks may go there as they are
        self._now = loop.time
        self._last_at = self._wrote_at = loop.time()
        self._seen_event = not self.speaks
        self._timer: asyncio.TimerHandle | None = None

    # --- from upstream ---------------------------------------------------------------------------

    def start(self) -> None:
        """Begin taking from upstream."""
        self.exchange.on_abort(self.fail)
        self._watch()
        self._response.start(self)

    def data(self, chunk: bytes) -> None:
        """Take the next piece of the body."""
        if self._over or self.attempt.lost:
            return
        self._last_at = self._now()
        self._seen_event = True
        try:
            out = self.digest(chunk)
        except Exception as error:  # a plugin's observer or a dialect's bug must end this stream only
            self.crash(error)
            return
        if out and not self._over:
            self.put(out)
        if self.content and not self.ready.done():
            self.attempt.win()
            self.ready.set_result(None)

    def end(self, error: UpstreamError | None) -> None:
        """Take the end of the body: `error` None when HTTP says it is whole."""
        if self._over or self.attempt.lost:
            return
        try:
            self.drain(error)
        except Exception as crash:  # as in `data`
            self.crash(crash)

    def digest(self, chunk: bytes) -> bytes:
        """Return what the client gets of `chunk`, possibly nothing yet."""
        raise AssertionError("a stream says how it is digested")

    def drain(self, error: UpstreamError | None) -> None:
        """Settle how the stream ended: call `finish` or `fail`."""
        raise AssertionError("a stream says how it ends")

    # --- what subclasses call ----------------------------------------------------------------------

    def put(self, out: bytes) -> None:
        """Give `out` to the client, or hold it until there is one."""
        client = self._client
        if client is not None:
            self._wrote_at = self._last_at
            client.write(out)
            return
        self._held.append(out)
        self._held_bytes += len(out)
        if self._held_bytes > HELD_BYTES:
            self.content = True
            if self._held_bytes > WAITING_BYTES and not self._waiting:
                self._waiting = True
                self._response.pause()

    def used(self) -> tuple[Usage | None, int]:
        """Return what the upstream said that it used, and how many bytes of words came."""
        return None, 0

    def commit(self) -> None:
        """Note the first content: from here on no other target may be tried."""
        self.content = True
        if self.exchange.first_token_at_s is None:
            self.exchange.first_token_at_s = self.exchange.deadline.now()

    def finish(self, tail: bytes) -> None:
        """The answer is whole; `tail` is let go once every `complete` hook has run."""
        if not self._over:
            self._settle(tail)

    def fail(self, error: GatewayError, tail: bytes = b"") -> None:
        """The answer cannot be whole. `tail` is the upstream's own error event when it sent one.

        Content that came in the same piece as an upstream's error is let go all the same: what the client sees must
        not depend on how the bytes were cut.
        """
        if self._over:
            return
        provider, client = self.attempt.target.provider, self.exchange.request.headers
        conceal(error, provider, client)
        tail = concealed(tail, provider, client) if tail else tail
        self.error = error
        if not self.ready.done() and not (self.content and isinstance(error, UpstreamError)):
            self.ready.set_exception(error)
            self.ready.exception()  # attempts may be gone already; then nobody else will look
        self._settle(tail)

    def crash(self, error: BaseException) -> None:
        """End with an internal error; the cause goes to the log with the exchange's end."""
        failure = as_gateway_error(error)
        if failure is not error:
            failure.__cause__ = error
        self.fail(failure)

    def _settle(self, tail: bytes) -> None:
        self._over = True
        self._raw = None
        self._tail = tail
        self._stop_timer()
        self._account()
        if not self.ready.done():
            self.attempt.win()
            self.ready.set_result(None)
        if not self._done.done():
            self._done.set_result(None)

    def _account(self) -> None:
        """Note what this try used, once. A try that failed without a word of content used nothing (U09)."""
        attempt = self.attempt
        if attempt.received_at_s is not None:
            return
        attempt.received_at_s = self.exchange.deadline.now()
        if self.error is not None:
            attempt.error = attempt.error or self.error
            if not self.content:
                return
        attempt.usage, attempt.said_bytes = self.used()
        self.exchange.usage = attempt.usage or self.exchange.usage

    # --- to the client -----------------------------------------------------------------------------

    async def pump(self, client: ClientStream, status: int, headers: CIMultiDict[str]) -> web.StreamResponse:
        """Relay to the end. Raises: ConnectionError, CancelledError when the client leaves."""
        first, self._held, self._held_bytes = b"".join(self._held), [], 0
        if client.opened:
            if first:
                client.write(first)
        elif self._over and self.error is None and not self.chain.completers:
            self.exchange.committed = True
            await client.open(status, headers, first + self._tail)
            return await client.close()
        else:
            await client.open(status, headers, first)
        self.exchange.committed = True
        client.stop, client.resume = self._response.pause, self._resume
        self._client = client
        if not self._over:
            self._raw = client.raw
        if self._held:  # came while the head was being written
            client.write(b"".join(self._held))
            self._held = []
        if client.paused:
            self._response.pause()
        elif self._waiting:
            self._response.resume()
        await self._done
        return await self._close_client(client)

    async def _close_client(self, client: ClientStream) -> web.StreamResponse:
        if self.error is None and self.chain.completers:
            try:
                await self.chain.complete(self.exchange)
            except Exception as error:  # a plugin's; fail closed: the client must not take this for stored
                failure = as_gateway_error(error)
                if failure is not error:
                    failure.__cause__ = error
                self.error, self._tail = failure, b""
        if self.error is not None and not self._tail:
            return await self.end_badly(client, self.error)
        return await client.close(self._tail)

    async def end_badly(self, client: ClientStream, error: GatewayError) -> web.StreamResponse:
        """End for a client that has seen the head: the dialect's error event and no terminator."""
        return await client.close(self.error_event(error))

    def error_event(self, error: GatewayError) -> bytes:
        """Return the event that ends this stream for the client."""
        return self.dialect.render_error_event(error, self.exchange.id)

    def detach(self) -> None:
        """Stop without letting go of upstream: whoever opened it closes it."""
        self._closed = self._over = True
        self._stop_timer()
        self._account()
        self.exchange.on_abort(None)

    async def close(self) -> None:
        """Let go of upstream: kept alive when its answer was read to the end, closed otherwise."""
        if self._closed:
            return
        self._closed = self._over = True
        self._stop_timer()
        self._account()
        self.exchange.on_abort(None)
        if not self.ready.done():
            self.ready.cancel()
        await self._lease.__aexit__(None, None, None)
        client, self._client, self._raw = self._client, None, None
        if client is not None:
            client.stop = client.resume = None  # they and this stream would hold one another

    def _resume(self) -> None:
        self._last_at = self._loop.time()
        self._response.resume()

    @property
    def reader_is_behind(self) -> bool:
        """Whether nothing may come because it could not be passed on."""
        return self._client is not None and self._client.paused

    # --- time --------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Check the limits and sleep until the next can be due: one timer a stream, none a piece."""
        now = self._loop.time()
        timeouts = self.exchange.timeouts
        paused = self.reader_is_behind
        if not self._seen_event:
            silent_until = self.attempt.started_at_s + timeouts.first_token_s
        elif paused:
            silent_until = now + timeouts.idle_s
        else:
            silent_until = self._last_at + timeouts.idle_s
        due = min(silent_until, now + timeouts.idle_s, self.attempt.deadline.at)
        if now >= silent_until or now >= self.attempt.deadline.at:
            what = "first token" if not self._seen_event else "next piece"
            if now >= self.attempt.deadline.at:
                what = "whole answer"
            self._response.abort()
            self.fail(UpstreamError("timeout", f"the upstream's {what} did not come in time"))
            return
        if self._client is not None and not paused:
            quiet_until = max(self._wrote_at, self._last_at) + KEEP_ALIVE_S
            if now >= quiet_until:
                self._wrote_at = now
                if self.speaks and self.dialect.keep_alive:
                    self._client.write(self.dialect.keep_alive)
                quiet_until = now + KEEP_ALIVE_S
            due = min(due, quiet_until)
        else:
            due = min(due, now + KEEP_ALIVE_S)
        self._timer = self._loop.call_at(due, self._watch)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
