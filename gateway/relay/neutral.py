"""A child's stream: upstream's bytes become events, which stay events.

What the translated speed would render for a client is handed to whoever asked, one event at a time. Upstream is paused
while the reader is behind.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from gateway.chat import Event
from gateway.dialects.protocol import AnswerContext, StreamParser
from gateway.errors import GatewayError, InternalError
from gateway.relay.translated import TranslatedStream

MOST_WAITING: Final = 256
"""How many events may wait for their reader before upstream is paused."""


class NeutralStream(TranslatedStream):
    """Iterate over it once: its events, then the end. Raises: GatewayError where the answer breaks."""

    def __init__(self, *args: Any, parser: StreamParser, context: AnswerContext) -> None:
        self._events_out: deque[Event] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._is_paused = False
        super().__init__(*args, parser=parser, context=context)

    def __aiter__(self) -> NeutralStream:
        return self

    async def __anext__(self) -> Event:
        events = self._events_out
        while not events:
            if self._over:
                if self.error is not None:
                    raise self.error
                raise StopAsyncIteration
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        event = events.popleft()
        if self._is_paused and not events:
            self._is_paused = False
            if not self._over:
                self._resume()
        return event

    @property
    def reader_is_behind(self) -> bool:
        """Whether upstream is paused for the reader's sake."""
        return self._is_paused

    def write(self, event: Event) -> bytes:
        """Keep `event` for the reader."""
        self._events_out.append(event)
        if len(self._events_out) >= MOST_WAITING and not self._is_paused:
            self._is_paused = True
            self._response.pause()
        self._wake()
        return b""

    def write_end(self) -> bytes:
        """Say nothing: the end is the end of the iteration."""
        return b""

    def _settle(self, tail: bytes) -> None:
        super()._settle(tail)
        self._wake()

    def detach(self) -> None:
        """Stop without letting go of upstream."""
        super().detach()
        self._wake()

    async def close(self) -> None:
        """Let go of upstream; who still reads is told that there is no more."""
        if not self._over and self.error is None:
            self.error = closed()
        self._events_out.clear()
        await super().close()
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


def closed() -> GatewayError:
    """Return what is told to who reads on after the child has ended."""
    return InternalError("the child exchange has ended; ask for its answer inside its block")
