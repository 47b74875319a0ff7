"""5 stream: the answer goes to the client, verbatim or translated, and ends exactly once.

`respond` is the one place that puts an answer on the wire; it alone decides how a reply's body is pumped.
"""

from __future__ import annotations

from typing import Protocol, cast

from aiohttp import HttpVersion11, hdrs, web
from multidict import CIMultiDict

from gateway.errors import GatewayError, Unavailable, UpstreamError
from gateway.exchange import Exchange, Reply
from gateway.relay.client import ClientStream
from gateway.relay.passing import Passing
from gateway.relay.timing import server_timing
from gateway.relay.whole import Sent, http_date, send_whole

JSON_TYPE = "application/json"
AGAIN_S = 1.0
"""What a refusal of the gateway's own (503) says of when to come back, where whoever refused did not know better."""


class Pumped(Protocol):
    """A live body: what `Reply.body` is when it is not bytes."""

    error: GatewayError | None

    async def pump(self, client: ClientStream, status: int, headers: CIMultiDict[str]) -> web.StreamResponse: ...

    async def close(self) -> None: ...


async def respond(exchange: Exchange, reply: Reply, http: web.BaseRequest, keep_alive: bool) -> web.StreamResponse:
    """Write `reply` to the client and return when its last byte is handed to the socket.

    Raises: ConnectionError or CancelledError when the client left; the live source is closed in any case.
    """
    headers, body = reply.headers, reply.body
    headers.update(exchange.headers)
    headers["x-request-id"] = headers["request-id"] = exchange.id
    if exchange.route is not None:
        headers["server-timing"] = server_timing(exchange)
    if isinstance(body, bytes):
        sent = await send_whole(http, reply.status, headers, body, keep_alive)
        return cast(web.StreamResponse, sent)  # it has all that aiohttp asks of a response that is out
    source: Pumped = body  # type: ignore[assignment]  # every source the gateway makes is one
    try:
        return await source.pump(ClientStream(http), reply.status, headers)
    finally:
        if source.error is not None and exchange.error is None:
            exchange.error = source.error
        await source.close()


def respond_at_once(
    exchange: Exchange, reply: Reply, http: web.BaseRequest, keep_alive: bool
) -> web.StreamResponse | None:
    """Write an answer whose head is known but for its values, to a client that takes what it gets; None, with nothing
    written, for any other. Raises: ConnectionResetError when the client is gone."""
    passing, body, added = reply.passed, reply.body, exchange.headers
    if type(passing) is not Passing or type(body) is not bytes or reply.status != 200 or not keep_alive:
        return None
    template = passing.template((*added,))
    transport, protocol = http.transport, http.protocol
    if template is None or protocol.writing_paused or http.method == "HEAD" or http.version != HttpVersion11:
        return None
    if transport is None or transport.is_closing():
        raise ConnectionResetError("the client left before its answer")
    id = exchange.id
    values = (*added.values(), id)
    try:  # SECURITY: a line break in one would be a header, or an answer, that somebody smuggled in.
        if not "".join(values).isprintable():
            return None
    except TypeError:  # a plugin's, which is no text
        return None
    head = template % (*values, id, server_timing(exchange), len(body), http_date())
    transport.write(head.encode("utf-8", "surrogateescape") + body)
    protocol.begun = True  # type: ignore[attr-defined]  # a Connection: see there
    return Sent(200, True)  # type: ignore[return-value]  # it has all that aiohttp asks of a response that is out


def error_reply(exchange: Exchange, error: GatewayError) -> Reply:
    """Return `error` as an answer in the client's dialect, with the headers that tell whose fault it was."""
    if isinstance(error, UpstreamError) and error.body is not None:
        status, body = error.status, error.body  # the upstream's own words, in the client's own dialect
    else:
        status, body = exchange.dialect.render_error(error, exchange.id)
    reply = Reply(status, {hdrs.CONTENT_TYPE: JSON_TYPE}, body)
    reply.headers["x-gateway-error-source"] = error.source
    retry_after_s = error.retry_after_s
    if retry_after_s is None and isinstance(error, Unavailable):
        retry_after_s = AGAIN_S
    if retry_after_s is not None:
        reply.headers["retry-after"] = str(max(1, -(-int(retry_after_s * 1000) // 1000)))
        if error.source == "upstream":
            reply.headers["retry-after-ms"] = str(int(retry_after_s * 1000))
    reply.headers.update(error.headers)
    return reply
