"""One try at one target: the request goes out, with each usable key once; `answer` judges what comes back."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from email.utils import formatdate

from gateway.attempts import foreign
from gateway.attempts.answer import Answers, Sent
from gateway.attempts.elsewhere import made_here, path_elsewhere, rendered_embeddings
from gateway.attempts.outgoing import headers_for, joined, model_for, must_be_rendered, native_body, rendered_body
from gateway.attempts.short import Short
from gateway.attempts.written import MOST_KEPT, learn
from gateway.chain import Chain
from gateway.dialects.protocol import Dialect
from gateway.dialects.table import DIALECTS
from gateway.errors import UpstreamError
from gateway.exchange import LONG_BYTES, Attempt, Exchange, Reply, Whole
from gateway.plugin import Clock, Log
from gateway.relay.passing import passing_of
from gateway.secret import Secret
from gateway.upstream.direct import DirectTransport
from gateway.upstream.head import head_bytes
from gateway.upstream.keys import CREDENTIAL_STATUSES, Keys
from gateway.upstream.provider import Provider
from gateway.upstream.repeated import conceal
from gateway.upstream.transport import UpstreamRequest, UpstreamResponse

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
_numbers = itertools.count()
"""Of senders: what heads were written for by one that a reload replaced must not be found by another."""


class Sender:
    """Sends the attempts of one route. `keys` are the providers' credentials, by provider name; `wants_usage` says that
    somebody acts on what streams used, so that it is asked for."""

    def __init__(
        self,
        chain: Chain,
        keys: dict[str, Keys],
        clock: Clock,
        log: Log,
        most_decoded_bytes: int,
        *,
        wants_usage: bool = False,
    ) -> None:
        self._keys, self._clock, self._log, self._wants_usage = keys, clock, log, wants_usage
        self._tells_steps = log.is_enabled("debug")
        self._number = next(_numbers)
        self._answers = Answers(chain, clock, most_decoded_bytes)
        watched = chain.observers or chain.transformers
        self._short = None if self._tells_steps or watched else Short(self._number, self._send_long, self.judged)

    def send(self, attempt: Attempt) -> Awaitable[Reply]:
        """Try `attempt.target`, each usable key once. Raises: UpstreamError, GatewayError."""
        provider = attempt.target.provider
        keys = self._keys.get(provider.name)
        if self._short is not None and (answer := self._short.answer(attempt, provider, keys)) is not None:
            return answer
        return self._send_long(attempt, provider, keys)

    def _send_long(self, attempt: Attempt, provider: Provider, keys: Keys | None) -> Awaitable[Reply]:
        if keys is None:
            return self._send_with(attempt, provider, None, 0, None)
        model = model_for(attempt.exchange, attempt.target)
        taken = keys.take(model, attempt.exchange.request)
        assert taken is not None  # rest takes the last one not out
        if len(keys.credentials) == 1:
            return self._send_with(attempt, provider, keys, 0, taken[1])
        return self._send_in_turn(attempt, provider, keys, model, taken)

    async def _send_in_turn(
        self, attempt: Attempt, provider: Provider, keys: Keys, model: str, taken: tuple[int, Secret | None]
    ) -> Reply:
        refused: frozenset[int] = frozenset()
        while True:
            number, key = taken
            try:
                return await self._send_with(attempt, provider, keys, number, key)
            except UpstreamError as error:
                if error.kind != "status" or error.upstream_status not in CREDENTIAL_STATUSES | {429}:
                    raise
                refused |= {number}
                following = keys.take(model, attempt.exchange.request, refused)
                if following is None:
                    raise
                taken = following

    async def _send_with(
        self, attempt: Attempt, provider: Provider, keys: Keys | None, number: int, key: Secret | None
    ) -> Reply:
        exchange = attempt.exchange
        client = exchange.request
        dialect, native = exchange.dialect, True
        request = self._again(attempt, provider, number)
        if request is None:
            path, native = self._path(exchange, provider)
            if path is None:
                if len(client.body) > LONG_BYTES:
                    return await asyncio.to_thread(made_here, exchange)
                return made_here(exchange)
            request, dialect = await self._prepared(attempt, provider, number, key, path, native=native)
        if self._tells_steps:
            self._log.debug(
                "attempt",
                request_id=exchange.id,
                target=exchange.headers.get("x-gateway-target"),
                attempt=attempt.number,
                method=request.method,
                path=request.path.partition("?")[0],  # SECURITY: some clients put their key into the query
                dialect=dialect.name,
                verbatim=native,
                body_bytes=len(request.body) if isinstance(request.body, bytes) else None,
                remaining_ms=int(attempt.deadline.remaining() * 1000),
            )
        lease = provider.transport.send(request, deadline=attempt.deadline.at)
        now = exchange.deadline.now
        attempt.sent_at_s, attempt.received_at_s = attempt.sent_at_s or now(), None
        try:
            response = await lease.__aenter__()
        except BaseException as error:
            attempt.received_at_s = now()
            if not request.is_sent and not isinstance(error, UpstreamError):
                attempt.sent_at_s = None  # given up before there was a connection
            raise
        return await self.judged(attempt, Sent(attempt, provider, dialect, native, lease), keys, number, response)

    async def judged(
        self, attempt: Attempt, sent: Sent, keys: Keys | None, number: int, response: UpstreamResponse
    ) -> Reply:
        """Return the answer, learning from its head what it says of the key. Raises: UpstreamError."""
        exchange, provider = attempt.exchange, sent.provider
        if self._tells_steps:
            self._log.debug(
                "upstream_head",
                request_id=exchange.id,
                target=exchange.headers.get("x-gateway-target"),
                attempt=attempt.number,
                status=response.status,
                content_type=response.headers.get("content-type"),
            )
        handed_over = False
        try:
            attempt.status = status = response.status
            if status >= 400 and "date" not in response.headers:  # RFC 9110, 6.6.1: the recipient's own is as good
                response.headers["date"] = formatdate(self._clock.time(), usegmt=True)
            head = response.head
            passing = passing_of(head) if head is not None else None
            if keys is not None and (passing is None or passing.has_limits or keys.any_rests):
                model = model_for(exchange, attempt.target)
                pause_s = keys.learn(number, model, status, response.headers, attempt.started_at_s)
                if pause_s:
                    self._note_rest(attempt, status, number, pause_s)
            if sent.native and passing is not None and (reply := self._answers.at_once(attempt, passing, response)):
                return reply
            reply = await self._answers.judge(sent, response)
            handed_over = not isinstance(reply.body, bytes | Whole)
            return reply
        except UpstreamError as error:
            conceal(error, provider, exchange.request.headers)
            raise
        finally:
            if not handed_over:
                attempt.received_at_s = attempt.received_at_s or exchange.deadline.now()
                await sent.lease.__aexit__(None, None, None)

    async def _prepared(
        self, attempt: Attempt, provider: Provider, number: int, key: Secret | None, path: str, *, native: bool
    ) -> tuple[UpstreamRequest, Dialect]:
        """Return the request, written from what the client sent, and the dialect it is in."""
        exchange, target = attempt.exchange, attempt.target
        client, dialect = exchange.request, exchange.dialect
        extra: dict[str, str] = {}
        if exchange.dropped:  # by a target that was tried before
            exchange.dropped = ()
            exchange.headers.pop("x-gateway-dropped", None)
        is_rendered = not native or exchange.chat_changed or must_be_rendered(exchange, target)
        if not is_rendered:
            body = native_body(attempt, wants_usage=self._wants_usage)
        else:
            dialect = exchange.dialect if native else DIALECTS[NATIVE_DIALECT[provider.dialect]]
            if native or client.endpoint is None or client.endpoint.kind == "chat":
                model = model_for(exchange, target)
                wants = self._wants_usage or exchange.origin is not None
                if len(client.body) <= LONG_BYTES:
                    rendered = rendered_body(attempt, dialect, model, wants_usage=wants)
                else:
                    rendered = await asyncio.to_thread(rendered_body, attempt, dialect, model, wants_usage=wants)
            else:
                rendered = rendered_embeddings(attempt, provider, client.endpoint)
            body, extra = rendered.body, dict(rendered.headers)
            if rendered.dropped:
                self._note_dropped(exchange, rendered.dropped)
        if foreign.is_abroad(exchange, target) and foreign.holds_reasoning(body, dialect.name):
            body = await self._without_reasoning(exchange, body, dialect.name)
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
        if not is_rendered and not self._tells_steps:
            self._learn(attempt, provider, number, request)
        return request, dialect

    def _again(self, attempt: Attempt, provider: Provider, number: int) -> UpstreamRequest | None:
        """Return the request where its head was written before; None leaves it to `_prepared`."""
        exchange = attempt.exchange
        client = exchange.request
        memo = client.memo
        if (
            memo is None
            or client.members is None
            or exchange.chat_changed
            or exchange.dropped
            or attempt.request_headers
        ):
            return None
        written = memo.get((self._number, provider.name, number, client.credential_header))
        if written is None:
            return None
        body = native_body(attempt, wants_usage=self._wants_usage)
        head = written.head(exchange.id, len(body))
        if head is None:
            return None
        timeouts = exchange.timeouts
        return UpstreamRequest(
            method="POST",
            path="",
            headers=(),
            body=body,
            connect_s=timeouts.connect_s,
            head_s=timeouts.first_token_s if client.stream else 0.0,
            head=head,
        )

    def _learn(self, attempt: Attempt, provider: Provider, number: int, request: UpstreamRequest) -> None:
        """Keep the head that is being sent for the next request under the same one of the client's.

        Not where a body may have to be looked into before it is sent (see `must_be_rendered`, `foreign`).
        """
        exchange, tail = attempt.exchange, provider.transport.request_tail
        client = exchange.request
        memo, query = client.memo, client.query
        if memo is None or tail is None or query or attempt.request_headers or client.members is None:
            return
        if exchange.dialect.name in foreign.LEFT_OUT or request.method != "POST":
            return
        request.head = head_bytes(request, tail)
        written = learn(request.head, exchange.id)
        if written is not None:
            written.is_short = self._is_short(exchange, provider)
            if len(memo) >= MOST_KEPT:
                memo.clear()
            memo[self._number, provider.name, number, client.credential_header] = written

    def _is_short(self, exchange: Exchange, provider: Provider) -> bool:
        """Return whether requests under this head may go the shortest way: see `short`."""
        endpoint, keys, route = exchange.request.endpoint, self._keys.get(provider.name), exchange.route
        return (
            endpoint is not None
            and endpoint.is_read
            and isinstance(provider.transport, DirectTransport)
            and not provider.quirks.get("think_tags")
            and (keys is None or len(keys.credentials) == 1)
            and (route is None or route.model_echo != "requested")
        )

    async def _without_reasoning(self, exchange: Exchange, body: bytes, dialect: str) -> bytes:
        """Return the body without what another provider signed, and say that it was left out."""
        strip = foreign.without_reasoning
        mended = await asyncio.to_thread(strip, body, dialect) if len(body) > LONG_BYTES else strip(body, dialect)
        if mended is None:
            return body
        self._note_dropped(exchange, (*exchange.dropped, foreign.LEFT_OUT[dialect]))
        return mended

    def _note_rest(self, attempt: Attempt, status: int, number: int, pause_s: float) -> None:
        self._log.warning(
            "key_rests",
            request_id=attempt.exchange.id,
            provider=attempt.target.provider.name,
            key=number + 1,
            upstream_status=status,
            rest_s=round(pause_s, 3),
        )

    def _note_dropped(self, exchange: Exchange, names: tuple[str, ...]) -> None:
        """Tell the client, and the log when the route wants a warning, which fields the target cannot take."""
        exchange.dropped = names
        exchange.headers["x-gateway-dropped"] = listed(names)
        if exchange.route is not None and exchange.route.on_unsupported == "warn":
            self._log.warning(
                "fields_dropped",
                request_id=exchange.id,
                route=exchange.route.name,
                target=exchange.headers.get("x-gateway-target"),
                fields=names,
            )

    def _path(self, exchange: Exchange, provider: Provider) -> tuple[str | None, bool]:
        """Return the upstream path, None for what is answered here, and whether the target serves the client's
        endpoint itself."""
        request = exchange.request
        endpoint = request.endpoint
        if endpoint is None:
            return joined(provider.base_path, request.upstream_path), True
        path = provider.path_of(endpoint)
        if path is not None:
            return path, True
        if endpoint.kind != "chat" or provider.dialect not in NATIVE_DIALECT or endpoint.name == "count_tokens":
            return path_elsewhere(provider, endpoint), False
        return provider.base_path + CHAT_PATHS[NATIVE_DIALECT[provider.dialect]], False


def listed(names: tuple[str, ...]) -> str:
    """Return field names as a header's value: printable ASCII, at most 1,000 characters, the rest counted."""
    shown = ["".join(c if "!" <= c <= "~" and c != "," else "?" for c in name[:100]) for name in names]
    text = ", ".join(shown)
    while len(text) > 1000:
        shown.pop()
        text = f"{', '.join(shown)}, and {len(names) - len(shown)} more"
    return text
