"""What an answer is: a refusal, a stream, a plain answer, a body nobody looks into, or nothing of the kind."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from functools import lru_cache
from hashlib import sha256

import msgspec
from aiohttp import hdrs
from multidict import CIMultiDict

from gateway.attempts.elsewhere import counted, counts_here, embedded
from gateway.chain import Chain
from gateway.dialects.embeddings import NAMES as EMBEDDINGS
from gateway.dialects.errors import redact_body
from gateway.dialects.protocol import AnswerContext, Dialect, StreamParser
from gateway.dialects.ratelimits import translated as translated_limits
from gateway.dialects.think_tags import UntaggedParser, untagged
from gateway.errors import UpstreamError
from gateway.exchange import LONG_BYTES, Attempt, Exchange, Reply, Whole
from gateway.plugin import Clock
from gateway.relay.decoded import DecodedResponse
from gateway.relay.estimated import counted_body
from gateway.relay.headers import for_client
from gateway.relay.neutral import NeutralStream
from gateway.relay.opaque import OpaqueStream
from gateway.relay.passing import Passing
from gateway.relay.plain import rewrite, watch
from gateway.relay.stream import LiveStream
from gateway.relay.translated import TranslatedStream
from gateway.relay.verbatim import VerbatimStream, with_model
from gateway.upstream.inflate import can_inflate
from gateway.upstream.keys import CREDENTIAL_STATUSES
from gateway.upstream.provider import Provider
from gateway.upstream.transport import UpstreamResponse

LARGEST_PLAIN_BYTES = 64 * 1024 * 1024
"""A plain answer is held whole, so that a broken one is never delivered as whole; beyond this it is refused."""
LARGEST_ERROR_BYTES = 1024 * 1024
LARGEST_OWN_WORDS_BYTES = 32 * 1024
"""A refusal longer than this comes as its message alone: looking through a megabyte for keys takes a quarter second."""
Lease = AbstractAsyncContextManager[UpstreamResponse]


class Sent(msgspec.Struct, frozen=True):
    """A request that was answered. `dialect` is the one the upstream speaks here; `native` says that the client's
    endpoint was served as it is; `lease` holds the connection."""

    attempt: Attempt
    provider: Provider
    dialect: Dialect
    native: bool
    lease: Lease


class Answers:
    """Judges the answers of one route. A Reply with a live body owns the lease from then on."""

    def __init__(self, chain: Chain, clock: Clock, most_decoded_bytes: int) -> None:
        self._chain, self._clock = chain, clock
        self._most_decoded_bytes = most_decoded_bytes
        self._rewrites = bool(chain.transformers)
        self._watches = bool(chain.transformers or chain.observers)

    def at_once(self, attempt: Attempt, passing: Passing, response: UpstreamResponse) -> Reply | None:
        """Return the answer where it is plain, has come whole, and goes to the client byte for byte, under a head that
        came before; None leaves it to `judge`. Raises: UpstreamError."""
        exchange = attempt.exchange
        request = exchange.request
        endpoint = request.endpoint
        if (
            endpoint is None
            or not endpoint.is_read
            or request.stream
            or not passing.is_json
            or self._watches
            or exchange.observers
            or exchange.transforms
            or exchange.origin is not None
            or attempt.target.provider.quirks.get("think_tags")
            or exchange.error is not None
            or (exchange.route is not None and exchange.route.model_echo == "requested")
            or not (body := response.at_hand())
            or (usage := exchange.dialect.usage(body)) is None
        ):
            return None
        now_s = exchange.deadline.now()
        attempt.usage = exchange.usage = usage
        attempt.received_at_s = exchange.first_token_at_s = now_s
        return Reply(200, None, body, passing)

    async def judge(self, sent: Sent, response: UpstreamResponse) -> Reply:
        """Return the answer as far as its head, and a stream's first content, are known. Raises: UpstreamError."""
        status = response.status
        if status >= 400:
            error = await self._refusal(sent, response)
            if counts_here(sent.attempt.exchange, error):
                return counted(sent.attempt.exchange)
            raise error
        if status >= 300 or status < 200:
            raise UpstreamError("bad_response", f"the upstream answered {status}, which is no answer to this request")
        exchange = sent.attempt.exchange
        endpoint = exchange.request.endpoint
        is_chat, is_read = (False, False) if endpoint is None else (endpoint.is_chat, endpoint.is_read)
        headers = for_client(response.headers) if sent.native else self._limits(exchange, response)
        encoding = response.headers.get(hdrs.CONTENT_ENCODING)
        if encoding is not None and is_read and can_inflate(encoding):
            headers.popall(hdrs.CONTENT_ENCODING, None)
            response = DecodedResponse(response, encoding, self._most_decoded_bytes)
            encoding = None
        rewritten = is_chat and (
            not sent.native
            or self._rewrites
            or bool(exchange.transforms)
            or exchange.origin is not None
            or bool(sent.provider.quirks.get("think_tags"))
        )
        kind = media_type(response.headers.get(hdrs.CONTENT_TYPE, ""))
        if kind == "text/html" and is_read:
            raise UpstreamError("bad_response", "the upstream answered with a web page")
        if is_read and exchange.request.stream and encoding is None:
            return await self._stream(sent, response, headers, kind, rewritten)
        if encoding is None and (is_read or (endpoint is not None and kind == "application/json")):
            body = await response.read(LARGEST_PLAIN_BYTES)
            sent.attempt.received_at_s = exchange.deadline.now()
            return await self._plain(sent, status, headers, body, is_read=is_read, rewritten=rewritten)
        if rewritten or not sent.native:
            raise UpstreamError(
                "bad_response",
                f"the upstream answered {kind or 'no type'} in the coding {encoding}, which was not asked for",
            )
        if (length := response.headers.get(hdrs.CONTENT_LENGTH)) is not None:
            headers[hdrs.CONTENT_LENGTH] = length
        loop = asyncio.get_running_loop()
        opaque = OpaqueStream(sent.attempt, self._chain, exchange.dialect, sent.lease, response, loop)
        return await self._until_content(opaque, headers, status)

    async def _refusal(self, sent: Sent, response: UpstreamResponse) -> UpstreamError:
        encoding = response.headers.get(hdrs.CONTENT_ENCODING)
        if encoding is not None and can_inflate(encoding):
            response = DecodedResponse(response, encoding, LARGEST_ERROR_BYTES)
        body = await response.read(LARGEST_ERROR_BYTES)
        status = response.status
        error = sent.dialect.parse_error(status, response.headers, body)
        error.upstream_status, error.body = status, None
        exchange = sent.attempt.exchange
        is_same = sent.native and exchange.origin is None  # a child's parent may speak another dialect
        if exchange.origin is None:
            error.headers = {**error.headers, **self._limits(exchange, response)}
        if sent.provider.auth == "passthrough" and status in CREDENTIAL_STATUSES:
            error.status = status  # the client's own credential: its own business
        elif status in CREDENTIAL_STATUSES:
            error.provider = sent.provider.name
        elif is_same and 400 <= status < 500 and len(body) <= LARGEST_OWN_WORDS_BYTES and is_own(sent, body):
            error.status, error.body = status, redact_body(body)  # the same dialect: its own words
        elif is_same and status == 422:
            error.status = status
        return error

    async def _stream(
        self, sent: Sent, response: UpstreamResponse, headers: CIMultiDict[str], kind: str, rewritten: bool
    ) -> Reply:
        exchange, dialect = sent.attempt.exchange, sent.dialect
        if kind == "application/json" and dialect.stream_type != kind:
            dialect.usage(await response.read(LARGEST_ERROR_BYTES))  # raises what an error object under a 200 says
            raise UpstreamError("bad_response", "the upstream answered whole where a stream was asked for")
        loop = asyncio.get_running_loop()
        stream: LiveStream
        if rewritten:
            headers[hdrs.CONTENT_TYPE] = exchange.dialect.stream_type
            kind_of_stream = TranslatedStream if exchange.origin is None else NeutralStream
            stream = kind_of_stream(
                sent.attempt, self._chain, exchange.dialect, sent.lease, response, loop,
                parser=parser_of(sent), context=self._context(exchange),
            )  # fmt: skip
        else:
            stream = VerbatimStream(sent.attempt, self._chain, exchange.dialect, sent.lease, response, loop)
        return await self._until_content(stream, headers, response.status)

    async def _until_content(self, stream: LiveStream, headers: CIMultiDict[str], status: int) -> Reply:
        """Wait for the first content; until then the stream may still be dropped for another target."""
        stream.start()
        try:
            await stream.ready
        except BaseException:
            stream.detach()
            raise
        stream.exchange.sources.append(stream)
        return Reply(status, headers, stream)

    async def _plain(
        self, sent: Sent, status: int, headers: CIMultiDict[str], body: bytes, *, is_read: bool, rewritten: bool
    ) -> Reply:
        attempt, dialect = sent.attempt, sent.dialect
        exchange = attempt.exchange
        if is_read:
            if status == 204 or not body:
                raise UpstreamError("bad_response", "the upstream answered without a body")
            if not rewritten:
                attempt.usage = dialect.usage(body) or await counted_body(exchange, dialect, body)
        elif (endpoint := exchange.request.endpoint) is not None and endpoint.name in EMBEDDINGS:
            body = embedded(exchange, endpoint, body, native=sent.native)
            attempt.usage = exchange.usage
            headers.setdefault(hdrs.CONTENT_TYPE, "application/json")
        route = exchange.route
        given: Whole | None = None
        if rewritten:
            long = len(body) > LONG_BYTES
            parsed = await asyncio.to_thread(dialect.parse_reply, body) if long else dialect.parse_reply(body)
            if sent.provider.quirks.get("think_tags"):
                parsed = untagged(parsed)
            answer = await rewrite(self._chain, attempt, parsed)
            attempt.usage = parsed.usage or answer.usage  # no transform changes what the upstream asks for it
            if exchange.origin is not None:
                given = Whole(answer)
            else:
                render, context = exchange.dialect.render_reply, self._context(exchange)
                body = await asyncio.to_thread(render, answer, context) if long else render(answer, context)
                headers[hdrs.CONTENT_TYPE] = "application/json"
        else:
            if is_read and (exchange.observers or self._chain.observers):
                watch(self._chain, attempt, dialect.parse_reply(body))
            if route is not None and route.model_echo == "requested" and is_read:
                body = with_model(body, exchange.request.model)
        exchange.usage = attempt.usage
        if exchange.error is not None:  # an observer or a transform ended it
            raise exchange.error
        exchange.first_token_at_s = exchange.deadline.now()
        return Reply(status, headers, given or body)

    def _limits(self, exchange: Exchange, response: UpstreamResponse) -> CIMultiDict[str]:
        """Return the upstream's rate limits in the client's words: all that a translated answer keeps of its head."""
        return CIMultiDict(translated_limits(response.headers, exchange.dialect.name, self._clock.time()))

    def _context(self, exchange: Exchange) -> AnswerContext:
        route = exchange.route
        upstreams = route is not None and route.model_echo == "upstream"
        return AnswerContext(
            id=answer_id(exchange),
            model="" if upstreams else exchange.request.model,
            now_s=self._clock.time(),
            request=exchange.chat,
            duration_ns=int((exchange.deadline.now() - exchange.started_at_s) * 1e9),
        )


def answer_id(exchange: Exchange) -> str:
    """Return what the ids of an answer and of its items are made of.

    The exchange's id serves when the gateway made it. One that the client chose may hold any character, be longer than
    the 64 that OpenAI takes back, or be the same for a whole conversation, in which items must differ.
    """
    if "x-request-id" not in exchange.request.headers:
        return exchange.id
    return sha256(f"{exchange.id} {exchange.started_at_s}".encode()).hexdigest()[:32]


def parser_of(sent: Sent) -> StreamParser:
    """Return the parser of an answer's stream, which tells thinking in tags apart where the provider wants that."""
    parser = sent.dialect.stream_parser()
    return UntaggedParser(parser) if sent.provider.quirks.get("think_tags") else parser


@lru_cache(maxsize=256)
def media_type(content_type: str) -> str:
    """Return a content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_own(sent: Sent, body: bytes) -> bool:
    """Return whether `body` is an error as the client's dialect has them; any object where no dialect owns the path.

    Servers that say they speak a dialect answer `{"detail": …}` where their framework refuses, not they.
    """
    try:
        members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
        if sent.attempt.exchange.request.endpoint is None:
            return True
        error = msgspec.json.decode(members["error"])
        if sent.dialect.name == "ollama":
            return isinstance(error, str)
        if sent.dialect.name == "anthropic" and msgspec.json.decode(members["type"]) != "error":
            return False
        return isinstance(error, dict) and isinstance(error.get("message"), str)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
        return False
