"""The same request again within a while gets the same answer, at once and for nothing."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from hashlib import sha256
from typing import Any

import msgspec

from gateway.plugin import (
    ChatReply,
    ConfigError,
    Event,
    Exchange,
    Failure,
    Plugin,
    Raw,
    Reply,
    Services,
    StateLost,
    answer,
    fold,
)

NOT_IN_KEY = frozenset({"stream", "stream_options"})
"""How the answer is to be sent says nothing of what it is."""
NOT_AS_EVENTS = frozenset({"n", "logprobs", "top_logprobs", "modalities", "audio", "best_of", "echo", "background"})
"""A streamed answer to a request with one of these says more than events can hold: it is not kept."""
EMBEDDINGS = frozenset({"embeddings", "embed"})
_EMPTY = ChatReply(id="", model="", created_s=0, parts=())


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A kept answer: a plain one as its bytes, a streamed one as what its events came to."""

    target: str
    body: bytes | None = None
    content_type: str = ""
    reply: ChatReply | None = None


class Flight:
    """A request that others like it wait for. `landed` is set when it has ended, `kept` when its answer may be had."""

    def __init__(self) -> None:
        self.landed = asyncio.Event()
        self.kept: Kept | None = None


class Cache(Plugin):
    """Options:

    ttl: how long an answer is kept (5m). max_entry: the largest answer kept (1MiB). max_entries: how many answers this
    process keeps at most (1,000); the oldest go first.

    Exact: the whole body as it is forwarded, history of a session included, must be the same, and so must the caller,
    the route and the session's context. Only whole answers with status 200 are kept. Of equal requests at the same time
    one is sent and the others wait for its answer. `x-gateway-cache: no-store` on a request leaves it alone.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "x-after": {"session": "an answer would be given again whatever the turns before it, and no turn be kept"},
        "properties": {
            "ttl": {
                "type": "string",
                "format": "duration",
                "default": "5m",
                "description": "How long an answer is kept.",
            },
            "max_entry": {
                "type": "string",
                "format": "size",
                "default": "1MiB",
                "description": "The largest answer that is kept.",
            },
            "max_entries": {
                "type": "integer",
                "minimum": 1,
                "default": 1000,
                "description": "How many answers this process keeps at most; the oldest go first.",
            },
        },
    }

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self._ttl_s: float = options["ttl"]
        if not self._ttl_s:
            raise ConfigError("ttl is 0, which keeps no answer", cure="take the plugin out, or write for example 5m")
        self._largest: int = options["max_entry"]
        self._most: int = options["max_entries"]
        self._flights: dict[str, Flight] = {}
        self._keys: OrderedDict[str, float] = services.lasting("keys", OrderedDict)

    async def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """Answer from what is kept, or wait for an equal request, or send this one."""
        if not _may_be_kept(exchange):
            return await call_next(exchange)
        key = _key(exchange)
        kept = await self._find(key)
        if kept is None:
            flight = self._flights.get(key)
            if flight is None:
                return await self._send(exchange, key, call_next)
            await flight.landed.wait()
            kept = flight.kept
        if kept is None:  # it failed, or was left: those who waited do so no more
            return await call_next(exchange)
        return self._again(exchange, kept)

    async def finish(self, exchange: Exchange) -> None:
        """Keep a whole answer; let those who wait have it, or try themselves."""
        note = exchange.notes.pop("cache", None)
        if note is None:
            return
        key, flight, events = note
        try:
            if exchange.outcome == "completed" and exchange.status == 200:
                flight.kept = flight.kept or _of_events(exchange, events)
                if flight.kept is not None:
                    await self._keep(key, flight.kept)
        finally:
            self._flights.pop(key, None)
            flight.landed.set()

    async def _send(self, exchange: Exchange, key: str, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        flight = self._flights[key] = Flight()
        events: list[Event] = []
        exchange.notes["cache"] = (key, flight, events)
        if exchange.request.stream:
            exchange.observe(lambda _, event: events.append(event))
        reply = await call_next(exchange)
        exchange.headers["x-gateway-cache"] = "miss"
        if isinstance(reply.body, bytes) and reply.status == 200 and not exchange.request.stream:
            flight.kept = Kept(
                target=exchange.headers.get("x-gateway-target", ""),
                body=reply.body,
                content_type=reply.headers.get("content-type", ""),
            )
        return reply

    def _again(self, exchange: Exchange, kept: Kept) -> Reply:
        """Return a kept answer, plain or as a stream, as this client asked for it."""
        headers, route = exchange.headers, exchange.route
        headers["x-gateway-cache"] = "hit"
        if not exchange.request.stream:
            headers["x-gateway-cost-usd"] = "0"
        if route is not None:
            headers["x-gateway-route"] = route.name
        headers["x-gateway-target"], headers["x-gateway-attempts"] = kept.target, "0"
        is_chat = exchange.request.endpoint is not None and exchange.request.endpoint.is_chat
        if kept.body is not None and not (is_chat and (exchange.request.stream or _is_watched(exchange))):
            return Reply(200, {"content-type": kept.content_type}, kept.body)
        parsed = kept.reply if kept.body is None else exchange.dialect.parse_reply(kept.body)
        assert parsed is not None
        reply = answer(exchange, parsed, self.services.clock.time())
        if kept.body is not None and not exchange.request.stream:
            reply.body = kept.body  # observers have seen it; the client gets it as it was
        return reply

    # --- keeping -----------------------------------------------------------------------------------

    async def _find(self, key: str) -> Kept | None:
        try:
            value = await self.services.state.get(key)
        except StateLost:
            return None  # a cache that cannot be reached is an empty one
        return None if value is None else msgspec.msgpack.decode(value, type=Kept)

    async def _keep(self, key: str, kept: Kept) -> None:
        value = msgspec.msgpack.encode(kept)
        if len(value) > self._largest:
            return
        now = self.services.clock.monotonic()
        self._keys[key] = now + self._ttl_s
        self._keys.move_to_end(key)
        gone = []
        while self._keys and (len(self._keys) > self._most or next(iter(self._keys.values())) <= now):
            gone.append(self._keys.popitem(last=False)[0])
        try:
            await self.services.state.put(key, value, self._ttl_s)
            if gone:
                await self.services.state.delete(*gone)
        except StateLost:
            return


def _may_be_kept(exchange: Exchange) -> bool:
    request = exchange.request
    endpoint = request.endpoint
    if exchange.route is None or endpoint is None or request.fields is None or request.method != "POST":
        return False
    if exchange.parent_id is not None:  # a step: what its client is answered is kept whole
        return False
    if request.headers.get("x-gateway-cache", "").strip().lower() == "no-store":
        return False
    if request.stream and NOT_AS_EVENTS & request.fields.keys():
        return False
    return endpoint.is_chat or endpoint.name in EMBEDDINGS


def _key(exchange: Exchange) -> str:
    """Return the digest of all that makes two requests the same."""
    request = exchange.request
    whose = exchange.principal.name if exchange.principal is not None else None
    assert exchange.route is not None
    head = msgspec.json.encode(
        [whose, exchange.route.name, request.path, request.query, request.headers.get("anthropic-beta")]
    )
    digest = sha256(head)
    # What a session knows of its caller reaches tools, and so the answer, without standing in the request.
    if context := exchange.notes.get("session", {}).get("context"):
        digest.update(msgspec.json.encode(context, order="deterministic"))
    if exchange.chat_changed:  # a session's history, say: what is forwarded is what counts
        digest.update(msgspec.json.encode(msgspec.structs.replace(exchange.chat, stream=False, include_usage=False)))
    else:
        for name, value in sorted((request.fields or {}).items()):
            if name not in NOT_IN_KEY:
                # Without white space, which says nothing; what a value's bytes say stays exact.
                digest.update(name.encode("utf-8", "surrogatepass") + b":" + msgspec.json.format(value, indent=-1))
    return digest.hexdigest()


def _of_events(exchange: Exchange, events: list[Event]) -> Kept | None:
    """Return a streamed answer as it is kept, None when events do not hold all of it."""
    if not events or any(isinstance(event, Raw | Failure) for event in events):
        return None
    return Kept(target=exchange.headers.get("x-gateway-target", ""), reply=fold(_EMPTY, events))


def _is_watched(exchange: Exchange) -> bool:
    return bool(exchange.observers) or bool(
        exchange.route is not None and exchange.route.chain is not None and exchange.route.chain.observers
    )
