"""What a plugin asks, as a request; and what it is answered, in neutral words."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final, cast

import msgspec
from msgspec import Raw
from multidict import CIMultiDict, CIMultiDictProxy

from gateway.chat import ChatReply, ChatRequest, Event
from gateway.dialects.endpoints import Endpoint, exact
from gateway.dialects.protocol import Target
from gateway.dialects.table import DIALECTS
from gateway.errors import GatewayError, InternalError
from gateway.exchange import LONG_BYTES, ClientRequest, Exchange, Reply, Whole

PATHS: Final = {
    "openai_chat": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "openai_responses": "/v1/responses",
    "ollama": "/api/chat",
    "ollama_generate": "/api/generate",
}
"""Where a chat belongs that is written in a dialect."""
OF_ONE_REQUEST: Final = frozenset({"idempotency-key", "content-length", "content-encoding", "content-md5", "digest"})
"""Headers that are about the client's own body: two different requests with one key would get one answer."""
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode


def endpoint_of(chat: ChatRequest) -> Endpoint:
    """Return the endpoint that takes a chat of this dialect. Raises: InternalError for an unknown one."""
    path = PATHS.get(chat.dialect)
    endpoint = exact(path) if path is not None else None
    if endpoint is None:
        raise InternalError(f'a chat to be asked names no dialect that is known: "{chat.dialect[:50]}"')
    return endpoint


async def request_for(parent: Exchange, chat: ChatRequest, endpoint: Endpoint) -> ClientRequest:
    """Return the request as the client of `parent` would have sent it. Raises: BadRequest."""
    client = parent.request
    query = client.query if client.endpoint is endpoint else ""
    headers = _headers(client.headers, parent.notes.get("session"))
    request = ClientRequest("POST", endpoint.path, query, headers, remote=client.remote, secure=client.secure)
    request.endpoint, request.model, request.stream = endpoint, chat.model, chat.stream
    request.credential_header = client.credential_header
    render, goal = DIALECTS[endpoint.dialect].render_request, Target(model=chat.model)
    long = len(client.body) > LONG_BYTES or sum(map(_size, chat.messages)) > LONG_BYTES
    rendered = await asyncio.to_thread(render, chat, goal) if long else render(chat, goal)
    request.body, request.fields = rendered.body, _decode_fields(rendered.body)
    return request


class Listed:
    """A whole answer's events, one after the other."""

    def __init__(self, events: Iterable[Event]) -> None:
        self._events = iter(events)

    def __aiter__(self) -> Listed:
        return self

    async def __anext__(self) -> Event:
        event = next(self._events, None)
        if event is None:
            raise StopAsyncIteration
        return event


def answer_in(exchange: Exchange, reply: Reply) -> ChatReply | AsyncIterator[Event]:
    """Return what a child was answered. Bytes are a plugin's own answer, written as for a client of its dialect.

    Raises: GatewayError for an error, UpstreamError for what is no answer.
    """
    body: Any = reply.body
    if isinstance(body, Whole):
        return body.reply
    if not isinstance(body, bytes):
        if not hasattr(body, "__anext__"):
            raise InternalError("a child was answered in a form that cannot be read")
        return cast("AsyncIterator[Event]", body)
    dialect = exchange.dialect
    if reply.status >= 400:
        said = dialect.parse_error(reply.status, reply.headers, body)
        failure = GatewayError(said.message, code=said.code, param=said.param, retry_after_s=said.retry_after_s)
        failure.status = said.status
        raise failure
    if exchange.request.stream and reply.headers.get("content-type", "").startswith(dialect.stream_type):
        parser = dialect.stream_parser()
        return Listed([*parser.feed(body), *parser.end()])
    return dialect.parse_reply(body)


def _headers(given: CIMultiDictProxy[str], session: Any) -> CIMultiDictProxy[str]:
    """Return the client's headers, with the session that its body named: it is where a sticky route goes by."""
    kept = [pair for pair in given.items() if pair[0].lower() not in OF_ONE_REQUEST]
    if isinstance(session, Mapping) and isinstance(session.get("id"), str) and "x-session-id" not in given:
        kept.append(("x-session-id", session["id"]))
    return given if len(kept) == len(given) else CIMultiDictProxy(CIMultiDict(kept))


def _size(message: Any) -> int:
    """Return about how long a message's texts are."""
    return sum(len(getattr(part, "text", None) or "") for part in message.parts)
