"""Conversations kept at the gateway: a client sends its next turn, the turns before it are added here."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.plugin import (
    EXCHANGE,
    BadRequest,
    ChatReply,
    ConfigError,
    Event,
    Exchange,
    Message,
    NotFound,
    Plugin,
    Reply,
    Services,
    StateLost,
    fold,
    web,
)  # fmt: skip

from .listed import LONGEST_TTL_S, PREFIX, ended, listed, meta_key, new_id, one, remember, turns_key
from .stored import Meta, Stored, decode_meta, decode_stored, encode, shown, whole_turns

LARGEST_CONTEXT_BYTES = 256 * 1024
LONG_BYTES = 32 * 1024
"""A body longer than this is parsed in a thread."""
_EMPTY = ChatReply(id="", model="", created_s=0, parts=())


class Joined:
    """A session that an exchange has joined, and what came of it so far."""

    __slots__ = ("asked", "events", "id", "meta")

    def __init__(self, id: str, meta: Meta) -> None:
        self.id, self.meta = id, meta
        self.asked: tuple[Message, ...] = ()
        self.events: list[Event] = []


class Session(Plugin):
    """Options:

    ttl: how long a session lives after its last turn (1h). max_messages: how many messages are kept and sent (200);
    the oldest turns go first, a tool's call never without its result. when_state_is_lost: deny (default, 503) or allow
    (requests go on without their history).

    Paths: POST /v1/sessions, GET and DELETE /v1/sessions/{id}. A request joins by `session_id` in its body, which is
    taken out, or by the header x-session-id. A session is its principal's alone.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "x-after": {"auth": "its paths would be open to everybody"},
        "properties": {
            "ttl": {
                "type": "string",
                "format": "duration",
                "default": "1h",
                "description": "How long a session lives after its last turn.",
            },
            "max_messages": {
                "type": "integer",
                "minimum": 2,
                "maximum": 100_000,
                "default": 200,
                "description": "Messages kept and sent; the oldest turns go first.",
            },
            "when_state_is_lost": {
                "enum": ["deny", "allow"],
                "default": "deny",
                "description": "When the shared state is lost: 503, or go on without history.",
            },
        },
    }

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self._state, self._clock = services.state, services.clock
        self._ttl_s: float = options["ttl"]
        if self._ttl_s < 1:
            raise ConfigError("ttl ends a session before its first turn", cure="write 1s or more, such as 1h")
        self._most: int = options["max_messages"]
        self._goes_on = options["when_state_is_lost"] == "allow"

    async def start(self) -> None:
        """Let the dashboard ask."""
        state, respond = self._state, self.services.group.respond
        respond("sessions", lambda given: listed(state, given))
        respond("session", lambda given: one(state, given))
        respond("end_session", lambda given: ended(state, given))

    # --- paths -------------------------------------------------------------------------------------

    def http_routes(self) -> Sequence[web.AbstractRouteDef]:
        """Create, show and delete."""
        return [
            web.post("/v1/sessions", self._create),
            web.get("/v1/sessions/{id}", self._show),
            web.delete("/v1/sessions/{id}", self._delete),
        ]

    async def _create(self, request: web.Request) -> web.Response:
        given = _object(await request.read())
        unknown = sorted(given.keys() - {"ttl_seconds", "context"})
        if unknown:
            raise BadRequest(f'unknown field "{unknown[0]}"; a session takes ttl_seconds and context', param=unknown[0])
        ttl_s, context = given.get("ttl_seconds", self._ttl_s), given.get("context", {})
        if isinstance(ttl_s, bool) or not isinstance(ttl_s, int | float) or not 1 <= ttl_s <= LONGEST_TTL_S:
            raise BadRequest(f"ttl_seconds must be a number from 1 to {LONGEST_TTL_S}", param="ttl_seconds")
        if not isinstance(context, dict) or len(encode(context)) > LARGEST_CONTEXT_BYTES:
            raise BadRequest(
                f"context must be an object of at most {LARGEST_CONTEXT_BYTES // 1024} KiB", param="context"
            )
        meta = Meta(
            principal=_name(request[EXCHANGE]), created_at=self._clock.time(), ttl_s=float(ttl_s), context=context
        )
        id = new_id(meta.created_at)
        await self._state.put(meta_key(id), encode(meta), meta.ttl_s)
        await remember(self._state, id, meta.principal)
        return self._shown(id, meta, [], 201)

    async def _show(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        meta = await self._find(id, request[EXCHANGE])
        return self._shown(id, meta, await self._stored(id), 200)

    async def _delete(self, request: web.Request) -> web.Response:
        id = request.match_info["id"]
        await self._find(id, request[EXCHANGE])
        await self._state.delete(meta_key(id), turns_key(id))
        return web.Response(status=204)

    def _shown(self, id: str, meta: Meta, stored: list[Stored], status: int) -> web.Response:
        last_at = stored[-1].at if stored else meta.created_at
        return web.json_response(
            {
                "id": id,
                "messages": [shown(each) for each in whole_turns([one.message for one in stored], self._most)],
                "context": meta.context,
                "created_at": int(meta.created_at),
                "expires_at": int(last_at + meta.ttl_s),
            },
            status=status,
        )

    # --- turns -------------------------------------------------------------------------------------

    async def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Reply:
        """Put the turns before this one into the request. Raises: NotFound, StateLost."""
        endpoint = exchange.request.endpoint
        if exchange.route is None and endpoint is None:
            # A plugin's own path, whose body nobody has read yet: whoever serves it asks for the session it names.
            exchange.notes["session_context"] = partial(self._context, exchange)
        if exchange.route is None or endpoint is None or not endpoint.is_chat or exchange.parent_id is not None:
            return await call_next(exchange)
        id = _asked_for(exchange)
        if id is None:
            return await call_next(exchange)
        try:
            joined = Joined(id, await self._find(id, exchange))
            before = whole_turns([each.message for each in await self._stored(id)], self._most)
        except StateLost:
            if self._goes_on:
                return await call_next(exchange)
            raise
        if len(exchange.request.body) > LONG_BYTES:
            await asyncio.to_thread(lambda: exchange.chat)
        chat = exchange.chat
        first = next(
            (at for at, message in enumerate(chat.messages) if message.role not in ("system", "developer")),
            len(chat.messages),
        )
        joined.asked = chat.messages[first:]
        if before:
            exchange.chat = replace(chat, messages=(*chat.messages[:first], *before, *joined.asked))
        exchange.notes["session"] = {"id": id, "context": joined.meta.context, "joined": joined}
        exchange.observe(lambda _, event: joined.events.append(event))
        return await call_next(exchange)

    async def complete(self, exchange: Exchange) -> None:
        """Store the turn before its last byte is let go. Raises: StateLost."""
        joined: Joined | None = exchange.notes.get("session", {}).get("joined")
        if joined is None:
            return
        parts = fold(_EMPTY, joined.events).parts
        if not parts:
            return
        now = self._clock.time()
        turn = (*joined.asked, Message(role="assistant", parts=parts))
        try:
            await self._state.push(
                turns_key(joined.id),
                [encode(Stored(at=now, message=message)) for message in turn],
                joined.meta.ttl_s,
                at_most=self._most,
                only_with=meta_key(joined.id),
            )
        except StateLost:
            if not self._goes_on:
                raise

    async def _context(self, exchange: Exchange, id: str | None) -> Mapping[str, Any]:
        """Return the context of session `id`, or of the one that the header names; empty when neither names one.

        For plugins whose paths take a session: `await exchange.notes["session_context"](id)`. Raises: NotFound,
        StateLost.
        """
        header = exchange.request.headers.get("x-session-id", "")
        id = id if id is not None else header if header.startswith(PREFIX) else None
        if id is None:
            return {}
        try:
            meta = await self._find(id, exchange)
        except StateLost:
            if self._goes_on:
                return {}
            raise
        exchange.notes["session"] = {"id": id, "context": meta.context}
        return meta.context

    async def _find(self, id: str, exchange: Exchange) -> Meta:
        """Return a session that is this principal's. Raises: NotFound, which tells nobody that another has it."""
        kept = await self._state.get(meta_key(id)) if id.startswith(PREFIX) and len(id) <= 100 else None
        meta = decode_meta(kept) if kept is not None else None
        if meta is None or meta.principal != _name(exchange):
            raise NotFound("no such session; POST /v1/sessions makes one", param="session_id")
        return meta

    async def _stored(self, id: str) -> list[Stored]:
        return [decode_stored(each) for each in await self._state.items(turns_key(id))]


def _asked_for(exchange: Exchange) -> str | None:
    """Return the session that a request names, taken out of its body; None when it names none. Raises: BadRequest."""
    fields = exchange.request.fields
    if fields is not None and "session_id" in fields:
        try:
            named = msgspec.json.decode(fields.pop("session_id"), type=str | None)
        except msgspec.DecodeError:
            raise BadRequest("session_id must be a string", param="session_id") from None
        if named is not None:
            return named
    header = exchange.request.headers.get("x-session-id", "")
    return header if header.startswith(PREFIX) else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(body, type=dict[str, Any]) if body.strip() else {}
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest("the body must be a JSON object") from None


def _name(exchange: Exchange) -> str | None:
    return exchange.principal.name if exchange.principal is not None else None
