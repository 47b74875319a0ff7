"""One try at one target: send, look at the head, and make of the answer a Reply or an UpstreamError."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import msgspec
from aiohttp import hdrs
from multidict import CIMultiDict

from gateway.attempts.outgoing import headers_for, joined, model_for, native_body, rendered_body
from gateway.attempts.plan import CREDENTIAL_STATUSES
from gateway.chain import Chain
from gateway.dialects.errors import redact_body
from gateway.dialects.protocol import AnswerContext, Dialect
from gateway.dialects.table import DIALECTS
from gateway.errors import BadRequest, UpstreamError
from gateway.exchange import Attempt, Exchange, Reply
from gateway.plugin import Clock, Log
from gateway.relay.headers import for_client
from gateway.relay.opaque import OpaqueStream
from gateway.relay.plain import rewrite, watch
from gateway.relay.stream import LiveStream
from gateway.relay.translated import TranslatedStream
from gateway.relay.verbatim import VerbatimStream
from gateway.secret import Secret
from gateway.upstream.health import REFUSED_REST_S, Keys
from gateway.upstream.provider import Provider
from gateway.upstream.transport import UpstreamRequest, UpstreamResponse

LARGEST_PLAIN_BYTES = 64 * 1024 * 1024
"""A plain answer is held whole, so that a broken one is never delivered as if it were whole; beyond this it is refused."""
LARGEST_ERROR_BYTES = 1024 * 1024
Lease = AbstractAsyncContextManager[UpstreamResponse]

NATIVE_DIALECT = {
    "openai": "openai_chat",
    "openai_chat": "openai_chat",
    "openai_responses": "openai_responses",
    "anthropic": "anthropic",
    "ollama": "ollama",
}
"""Which dialect a provider is spoken to in when it does not serve the client's endpoint itself."""
CHAT_PATHS = {
    "openai_chat": "/chat/completions",
    "openai_responses": "/responses",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
}


class Sender:
    """Sends the attempts of one route. `keys` are the providers' credentials, by provider name."""

    def __init__(self, chain: Chain, keys: dict[str, Keys], clock: Clock, log: Log) -> None:
        self._chain, self._keys, self._clock, self._log = chain, keys, clock, log
        self._rewrites = bool(chain.transformers)

    async def send(self, attempt: Attempt) -> Reply:
        """Try `attempt.target`, each usable key once. Raises: UpstreamError, GatewayError."""
        provider = attempt.target.provider
        if provider.auth == "passthrough" or provider.name not in self._keys:
            return await self._send_with(attempt, provider, None)
        ring = self._keys[provider.name]
        refused: frozenset[int] = frozenset()
        taken = ring.take()
        if taken is None:
            return await self._send_with(attempt, provider, None)
        while True:
            number, key = taken
            try:
                return await self._send_with(attempt, provider, key)
            except UpstreamError as error:
                if error.kind != "status" or error.upstream_status not in CREDENTIAL_STATUSES | {429}:
                    raise
                credential = error.upstream_status in CREDENTIAL_STATUSES
                ring.rest(number, REFUSED_REST_S if credential else error.retry_after_s or REFUSED_REST_S)
                refused |= {number}
                following = ring.take(refused)
                if following is None:
                    raise
                self._log.warning(
                    "key_rests",
                    request_id=attempt.exchange.id,
                    provider=provider.name,
                    key=number + 1,
                    upstream_status=error.upstream_status,
                )
                taken = following

    async def _send_with(self, attempt: Attempt, provider: Provider, key: Secret | None) -> Reply:
        exchange = attempt.exchange
        client = exchange.request
        target = attempt.target
        path, native = self._path(exchange, provider)
        dialect = exchange.dialect
        extra: dict[str, str] = {}
        if native and not exchange.chat_changed:
            body = native_body(exchange, target)
        else:
            dialect = exchange.dialect if native else DIALECTS[NATIVE_DIALECT[provider.dialect]]
            rendered = rendered_body(exchange, target, dialect, model_for(exchange, target))
            body, extra = rendered.body, dict(rendered.headers)
            if rendered.dropped:
                exchange.dropped = rendered.dropped
                exchange.headers["x-gateway-dropped"] = ", ".join(rendered.dropped)
        if native and client.query:
            path = f"{path}?{client.query}"
        timeouts = exchange.timeouts
        request = UpstreamRequest(
            method=client.method,
            path=path,
            headers=headers_for(attempt, provider, key, native=native, extra=extra),
            body=body,
            connect_s=timeouts.connect_s,
            head_s=timeouts.first_token_s if client.stream else 0.0,
        )
        lease = provider.transport.send(request, deadline=attempt.deadline.at)
        response = await lease.__aenter__()
        handed_over = False
        try:
            attempt.status = response.status
            if response.status >= 400:
                raise await self._refusal(response, dialect, provider, native)
            if response.status >= 300 or response.status < 200:
                raise UpstreamError(
                    "bad_response",
                    f"the upstream answered {response.status}, which is no answer to a request like this",
                )
            reply = await self._answer(attempt, provider, dialect, native, lease, response)
            handed_over = not isinstance(reply.body, bytes)
            return reply
        finally:
            if not handed_over:
                await lease.__aexit__(None, None, None)

    def _path(self, exchange: Exchange, provider: Provider) -> tuple[str, bool]:
        """Return the upstream path, and whether the target serves the client's endpoint itself."""
        request = exchange.request
        endpoint = request.endpoint
        if endpoint is None:
            return joined(provider.base_path, request.upstream_path), True
        path = provider.path_of(endpoint)
        if path is not None:
            return path, True
        if endpoint.kind != "chat" or provider.dialect not in NATIVE_DIALECT or endpoint.name == "count_tokens":
            raise BadRequest(
                f"{provider.name} does not serve {endpoint.path}; name a model of a provider that does", param="model"
            )
        return provider.base_path + CHAT_PATHS[NATIVE_DIALECT[provider.dialect]], False

    async def _refusal(
        self, response: UpstreamResponse, dialect: Dialect, provider: Provider, native: bool
    ) -> UpstreamError:
        body = await response.read(LARGEST_ERROR_BYTES)
        error = dialect.parse_error(response.status, response.headers, body)
        error.upstream_status = response.status
        if provider.auth == "passthrough" and response.status in CREDENTIAL_STATUSES:
            error.status = response.status  # the client's own credential: its own business
        elif response.status in CREDENTIAL_STATUSES:
            error.provider = provider.name
        elif native and 400 <= response.status < 500 and is_object(body):
            error.status, error.body = response.status, redact_body(body)  # the same dialect: its own words
            return error
        error.body = None
        return error

    async def _answer(
        self,
        attempt: Attempt,
        provider: Provider,
        dialect: Dialect,
        native: bool,
        lease: Lease,
        response: UpstreamResponse,
    ) -> Reply:
        exchange = attempt.exchange
        endpoint = exchange.request.endpoint
        kind = response.headers.get(hdrs.CONTENT_TYPE, "").partition(";")[0].strip().lower()
        headers = for_client(response.headers) if native else CIMultiDict[str]()
        encoded = response.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() not in ("", "identity")
        rewritten = not native or self._rewrites or bool(exchange.transforms)
        chat_like = (
            endpoint is not None
            and (endpoint.kind == "chat" or endpoint.name == "completions")
            and endpoint.name != "count_tokens"
        )
        streams = exchange.request.stream and chat_like
        if streams and not encoded:
            if kind in ("text/html", "application/json") and dialect.stream_type != kind:
                raise await self._not_a_stream(response, dialect, kind)
            loop = asyncio.get_running_loop()
            stream: LiveStream
            if rewritten:
                headers[hdrs.CONTENT_TYPE] = exchange.dialect.stream_type
                stream = TranslatedStream(
                    attempt, self._chain, exchange.dialect, lease, response, loop,
                    upstream_dialect=dialect, context=self._context(exchange),
                )  # fmt: skip
            else:
                stream = VerbatimStream(attempt, self._chain, exchange.dialect, lease, response, loop)
            return await self._until_content(stream, headers, response.status)
        if not streams and (chat_like or (endpoint is not None and kind == "application/json")) and not encoded:
            body = await response.read(LARGEST_PLAIN_BYTES)
            return await self._plain(
                attempt, dialect, chat_like, rewritten and chat_like, response.status, headers, kind, body
            )
        if kind == "text/html" and chat_like:
            raise UpstreamError("bad_response", "the upstream answered with a web page")
        if (length := response.headers.get(hdrs.CONTENT_LENGTH)) is not None:
            headers[hdrs.CONTENT_LENGTH] = length
        opaque = OpaqueStream(attempt, self._chain, exchange.dialect, lease, response, asyncio.get_running_loop())
        return await self._until_content(opaque, headers, response.status)

    async def _until_content(self, stream: LiveStream, headers: CIMultiDict[str], status: int) -> Reply:
        """Wait for the first content; until then the stream may still be dropped for another target."""
        stream.start()
        try:
            await stream.ready
        except BaseException:
            stream.detach()
            raise
        reply = Reply(status, None, stream)
        reply.headers = headers
        return reply

    async def _plain(
        self,
        attempt: Attempt,
        dialect: Dialect,
        chat_like: bool,
        rewritten: bool,
        status: int,
        headers: CIMultiDict[str],
        kind: str,
        body: bytes,
    ) -> Reply:
        exchange = attempt.exchange
        if kind == "text/html":
            raise UpstreamError("bad_response", "the upstream answered with a web page")
        if chat_like:
            if status == 204 or not body:
                raise UpstreamError("bad_response", "the upstream answered without a body")
            exchange.usage = dialect.usage(body)
        if rewritten:
            answer = await rewrite(self._chain, attempt, dialect.parse_reply(body))
            exchange.usage = answer.usage or exchange.usage
            body = exchange.dialect.render_reply(answer, self._context(exchange))
            headers[hdrs.CONTENT_TYPE] = "application/json"
        elif chat_like and (exchange.observers or self._chain.observers):
            watch(self._chain, attempt, dialect.parse_reply(body))
        if exchange.error is not None:  # an observer or a transform ended it
            raise exchange.error
        headers.popall(hdrs.CONTENT_LENGTH, None)
        exchange.first_token_at_s = exchange.deadline.now()
        reply = Reply(status, None, body)
        reply.headers = headers
        return reply

    async def _not_a_stream(self, response: UpstreamResponse, dialect: Dialect, kind: str) -> UpstreamError:
        """Return what an answer of 200 that is no stream means: an error object, or something else entirely."""
        if kind == "application/json":
            body = await response.read(LARGEST_ERROR_BYTES)
            dialect.usage(body)  # raises what an error object under a 200 says
        return UpstreamError("bad_response", f"the upstream answered {kind} where a stream was asked for")

    def _context(self, exchange: Exchange) -> AnswerContext:
        return AnswerContext(
            id=exchange.id, model=exchange.request.model, now_s=self._clock.time(), request=exchange.chat
        )


def is_object(body: bytes) -> bool:
    """Return whether `body` is a JSON object."""
    try:
        msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True
