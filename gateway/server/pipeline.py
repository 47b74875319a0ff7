"""One request through the house: parse, identify, route, decide, try, stream, finish.

Whatever happens, an exchange that began ends exactly once: completed, failed or disconnected. Every answer, an error
or a 404 included, passes through the global chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from aiohttp import web

from gateway.attempts.shadow import Shadows
from gateway.chain import Chain, as_gateway_error
from gateway.dialects.table import DIALECTS
from gateway.errors import BadRequest, GatewayError, InternalError, PermissionDenied
from gateway.exchange import DEFAULT_TIMEOUTS, ClientRequest, Deadline, Exchange, Reply
from gateway.plugin import Clock
from gateway.pricing import plain
from gateway.relay import error_reply, respond, respond_at_once
from gateway.runtime.gateway import Gateway, Generation
from gateway.runtime.snapshot import Snapshot
from gateway.server import ending, paths
from gateway.server.account import Accounts
from gateway.server.children import ChildRoom
from gateway.server.dispatch import Dispatcher, raiser, routeless
from gateway.server.quick import Head
from gateway.telemetry import request_id

CLOSING_STATUSES = frozenset({408, 413})
"""Answers after which the rest of the request's body is not waited for."""

LAST_PATIENCE_S = 0.2
"""How long an exchange that ends while the gateway stops waits for prices: one that began a moment after the start."""

UNTIL_KNOWN = DIALECTS["openai_chat"]
"""The dialect of an answer to a request whose path has not been read."""
Work = Callable[[Exchange, Snapshot], Awaitable[Reply]]


class Pipeline:
    """Serves the data listener: `dispatcher` finds the answers, this sees to their beginning and their end."""

    def __init__(self, gateway: Gateway, dispatcher: Dispatcher, clock: Clock) -> None:
        self._gateway, self._dispatcher, self._clock = gateway, dispatcher, clock
        self._accounts = Accounts(clock, gateway.log)
        gateway.lasting.get("shadows", Shadows).on_done = self._shadowed
        ChildRoom(gateway, self._accounts, clock)

    def __call__(self, http: web.BaseRequest) -> Awaitable[web.StreamResponse]:
        """Answer one request."""
        return self._serve(http, self._dispatcher.answer)

    async def refuse(self, http: web.BaseRequest, head: bytes, message: str) -> web.StreamResponse:
        """Answer what was not HTTP, or not HTTP this server takes; `head` is what came, as far as it is known."""

        async def answer(exchange: Exchange, snapshot: Snapshot) -> Reply:
            exchange.dialect = DIALECTS[paths.guess_dialect(head)]
            exchange.closes = True
            # SECURITY: what aiohttp (3.14) shows of a line that is too long may be the beginning of a credential.
            problem, _, line = message.partition(" when reading: ")
            error: GatewayError = BadRequest(f"malformed HTTP: {' '.join(problem.split())[:200]}")
            if line[2:9].lower() == "bearer " and snapshot.chain.identifiers:
                error = PermissionDenied("the token is refused: it is longer than any")
            return await routeless(exchange, snapshot, raiser(error))

        return await self._serve(http, answer)

    async def _serve(self, http: web.BaseRequest, work: Work) -> web.StreamResponse:
        gateway = self._gateway
        generation = gateway.generation
        snapshot = generation.snapshot
        headers = http.headers
        request = ClientRequest(http.method, "", "", headers, http=http)
        known: Head | None = getattr(http, "head", None)
        given_id = headers.get("x-request-id") if known is None else known.given_id
        monotonic = self._clock.monotonic
        now = monotonic()
        deadline = Deadline(now, DEFAULT_TIMEOUTS.total_s, monotonic)
        exchange = Exchange(request_id(given_id), request, UNTIL_KNOWN, deadline, now, snapshot.digest)
        protocol = http.protocol
        task = asyncio.current_task() if known is None else protocol.task  # type: ignore[attr-defined]
        exchange.task = task
        generation.live += 1
        gateway.live.add(exchange)
        try:
            try:
                reply = await work(exchange, snapshot)
                if type(reply.body) is bytes and (exchange.attempts or exchange.offspring is not None):
                    if not self._accounts.settle_soon(exchange, snapshot.pricing):
                        await self._settle(exchange, snapshot)
                    if exchange.cost_usd is not None:
                        exchange.headers["x-gateway-cost-usd"] = plain(exchange.cost_usd)
                route = exchange.route
                if route is not None and route.chain is not None and route.chain.completers:
                    await self._complete(exchange, reply, route.chain)
            except asyncio.CancelledError:
                if exchange.aborted is None or task is None:
                    raise
                task.uncancel()
                reply = self._failure(exchange, exchange.aborted)
            except Exception as error:  # whatever it was, the client gets an answer of its dialect
                reply = self._failure(exchange, error)
            exchange.task = None
            exchange.status = reply.status
            if gateway.phase != "serving" or reply.status in CLOSING_STATUSES:
                exchange.closes = True
            keep_alive = http.keep_alive and not exchange.closes
            try:
                response = respond_at_once(exchange, reply, http, keep_alive)
                if response is None:
                    response = await respond(exchange, reply, http, keep_alive)
            except InternalError as error:
                if not isinstance(reply.body, bytes):
                    raise
                exchange.headers.clear()  # a plugin's header that would have been two: nothing has gone out yet
                reply = self._failure(exchange, error)
                exchange.status = reply.status
                response = await respond(exchange, reply, http, keep_alive)
        except BaseException as error:  # the client left, or the server is stopped: still exactly one end
            self._left(exchange, error)
            gateway.spawn(self._finish(exchange, snapshot, generation))
            raise
        exchange.outcome = "failed" if exchange.error is not None or exchange.status >= 400 else "completed"
        if gateway.phase != "serving" or exchange.closes:
            response.force_close()
        protocol.finishing = True  # type: ignore[attr-defined]  # a Connection: see there
        try:
            await self._finish(exchange, snapshot, generation)
        finally:
            protocol.finishing = False  # type: ignore[attr-defined]
        return response

    async def _shadowed(self, exchange: Exchange) -> None:
        """Account for a shadow, whose real exchange may have ended on an older snapshot."""
        await ending.account(exchange, self._gateway.snapshot, self._accounts, self._clock)

    async def _settle(self, exchange: Exchange, snapshot: Snapshot) -> None:
        """Find out what a finished answer cost, for its head to say, as far as that is known by the deadline."""
        with suppress(TimeoutError):  # prices still being loaded: the row can wait for them, the client does not
            async with asyncio.timeout(max(0.0, exchange.deadline.remaining())):
                await self._accounts.settle(exchange, snapshot.pricing)

    async def _complete(self, exchange: Exchange, reply: Reply, chain: Chain) -> None:
        """Run `complete` before the last byte of a finished body; a live one does it before its terminator."""
        if isinstance(reply.body, bytes) and reply.status < 400:
            await chain.complete(exchange)

    def _failure(self, exchange: Exchange, error: Exception) -> Reply:
        failure = as_gateway_error(error)
        if failure is not error:
            failure.__cause__ = error
        exchange.error = failure
        return error_reply(exchange, failure)

    def _left(self, exchange: Exchange, error: BaseException) -> None:
        exchange.outcome = "disconnected"
        exchange.status = 499
        if not isinstance(error, asyncio.CancelledError | ConnectionError):
            exchange.outcome, exchange.status = "failed", 500
            exchange.error = InternalError("the answer could not be written")
            exchange.error.__cause__ = error

    def _finish(self, exchange: Exchange, snapshot: Snapshot, generation: Generation) -> Awaitable[None]:
        """Let go of whatever was opened, and tell every plugin how it ended: exactly once."""
        exchange.task = None
        self._dispatcher.release(exchange)

        def leave() -> None:
            self._gateway.live.discard(exchange)
            generation.leave()

        patience_s = None if self._gateway.phase == "serving" else LAST_PATIENCE_S
        return ending.finish(
            exchange, snapshot, self._accounts, self._clock, self._gateway.log, leave, at_most_s=patience_s
        )
