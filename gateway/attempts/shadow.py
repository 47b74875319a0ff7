"""A copy of a request to another target, whose answer nobody gets.

A shadow is an exchange of its own (`parent_id` names the real one) that goes past every plugin: it costs its client no
limit and no budget, moves no breaker, and counts for no balance. It runs beside the real request, is not cancelled with
it, ends at a deadline of its own, and at most `Shadows.AT_ONCE` run in a process: more are left out and counted.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from gateway.attempts.send import Sender
from gateway.attempts.told import tell
from gateway.chain import as_gateway_error
from gateway.errors import GatewayError, UpstreamError
from gateway.exchange import Attempt, ClientRequest, Deadline, Exchange, Reply
from gateway.plugin import Log
from gateway.relay import Pumped
from gateway.relay.client import ClientStream
from gateway.route import Shadow
from gateway.upstream.health import TargetHealth

MOST_BYTES = 64 * 1024 * 1024
"""How much of an answer is read before it is given up."""


class Shadows:
    """The shadows of one process. `on_done` hears each one's exchange when it has ended."""

    AT_ONCE = 32

    def __init__(self) -> None:
        self.sent = self.left_out = 0
        self.on_done: Callable[[Exchange], Awaitable[None]] | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def in_flight(self) -> int:
        """How many run now."""
        return len(self._running)

    def start(self, make: Callable[[], Awaitable[None]]) -> bool:
        """Run what `make` returns beside everything else; False when too many run already."""
        if len(self._running) >= self.AT_ONCE:
            self.left_out += 1
            return False
        self.sent += 1
        task = asyncio.get_running_loop().create_task(_run(make))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return True

    async def settle(self, at_most_s: float) -> None:
        """Wait for those that run."""
        if self._running:
            await asyncio.wait(self._running, timeout=max(0.0, at_most_s))

    async def close(self) -> None:
        """Give up those that run."""
        for task in self._running:
            task.cancel()
        await self.settle(1.0)


async def _run(make: Callable[[], Awaitable[None]]) -> None:
    await make()


class Shadowing:
    """Sends the shadows of one route. `sender` has no plugin and keys of its own; nobody else reads `health`."""

    def __init__(
        self,
        shadow: Shadow,
        sender: Sender,
        health: TargetHealth,
        shadows: Shadows,
        log: Log,
        rng: Callable[[], float] = random.random,
    ) -> None:
        self._shadow, self._sender, self._health, self._shadows = shadow, sender, health, shadows
        self._log, self._rng = log, rng

    def cast(self, exchange: Exchange) -> None:
        """Send a copy of `exchange`'s request, as far as chance and what runs already allow; never waits."""
        endpoint = exchange.request.endpoint
        if endpoint is None or not endpoint.is_chat or self._rng() >= self._shadow.share:
            return
        if self._health.holds.of(self._shadow.target.name) is not None:
            return  # an operator keeps requests from it
        copy = copy_of(exchange)
        if not self._shadows.start(lambda: self._follow(copy)):
            self._log.debug("shadow_left_out", request_id=exchange.id, target=self._shadow.target.name)

    async def _follow(self, exchange: Exchange) -> None:
        """See one shadow through, whatever happens."""
        attempt = Attempt(exchange, self._shadow.target, 1, exchange.started_at_s, self._health)
        exchange.attempts.append(attempt)
        tell(exchange, attempt)
        try:
            async with asyncio.timeout(exchange.deadline.remaining()):
                await self._send(attempt)
        except TimeoutError:
            exchange.error = UpstreamError("timeout", "the upstream's whole answer did not come in time")
        except asyncio.CancelledError:
            exchange.error = GatewayError("the gateway stopped", code="overloaded")
        except Exception as error:  # an end of an exchange: nobody waits for it who could be told
            exchange.error = as_gateway_error(error)
        for source in exchange.sources:
            await source.close()
        await self._end(exchange, attempt)

    async def _send(self, attempt: Attempt) -> None:
        exchange = attempt.exchange
        reply = await self._sender.send(attempt)
        exchange.status = reply.status
        if not isinstance(reply.body, bytes):
            await _pump(reply)

    async def _end(self, exchange: Exchange, attempt: Attempt) -> None:
        now = exchange.deadline.now()
        error = attempt.error = attempt.error or exchange.error
        exchange.error = error
        exchange.ended_at_s = now
        exchange.outcome = "failed" if error is not None else "completed"
        if error is not None and exchange.status < 400:
            exchange.status = error.status
        attempt.end(now)
        try:
            if self._shadows.on_done is not None:
                await self._shadows.on_done(exchange)
        finally:
            self._log.info("shadow", **_facts(exchange, attempt))
            exchange.on_abort(None)
            exchange.sources.clear()
            del attempt.exchange


def copy_of(exchange: Exchange) -> Exchange:
    """Return an exchange with the same request, as it would go upstream now, and nothing else that it could change."""
    request = exchange.request
    twin = ClientRequest(
        request.method, request.path, request.query, request.headers, remote=request.remote, secure=request.secure
    )
    twin.endpoint, twin.body, twin.model, twin.stream = request.endpoint, request.body, request.model, request.stream
    twin.fields = None if request.members is None else dict(request.members)
    twin.upstream_path = request.upstream_path
    clock = exchange.deadline.now
    now = clock()
    deadline = Deadline(now, exchange.timeouts.total_s, clock)
    copy = Exchange(exchange.id, twin, exchange.dialect, deadline, now, exchange.digest, exchange.row_id)
    copy.timeouts = exchange.timeouts
    copy.route = exchange.route
    copy.headers["x-gateway-route"] = exchange.headers["x-gateway-route"]
    copy.admitted = True
    if exchange.chat_changed:
        copy.chat = exchange.chat
    return copy


async def _pump(reply: Reply) -> None:
    """Read a live answer to its end."""
    source: Pumped = reply.body  # type: ignore[assignment]  # every source the gateway makes is one
    await source.pump(Nobody(), reply.status, reply.headers)
    if source.error is not None:
        raise source.error


class Nobody(ClientStream):
    """A client that takes everything and keeps nothing. Raises: ConnectionError above MOST_BYTES."""

    __slots__ = ("_bytes", "_full")

    def __init__(self) -> None:
        self.opened = self.paused = self._chunked = False
        self.stop = self.resume = None
        self._bytes = 0
        self._full = web.Response()

    async def open(self, status: int, headers: Mapping[str, str] | CIMultiDict[str], first: bytes = b"") -> None:
        """Take the head."""
        self.opened = True
        self.write(first)

    def write(self, data: bytes) -> None:
        """Count the bytes; one that never stops is read no further."""
        self._bytes += len(data)
        if self._bytes > MOST_BYTES and not self.paused:
            self.paused = True
            if self.stop is not None:
                self.stop()  # the deadline ends it

    async def close(self, last: bytes = b"") -> web.StreamResponse:
        """Take the end."""
        return self._full

    def cut(self) -> web.StreamResponse:
        """Take that there is no end."""
        return self._full


def _facts(exchange: Exchange, attempt: Attempt) -> dict[str, Any]:
    """Return what the log line says."""
    usage, error = exchange.usage or attempt.usage, exchange.error
    return {
        "request_id": exchange.id,
        "route": exchange.headers["x-gateway-route"],
        "target": exchange.headers["x-gateway-target"],
        "status": exchange.status,
        "outcome": exchange.outcome,
        "error_code": None if error is None else error.code,
        "error": None if error is None else error.message,
        "duration_ms": round(((exchange.ended_at_s or 0.0) - exchange.started_at_s) * 1000, 1),
        "prompt_tokens": None if usage is None else usage.prompt_tokens,
        "completion_tokens": None if usage is None else usage.completion_tokens,
    }
