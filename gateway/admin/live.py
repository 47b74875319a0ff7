"""The overview as it goes on: server-sent events, one a second, the same for all who listen.

`GET /api/live`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from typing import Any, Final

from aiohttp import web

from gateway.admin import overview
from gateway.admin.desk import Desk
from gateway.admin.doorman import DOORMAN
from gateway.admin.spend import Spend
from gateway.errors import Unavailable

EVERY_S: Final = 1.0
POINTS: Final = 2
SPEND_EVERY: Final = 15
"""Every so many events what was spent is among the facts."""
MOST_LISTENERS: Final = 16
PATIENCE_S: Final = 5.0
"""How long a listener may leave an event unread before it is cut: it finds its way back when it reads again."""


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the path."""
    return (web.get("/api/live", Live(desk).listen, allow_head=False),)


class Live:
    """Makes an event a second for as long as somebody listens."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._spend = desk, Spend(desk)
        self._listening = 0
        self._making: asyncio.Task[None] | None = None
        self._next: asyncio.Future[bytes]

    async def listen(self, request: web.Request) -> web.StreamResponse:
        """Send events until the listener leaves, stops reading, or may no longer be here. Raises: Unavailable."""
        if self._listening >= MOST_LISTENERS:
            raise Unavailable(f"{MOST_LISTENERS} listen already, the most that may", retry_after_s=5.0)
        doorman = request.app[DOORMAN]
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "x-accel-buffering": "no"})
        self._listening += 1
        try:
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            # SECURITY: asked again for every event, so that it ends with the session it belongs to.
            while doorman.refusal(request) is None and (event := await self._event()):
                async with asyncio.timeout(PATIENCE_S):
                    await response.write(event)
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._listening -= 1
            if not self._listening and self._making is not None:
                self._making.cancel()
        return response

    async def _event(self) -> bytes:
        """Return the next event; nothing when there are no more."""
        if self._making is None or self._making.done():
            loop = asyncio.get_running_loop()
            self._next = loop.create_future()
            self._making = loop.create_task(self._make(), name="admin-live")
            self._making.add_done_callback(self._ended)
        return await asyncio.shield(self._next)

    async def _make(self) -> None:
        number = 0
        while not self._desk.closing.is_set():
            told: dict[str, Any] = await overview.facts(self._desk, POINTS, overview.SHOWN_TARGETS)
            if number % SPEND_EVERY == 0:
                told |= await self._spend.facts()
            number += 1
            event, self._next = self._next, asyncio.get_running_loop().create_future()
            event.set_result(b"event: overview\ndata: %b\n\n" % json.dumps(told).encode())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY_S):
                    await self._desk.closing.wait()

    def _ended(self, making: asyncio.Task[None]) -> None:
        """Let nobody wait for an event that does not come: a browser calls again."""
        if not self._next.done():
            self._next.set_result(b"")
        if not making.cancelled() and (error := making.exception()) is not None:
            self._desk.gateway.log.error("admin_live_failed", error=f"{type(error).__name__}: {error}")
