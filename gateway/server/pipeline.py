"""One request through the house: parse, identify, route, decide, try, stream, finish.

Whatever happens, an exchange that began ends exactly once: completed, failed or disconnected. Every answer, an error
or a 404 included, passes through the global chain.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web

from gateway.chain import Chain, as_gateway_error
from gateway.dialects.endpoints import Endpoint, find
from gateway.dialects.table import DIALECTS
from gateway.errors import (
    BadRequest,
    GatewayError,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    Unavailable,
    UpstreamError,
)  # fmt: skip
from gateway.exchange import DEFAULT_TIMEOUTS, ClientRequest, Deadline, Exchange, Reply
from gateway.plugin import Clock
from gateway.relay import error_reply, respond
from gateway.router import rest
from gateway.runtime.gateway import Gateway
from gateway.runtime.snapshot import Owned, Running, Snapshot
from gateway.server import paths
from gateway.server.body import decode, read_body
from gateway.server.hosts import check_framing, check_host
from gateway.server.pages import Pages
from gateway.server.peers import Peers
from gateway.telemetry import request_id

OVERLOAD_RETRY_S = 1.0


class Pipeline:
    """Serves the data listener. `pages` answers what is not the data plane."""

    def __init__(self, gateway: Gateway, pages: Pages, clock: Clock) -> None:
        self._gateway, self._pages, self._clock = gateway, pages, clock
        self._peers = Peers()
        self.in_flight = 0

    async def __call__(self, http: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        return await self._serve(http, self._answer)

    async def refuse(self, http: web.BaseRequest, status: int, message: str) -> web.StreamResponse:
        """Answer what was not HTTP, or not HTTP this server takes."""

        async def answer(exchange: Exchange, _: web.BaseRequest, snapshot: Snapshot) -> Reply:
            error = BadRequest(f"malformed HTTP: {' '.join(message.split())[:200]}")
            return await self._routeless(exchange, snapshot, _raiser(error))

        return await self._serve(http, answer)

    async def _serve(
        self, http: web.BaseRequest, answer: Callable[[Exchange, web.BaseRequest, Snapshot], Awaitable[Reply]]
    ) -> web.StreamResponse:
        gateway = self._gateway
        generation = gateway.generation
        snapshot = generation.snapshot
        headers = http.headers
        request = ClientRequest(http.method, "", "", headers, http=http)
        dialect = DIALECTS["anthropic" if "anthropic-version" in headers else "openai_chat"]
        now = self._clock.monotonic()
        exchange = Exchange(
            request_id(headers.get("x-request-id")),
            request,
            dialect,
            Deadline(now, DEFAULT_TIMEOUTS.total_s, self._clock.monotonic),
            now,
            snapshot.digest,
        )
        generation.live += 1
        gateway.live.add(exchange)
        try:
            try:
                reply = await answer(exchange, http, snapshot)
                await self._complete(exchange, reply)
            except (
                Exception
            ) as error:  # the end of an exchange: whatever it was, the client gets an answer of its dialect
                reply = self._failure(exchange, snapshot, error)
            exchange.status = reply.status
            response = await respond(exchange, reply, http, http.keep_alive and gateway.phase != "draining")
        except BaseException as error:  # the client left, or the server is stopped: still exactly one end
            self._left(exchange, error)
            gateway.spawn(self._finish(exchange, snapshot, generation.leave))
            raise
        exchange.outcome = "failed" if exchange.error is not None or exchange.status >= 400 else "completed"
        if gateway.phase == "draining":
            response.force_close()
        await self._finish(exchange, snapshot, generation.leave)
        return response

    # --- what answers --------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange, http: web.BaseRequest, snapshot: Snapshot) -> Reply:
        request = exchange.request
        gateway = self._gateway
        config = snapshot.config.server
        try:
            host = check_host(http)
            check_framing(http)
            target, request.query = paths.split(http.raw_path, host)
            endpoint = find(target)
            path = request.path = target if endpoint is not None else paths.normalise(target)
            if endpoint is None:
                endpoint = find(path)
            request.endpoint = endpoint
            request.remote, request.secure = self._peers.origin(http, config.trusted_proxies)
            if endpoint is not None:
                exchange.dialect = DIALECTS[endpoint.dialect]
            elif path.startswith("/api/"):
                exchange.dialect = DIALECTS["ollama"]
            if http.version not in (HttpVersion10, HttpVersion11):
                raise BadRequest("only HTTP/1.0 and HTTP/1.1 are served here")
            if endpoint is None or request.method not in endpoint.methods:
                return await self._off_the_data_plane(exchange, http, snapshot)
            if gateway.phase == "draining":
                raise Unavailable("the gateway is stopping; try again elsewhere", retry_after_s=OVERLOAD_RETRY_S)
            if self.in_flight >= config.max_in_flight:
                raise Unavailable(
                    f"{config.max_in_flight} requests are in flight, the most that are taken",
                    retry_after_s=OVERLOAD_RETRY_S,
                )
        except GatewayError as error:
            return await self._routeless(exchange, snapshot, _raiser(error))
        return await self._counted(exchange, http, snapshot, endpoint)

    async def _counted(
        self, exchange: Exchange, http: web.BaseRequest, snapshot: Snapshot, endpoint: Endpoint | None
    ) -> Reply:
        """Answer from the data plane; counted in flight until the exchange has finished."""
        self.in_flight += 1
        exchange.notes["in_flight"] = True
        try:
            request = exchange.request
            if snapshot.chain.identifiers:
                exchange.principal = await snapshot.chain.identify(request)
            self._shorten(exchange)
            if hdrs.EXPECT in request.headers:
                self._expect(http)
            config = snapshot.config.server
            request.body = await read_body(http, config.max_body_bytes, config.body_timeout_s)
            if endpoint is not None:
                decode(request, endpoint)
            running = self._route(exchange, snapshot)
        except GatewayError as error:
            return await self._routeless(exchange, snapshot, _raiser(error))
        exchange.route = running.route
        return await running.handle(exchange)

    def _route(self, exchange: Exchange, snapshot: Snapshot) -> Running:
        request, principal = exchange.request, exchange.principal
        running = snapshot.router.find(
            model=request.model,
            path=request.path,
            headers=request.headers,
            principal_name=principal.name if principal is not None else None,
            tags=principal.tags if principal is not None else {},
            is_endpoint=request.endpoint is not None,
        )
        if running is None:
            if request.model:
                raise ModelNotFound(
                    f'no route takes the model "{request.model}"; GET /v1/models lists those that are served',
                    param="model",
                )
            raise NotFound(f"no route takes {request.path}")
        if request.endpoint is None:
            request.upstream_path = paths.upstream_path(rest(running.route.match, request.path), request.path)
        return running

    async def _off_the_data_plane(self, exchange: Exchange, http: web.BaseRequest, snapshot: Snapshot) -> Reply:
        """Answer a page, a plugin's own path, a preflight, a path route, or say that there is nothing."""
        request = exchange.request
        page = self._pages.find(request.method, request.path)
        if page is not None:
            if page.public:
                return await self._routeless(exchange, snapshot, page.answer)
            return await self._identified(exchange, snapshot, snapshot.chain, snapshot.routeless, page.answer)
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            return await self._routeless(
                exchange,
                snapshot,
                _raiser(MethodNotAllowed("no plugin answers preflights here; list cors with your origins")),
            )
        for owned in snapshot.owned:
            reply = await self._owned(exchange, http, snapshot, owned)
            if reply is not None:
                return reply
        allowed = self._pages.methods(request.path) | set(
            request.endpoint.methods if request.endpoint is not None else ()
        )
        if allowed:
            names = ", ".join(sorted(allowed))
            error = MethodNotAllowed(
                f"{request.method} is not served on {request.path}; use {names}", headers={"allow": names}
            )
            return await self._identified(exchange, snapshot, snapshot.chain, snapshot.routeless, _raiser(error))
        if request.method in ("TRACE", "CONNECT"):
            return await self._routeless(
                exchange,
                snapshot,
                _raiser(MethodNotAllowed(f"{request.method} is not served", headers={"allow": "GET, POST"})),
            )
        return await self._counted(exchange, http, snapshot, None)

    async def _owned(self, exchange: Exchange, http: web.BaseRequest, snapshot: Snapshot, owned: Owned) -> Reply | None:
        """Answer from a plugin's own paths; None when it has none for this request."""
        assert isinstance(http, web.Request)
        match = await owned.app.router.resolve(http)
        if match.http_exception is not None:
            if match.http_exception.status == 405:
                allow = match.http_exception.headers.get("allow", "")
                return await self._routeless(
                    exchange, snapshot, _raiser(MethodNotAllowed(f"use {allow}", headers={"allow": allow}))
                )
            return None
        match.add_app(owned.app)
        match.freeze()
        http._match_info = match

        async def answer(_: Exchange) -> Reply:
            response = await match.handler(http)
            body = response.body if isinstance(response, web.Response) else b""
            return Reply(response.status, response.headers, bytes(body) if isinstance(body, bytes | bytearray) else b"")

        return await self._identified(exchange, snapshot, owned.chain, owned.handle, answer)

    async def _identified(
        self,
        exchange: Exchange,
        snapshot: Snapshot,
        chain: Chain,
        handle: Callable[[Exchange], Awaitable[Reply]],
        inner: Callable[[Exchange], Awaitable[Reply]],
    ) -> Reply:
        """Answer with `inner` once the caller is known: 401 comes before 404 and 405."""
        try:
            if chain.identifiers:
                exchange.principal = await chain.identify(exchange.request)
        except GatewayError as error:
            return await self._routeless(exchange, snapshot, _raiser(error))
        exchange.inner = inner
        return await handle(exchange)

    async def _routeless(
        self, exchange: Exchange, snapshot: Snapshot, inner: Callable[[Exchange], Awaitable[Reply]]
    ) -> Reply:
        exchange.inner = inner
        return await snapshot.routeless(exchange)

    # --- details ---------------------------------------------------------------------------------

    def _shorten(self, exchange: Exchange) -> None:
        given = exchange.request.headers.get("x-gateway-timeout")
        if given is None:
            return
        try:
            seconds = float(given)
        except ValueError:
            seconds = -1.0
        if not 0 < seconds < float("inf"):
            raise BadRequest(f'x-gateway-timeout is "{given[:40]}"; it must be a positive number of seconds')
        exchange.deadline.shorten(exchange.started_at_s + seconds)

    def _expect(self, http: web.BaseRequest) -> None:
        if http.headers[hdrs.EXPECT].lower() != "100-continue":
            raise BadRequest("the only expectation served is 100-continue")
        if http.version == HttpVersion11 and http.transport is not None:
            http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _complete(self, exchange: Exchange, reply: Reply) -> None:
        """Run `complete` before the last byte of a finished body; a live one does it before its terminator."""
        route = exchange.route
        if (
            isinstance(reply.body, bytes)
            and reply.status < 400
            and route is not None
            and route.chain is not None
            and route.chain.completers
        ):
            await route.chain.complete(exchange)

    # --- the end ---------------------------------------------------------------------------------

    def _failure(self, exchange: Exchange, snapshot: Snapshot, error: Exception) -> Reply:
        if not isinstance(error, GatewayError):
            failure = as_gateway_error(error)
            failure.__cause__ = error
        else:
            failure = error
        exchange.error = failure
        return error_reply(exchange, failure)

    def _left(self, exchange: Exchange, error: BaseException) -> None:
        exchange.outcome = "disconnected"
        exchange.status = 499
        if not isinstance(error, asyncio.CancelledError | ConnectionError):
            exchange.outcome, exchange.status = "failed", 500
            exchange.error = InternalError("the answer could not be written")
            exchange.error.__cause__ = error

    async def _finish(self, exchange: Exchange, snapshot: Snapshot, leave: Callable[[], None]) -> None:
        """Tell every plugin how it ended: exactly once."""
        exchange.ended_at_s = exchange.deadline.now()
        if exchange.notes.pop("in_flight", False):
            self.in_flight -= 1
        self._gateway.live.discard(exchange)
        error = exchange.error
        if error is not None and (error.status >= 500 or isinstance(error, UpstreamError)):
            self._report(exchange, snapshot, error)
        chain = (
            exchange.route.chain if exchange.route is not None and exchange.route.chain is not None else snapshot.chain
        )
        try:
            for name, finish in chain.finishers:
                try:
                    await finish(exchange)
                except Exception as failure:  # a plugin's: the others still have to finish
                    self._gateway.log.error(
                        "plugin_finish_failed",
                        request_id=exchange.id,
                        plugin=name,
                        error=f"{type(failure).__name__}: {failure}",
                    )
        finally:
            leave()

    def _report(self, exchange: Exchange, snapshot: Snapshot, error: GatewayError) -> None:
        """Log a failure once, where its story ends, with cause and target."""
        cause = error.__cause__ if isinstance(error, InternalError) else None
        chain = (
            exchange.route.chain if exchange.route is not None and exchange.route.chain is not None else snapshot.chain
        )
        place = None
        if cause is not None and cause.__traceback__ is not None:
            last = cause.__traceback__
            while last.tb_next is not None:
                last = last.tb_next
            place = f"{last.tb_frame.f_code.co_filename.rpartition('/')[2]}:{last.tb_lineno}"
        self._gateway.log.error(
            "request_failed",
            request_id=exchange.id,
            route=exchange.route.name if exchange.route is not None else None,
            target=exchange.headers.get("x-gateway-target"),
            status=exchange.status,
            error_code=error.code,
            error=error.message,
            cause=f"{type(cause).__name__}: {cause}" if cause is not None else None,
            at=place,
            plugin=chain.blame(cause if cause is not None else error),
        )


def _raiser(error: GatewayError) -> Callable[[Exchange], Awaitable[Reply]]:
    async def answer(_: Exchange) -> Reply:
        raise error

    return answer
