"""The request that goes to a target, made of what the client sent: as it is, or rendered in the target's words."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from gateway.attempts import foreign
from gateway.attempts.elsewhere import path_elsewhere, rendered_embeddings
from gateway.attempts.outgoing import headers_for, joined, model_for, must_be_rendered, native_body, rendered_body
from gateway.attempts.written import MOST_KEPT, WrittenHead, learn
from gateway.dialects.protocol import Dialect
from gateway.dialects.table import DIALECTS
from gateway.exchange import LONG_BYTES, Attempt, Exchange
from gateway.plugin import Log
from gateway.secret import Secret
from gateway.upstream.direct import DirectTransport
from gateway.upstream.head import head_bytes
from gateway.upstream.provider import Provider
from gateway.upstream.transport import UpstreamRequest

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
"""What heads were written for by a configuration that a reload replaced must not be found by another."""


class Preparing:
    """Prepares the requests of one route. `wants_usage` says that somebody acts on what streams used, so that it is
    asked for; `single_key` whether a provider, by name, has no more than one."""

    def __init__(self, log: Log, *, wants_usage: bool, single_key: Callable[[str], bool]) -> None:
        self._log, self._wants_usage, self._single_key = log, wants_usage, single_key
        self._tells_steps = log.is_enabled("debug")
        self._number = next(_numbers)

    def written(self, attempt: Attempt, provider: Provider, number: int) -> WrittenHead | None:
        """Return the head that was written before for requests like this one, with the key of that number; None where
        it has to be prepared."""
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
        found: WrittenHead | None = memo.get((self._number, provider.name, number, client.credential_header))
        return found

    def again(self, attempt: Attempt, provider: Provider, number: int) -> UpstreamRequest | None:
        """Return the request where its head was written before; None leaves it to `request`."""
        exchange = attempt.exchange
        written = self.written(attempt, provider, number)
        if written is None:
            return None
        client, timeouts = exchange.request, exchange.timeouts
        body = native_body(attempt, wants_usage=self._wants_usage)
        head = written.head(exchange.id, len(body))
        if head is None:
            return None
        return UpstreamRequest(
            method="POST",
            path="",
            headers=(),
            body=body,
            connect_s=timeouts.connect_s,
            head_s=timeouts.first_token_s if client.stream else 0.0,
            head=head,
        )

    async def request(
        self, attempt: Attempt, provider: Provider, number: int, key: Secret | None, path: str, *, native: bool
    ) -> tuple[UpstreamRequest, Dialect]:
        """Return the request and the dialect it is in. Raises: BadRequest for what that cannot say."""
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

    def path(self, exchange: Exchange, provider: Provider) -> tuple[str | None, bool]:
        """Return the upstream path, None for what is answered here, and whether the target serves the client's
        endpoint itself. Raises: BadRequest where neither is possible."""
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
        endpoint, route = exchange.request.endpoint, exchange.route
        return (
            endpoint is not None
            and endpoint.is_read
            and isinstance(provider.transport, DirectTransport)
            and not provider.quirks.get("think_tags")
            and self._single_key(provider.name)
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


def listed(names: tuple[str, ...]) -> str:
    """Return field names as a header's value: printable ASCII, at most 1,000 characters, the rest counted."""
    shown = ["".join(c if "!" <= c <= "~" and c != "," else "?" for c in name[:100]) for name in names]
    text = ", ".join(shown)
    while len(text) > 1000:
        shown.pop()
        text = f"{', '.join(shown)}, and {len(names) - len(shown)} more"
    return text
