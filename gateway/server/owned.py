"""Paths of a plugin's own: resolved on the path that everything else goes by, bodies within the same limits."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web
from yarl import URL

from gateway.errors import BadRequest, GatewayError, MethodNotAllowed, NotFound, TooLarge
from gateway.exchange import Exchange, Reply
from gateway.plugin import EXCHANGE
from gateway.runtime.config import ServerConfig
from gateway.runtime.snapshot import Owned
from gateway.server.body import read_body

Answer = Callable[[Exchange], Awaitable[Reply]]
_KINDS: dict[int, type[GatewayError]] = {404: NotFound, 405: MethodNotAllowed, 413: TooLarge}


async def find(owned: Owned, exchange: Exchange, config: ServerConfig) -> Answer | None:
    """Return what answers `exchange` on one of the plugin's paths, None when it has none there."""
    http = exchange.request.http
    assert isinstance(http, web.Request)
    # SECURITY: the path that was normalised, not the one that was sent.
    url = URL.build(path=exchange.request.path, query_string=exchange.request.query)
    request = http.clone(rel_url=url)
    match = await owned.app.router.resolve(request)
    if match.http_exception is not None:
        if match.http_exception.status != 405:
            return None
        return _refuse(match.http_exception)
    match.add_app(owned.app)
    match.freeze()
    request._match_info = match

    async def answer(_: Exchange) -> Reply:
        # Read here, within the limits, and found there by whatever the handler calls: text(), json(), read().
        request._read_bytes = await read_body(http, config.max_body_bytes, config.body_timeout_s)
        request[EXCHANGE] = exchange
        try:
            response = await match.handler(request)
        except web.HTTPException as error:
            if error.status >= 400:
                raise _error(error) from error
            response = error
        body = response.body if isinstance(response, web.Response) else None
        if body is not None and not isinstance(body, bytes | bytearray):
            raise TypeError("a plugin's own path must answer with a web.Response whose body is bytes or text")
        return Reply(response.status, response.headers, bytes(body or b""))

    return answer


def _refuse(error: web.HTTPException) -> Answer:
    async def answer(_: Exchange) -> Reply:
        raise _error(error)

    return answer


def _error(error: web.HTTPException) -> GatewayError:
    """Return what aiohttp or the plugin raised as an error that is told in the client's dialect."""
    allow = error.headers.get("allow")
    text = error.text if error.text and not error.text.startswith(f"{error.status}:") else error.reason
    failure = _KINDS.get(error.status, BadRequest if error.status < 500 else GatewayError)(
        f"use {allow}" if allow else text or "refused", headers={"allow": allow} if allow else None
    )
    failure.status = error.status
    return failure
