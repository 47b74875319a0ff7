"""The translated speed: bytes → events → bytes, for another dialect or for a plugin that rewrites."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from gateway.chat import Event, Failure, Stop, Usage
from gateway.dialects.protocol import AnswerContext, StreamParser
from gateway.errors import GatewayError, UpstreamError
from gateway.fold import is_content
from gateway.relay.estimated import estimated_usage, said_bytes, used_so_far
from gateway.relay.stream import LiveStream
from gateway.relay.verbatim import cut_short


class TranslatedStream(LiveStream):
    """Events in the middle: parsed by the upstream's dialect, rewritten by transforms, rendered by the client's."""

    def __init__(self, *args: Any, parser: StreamParser, context: AnswerContext) -> None:
        super().__init__(*args)
        self._parser = parser
        self._renderer = self.dialect.stream_renderer(context)
        self._show = self.chain.watcher(self.exchange)
        self._said_bytes = 0
        self._stated: Usage | None = None
        self._stopped = False
        self._queue: asyncio.Queue[Event | None] | None = None
        self._rewriter: asyncio.Task[None] | None = None
        if self.exchange.transforms or self.chain.transformers:
            self._queue = asyncio.Queue()
            self._rewriter = self._loop.create_task(self._rewrite())

    def digest(self, chunk: bytes) -> bytes:
        """Return what the client's dialect says of the events `chunk` completed."""
        return self._take(self._parser.feed(chunk))

    def drain(self, error: UpstreamError | None) -> None:
        """Render the end: the terminator when the finish was seen, else the error."""
        if error is not None and error.kind == "timeout":
            self.fail(error)
            return
        out = self._take(self._parser.end())
        if out:
            self.put(out)
        if self._over:
            return
        if self._queue is not None:
            self._queue.put_nowait(None)
        else:
            self.finish(self.write_end())

    def used(self) -> tuple[Usage | None, int]:
        """Return what the upstream stated, before any transform, and what was counted."""
        return used_so_far(self._stated, self._said_bytes, is_whole=self._stopped), self._said_bytes

    def _take(self, events: list[Event]) -> bytes:
        out: list[bytes] = []
        for event in events:
            if isinstance(event, Failure):
                self._fail_with(event, out)
                return b""
            if isinstance(event, Usage):
                self._stated = self.exchange.usage = event
            elif isinstance(event, Stop):
                self._stopped = True
                if self._stated is None:
                    self._stated = self.exchange.usage = estimated_usage(self.exchange, self._said_bytes)
                    out.append(self._pass(self._stated))
            else:
                self._said_bytes += said_bytes(event)
            if not self.content and is_content(event):
                self.commit()
            out.append(self._pass(event))
        return b"".join(out)

    def _pass(self, event: Event) -> bytes:
        if self._queue is not None:
            self._queue.put_nowait(event)
            return b""
        if self._show is not None:
            self._show(event)
        return self.write(event)

    def write(self, event: Event) -> bytes:
        """Return what the client gets of `event`."""
        return self._renderer.render(event)

    def write_end(self) -> bytes:
        """Return how the client gets to know that this was all."""
        exchange = self.exchange
        return self._renderer.end(int((exchange.deadline.now() - exchange.started_at_s) * 1e9))

    def _fail_with(self, event: Failure, before: list[bytes]) -> None:
        if before:
            self.put(b"".join(before))
        if event.code == "stream_truncated":
            self.fail(cut_short(None))
        else:
            self.fail(UpstreamError("error_event", event.message, code=event.code, status=event.status))

    async def _rewrite(self) -> None:
        """Pull events through the transforms: the only place where a stream has a coroutine of its own."""
        try:
            async for event in self.chain.transformed(self.exchange, self._events()):
                if self._show is not None:
                    self._show(event)
                out = self.write(event)
                if out and not self._over:
                    self.put(out)
            if not self._over:
                self.finish(self.write_end())
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a plugin's transform: fail closed
            if not self._over:
                self.crash(error)

    async def _events(self) -> AsyncIterator[Event]:
        assert self._queue is not None
        while (event := await self._queue.get()) is not None:
            yield event

    def error_event(self, error: GatewayError) -> bytes:
        """Return the error as the renderer ends a stream that it has begun, or even ended but for its terminator."""
        return self._renderer.fail(error, self.exchange.id) or super().error_event(error)

    async def close(self) -> None:
        """Let go of upstream and of the transforms."""
        if self._rewriter is not None and not self._rewriter.done():
            self._rewriter.cancel()
        await super().close()
