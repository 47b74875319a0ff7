"""What answers a request: a page, a plugin's own path, a route, or an error in the caller's dialect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from multidict import istr

from gateway.chain import Chain, as_gateway_error
from gateway.dialects.endpoints import exact
from gateway.dialects.endpoints import find as find_endpoint
from gateway.dialects.table import DIALECTS
from gateway.errors import (
    BadRequest,
    GatewayError,
    InternalError,
    MethodNotAllowed,
    ModelNotFound,
    NotFound,
    RequestTimeout,
    TooLarge,
    Unavailable,
)  # fmt: skip
from gateway.exchange import LONG_BYTES, Exchange, Principal, Reply
from gateway.router import rest
from gateway.runtime.allowed import refuse_foreign
from gateway.runtime.config import ServerConfig
from gateway.runtime.gateway import Gateway
from gateway.runtime.peers import Peers
from gateway.runtime.running import Running
from gateway.runtime.snapshot import Snapshot
from gateway.server import owned, paths, tickets
from gateway.server.body import BrokenBody, body_at_hand, decode, read_body
from gateway.server.hosts import check_head
from gateway.server.pages import Pages
from gateway.server.quick import Head
from gateway.server.tickets import Tickets

OVERLOAD_RETRY_S = 1.0
SOONER = istr("x-gateway-timeout")
"""The header in which a client says how long it will wait."""

NOT_READ = (BadRequest, RequestTimeout, TooLarge)
"""Before it was routed: what was wrong with a request that could not be read. It leaves no row."""
Answer = Callable[[Exchange], Awaitable[Reply]]


class Dispatcher:
    """Finds what answers. `pages` is what the data listener answers itself; `in_flight` counts the data plane;
    `tickets` are an operator's."""

    def __init__(self, gateway: Gateway, pages: Pages, tickets: Tickets) -> None:
        self._gateway, self._pages, self.tickets = gateway, pages, tickets
        self._peers = Peers()
        self.in_flight = 0

    def release(self, exchange: Exchange) -> None:
        """Count `exchange` in flight no longer."""
        if exchange.notes.pop("in_flight", False):
            self.in_flight -= 1

    def answer(self, exchange: Exchange, snapshot: Snapshot) -> Awaitable[Reply]:
        """Return the answer. Raises: what the client is told instead, having been through the chain."""
        request, config = exchange.request, snapshot.config.server
        known: Head | None = getattr(request.http, "head", None)
        if known is not None and known.read_by is config:
            request.endpoint, exchange.dialect, request.remote, request.secure = known.read
            request.path, request.memo = known.path, known.memo
            return self._at_once(exchange, snapshot)
        try:
            self._read_head(exchange, config)
        except NotFound as error:
            exchange.admitted = True
            return self._identified(exchange, snapshot.chain, snapshot, snapshot.routeless, raiser(error))
        except GatewayError as error:
            return routeless(exchange, snapshot, raiser(error))
        endpoint = request.endpoint
        if endpoint is None or request.method not in endpoint.methods:
            return self._off_the_data_plane(exchange, snapshot)
        if known is not None:  # read without aiohttp, and likely to come again on its connection
            known.read_by, known.read = config, (endpoint, exchange.dialect, request.remote, request.secure)
            request.memo = known.memo
        return self._counted(exchange, snapshot)

    def _read_head(self, exchange: Exchange, config: ServerConfig) -> None:
        """Fill in what the head says. Raises: BadRequest, and then the connection closes; NotFound."""
        request = exchange.request
        http = request.http
        assert http is not None
        try:
            host = check_head(http)
            request.endpoint = exact(http.raw_path)
            if request.endpoint is not None:  # nothing to normalise, and no query: what nearly every request is
                request.path = http.raw_path
                exchange.dialect = DIALECTS[request.endpoint.dialect]
                request.remote, request.secure = self._peers.origin(http, config.trusted_proxies)
                return
            target, request.query = paths.split(http.raw_path, host)
        except BadRequest:
            # SECURITY: whatever follows on this connection is read by nobody.
            exchange.closes = True
            head = f"{http.method} {http.raw_path}\n".encode("utf-8", "replace")
            exchange.dialect = DIALECTS[paths.guess_dialect(head + b"".join(b"\n%b:" % n for n, _ in http.raw_headers))]
            raise
        anthropic = "anthropic-version" in request.headers
        if anthropic:
            exchange.dialect = DIALECTS["anthropic"]
        try:
            path = request.path = paths.normalise(target)
        except NotFound:
            exchange.dialect = DIALECTS[paths.dialect_of(target, anthropic=anthropic)]
            raise
        request.endpoint = find_endpoint(path)
        request.remote, request.secure = self._peers.origin(http, config.trusted_proxies)
        if request.endpoint is not None:
            exchange.dialect = DIALECTS[request.endpoint.dialect]
        elif path.startswith("/api/"):
            exchange.dialect = DIALECTS["ollama"]

    def _admit(self, config: ServerConfig) -> None:
        """Raises: Unavailable when the gateway is full, or will soon be gone."""
        if self._gateway.phase == "draining":
            raise Unavailable("the gateway is stopping; try again elsewhere", retry_after_s=OVERLOAD_RETRY_S)
        if self.in_flight >= config.max_in_flight:
            raise Unavailable(
                f"{config.max_in_flight} requests are in flight, the most that are taken",
                retry_after_s=OVERLOAD_RETRY_S,
            )

    def _at_once(self, exchange: Exchange, snapshot: Snapshot) -> Awaitable[Reply]:
        """As `_counted`, which takes over where something has to be waited for: the same in the same order."""
        request, config, chain = exchange.request, snapshot.config.server, snapshot.chain
        http, endpoint = request.http, request.endpoint
        assert http is not None and endpoint is not None
        body: bytes = http.body  # type: ignore[attr-defined]  # read without aiohttp: see quick
        if len(body) > min(LONG_BYTES, config.max_body_bytes) or len(chain.identifiers) > 1:
            return self._counted(exchange, snapshot)
        try:
            self._admit(config)
            self.in_flight += 1
            exchange.notes["in_flight"] = True
            if chain.identifiers:
                now = exchange.deadline.now
                began_s = now()
                found = chain.identifiers[0](request)
                if found is not None and not isinstance(found, Principal):
                    return self._counted(exchange, snapshot, found)
                exchange.principal = found
                exchange.identify_s = now() - began_s
            if SOONER in request.headers:
                _shorten(exchange)
            request.body = body
            decode(request, endpoint)
            running = self._route(exchange, snapshot)
            principal = exchange.principal
            if principal is not None and (principal.models is not None or principal.routes is not None):
                refuse_foreign(principal, request.model, running.route.name)
        except GatewayError as error:
            exchange.admitted = "in_flight" in exchange.notes and not isinstance(error, NOT_READ)
            return routeless(exchange, snapshot, raiser(error))
        except Exception as error:  # a plugin's `identify`: fail closed, inside the global chain
            return self._failed(exchange, snapshot, error)
        exchange.route = running.route
        exchange.admitted = True
        return running.handle(exchange)

    def _failed(self, exchange: Exchange, snapshot: Snapshot, error: Exception) -> Awaitable[Reply]:
        failure = InternalError("the gateway failed to handle this request")
        failure.__cause__ = error
        exchange.admitted = True
        return routeless(exchange, snapshot, raiser(failure))

    async def _counted(
        self, exchange: Exchange, snapshot: Snapshot, identified: Awaitable[Principal | None] | None = None
    ) -> Reply:
        """Answer from the data plane; counted in flight until the exchange has finished. `identified`: it is counted
        already, and this will say who asks."""
        try:
            if identified is None:
                self._admit(snapshot.config.server)
                self.in_flight += 1
                exchange.notes["in_flight"] = True
            request, config = exchange.request, snapshot.config.server
            http, endpoint = request.http, request.endpoint
            assert http is not None
            if snapshot.chain.identifiers:
                now = exchange.deadline.now
                began_s = now()
                exchange.principal = await (identified or snapshot.chain.identify(request))
                exchange.identify_s = now() - began_s
            if SOONER in request.headers:
                _shorten(exchange)
            if endpoint is None:  # by its path alone: nothing is read for a path that nobody takes
                running = self._route(exchange, snapshot)
            body = body_at_hand(http, config.max_body_bytes)
            if body is None:
                body = await read_body(http, config.max_body_bytes, config.body_timeout_s)
            request.body = body
            if endpoint is not None:
                if len(body) <= LONG_BYTES:
                    decode(request, endpoint)
                else:
                    await asyncio.to_thread(decode, request, endpoint)
                running = self._route(exchange, snapshot)
            principal = exchange.principal
            if principal is not None and (principal.models is not None or principal.routes is not None):
                refuse_foreign(principal, request.model, running.route.name)
        except GatewayError as error:
            exchange.closes = exchange.closes or isinstance(error, BrokenBody)
            exchange.admitted = "in_flight" in exchange.notes and not isinstance(error, NOT_READ)
            return await routeless(exchange, snapshot, raiser(error))
        except Exception as error:  # a plugin's `identify`: fail closed, inside the global chain
            return await self._failed(exchange, snapshot, error)
        exchange.route = running.route
        exchange.admitted = True
        return await running.handle(exchange)

    def _route(self, exchange: Exchange, snapshot: Snapshot) -> Running:
        request, principal = exchange.request, exchange.principal
        ticket = self.tickets.take(request) if self.tickets.open else None
        if ticket is not None and ticket.route:
            running: Running | None = tickets.named(ticket, snapshot)
        else:
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
        return running if ticket is None or not ticket.target else tickets.alone(ticket, running)

    async def _off_the_data_plane(self, exchange: Exchange, snapshot: Snapshot) -> Reply:
        """Answer a page, a plugin's own path, a preflight, a path route, or say that there is nothing."""
        request = exchange.request
        page = self._pages.find(request.method, request.path)
        if page is not None:
            if page.public:
                return await routeless(exchange, snapshot, page.answer)
            return await self._identified(exchange, snapshot.chain, snapshot, snapshot.routeless, page.answer)
        if request.method == "OPTIONS" and "access-control-request-method" in request.headers:
            error = MethodNotAllowed("no plugin answers preflights here; list cors with your origins")
            return await routeless(exchange, snapshot, raiser(error))
        for plugin in snapshot.owned:
            answer = await owned.find(plugin, exchange, snapshot.config.server)
            if answer is not None:
                return await self._identified(exchange, plugin.chain, snapshot, plugin.handle, answer)
        allowed = self._pages.methods(request.path)
        if request.endpoint is not None:
            allowed = allowed | set(request.endpoint.methods)
        if request.method in ("TRACE", "CONNECT"):
            allowed = allowed or {"GET", "HEAD", "POST"}
            exchange.closes = request.method == "CONNECT"  # whose client may take what follows for a tunnel
        if allowed:
            names = ", ".join(sorted(allowed))
            error = MethodNotAllowed(
                f"{request.method} is not served on {request.path}; use {names}", headers={"allow": names}
            )
            return await self._identified(exchange, snapshot.chain, snapshot, snapshot.routeless, raiser(error))
        return await self._counted(exchange, snapshot)

    async def _identified(
        self,
        exchange: Exchange,
        chain: Chain,
        snapshot: Snapshot,
        handle: Callable[[Exchange], Awaitable[Reply]],
        inner: Answer,
    ) -> Reply:
        """Answer with `inner` once the caller is known: 401 comes before 404 and 405."""
        try:
            if chain.identifiers:
                exchange.principal = await chain.identify(exchange.request)
        except Exception as error:  # a refusal, or a plugin's fault: fail closed, inside the global chain
            failure = as_gateway_error(error)
            if failure is not error:
                failure.__cause__ = error
            return await routeless(exchange, snapshot, raiser(failure))
        exchange.inner = inner
        return await handle(exchange)


async def routeless(exchange: Exchange, snapshot: Snapshot, inner: Answer) -> Reply:
    """Answer with `inner` inside the global chain."""
    exchange.inner = inner
    return await snapshot.routeless(exchange)


def raiser(error: GatewayError) -> Answer:
    """Return an answer that is `error`."""

    async def answer(_: Exchange) -> Reply:
        raise error

    return answer


def _shorten(exchange: Exchange) -> None:
    try:
        seconds = float(exchange.request.headers[SOONER])
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise BadRequest("x-gateway-timeout must be a positive number of seconds")
    exchange.deadline.shorten(exchange.started_at_s + seconds)
