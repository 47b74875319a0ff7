"""How many requests and tokens, and how many at once, for whom. Exact over all processes that share the state."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from math import ceil
from typing import Any

from gateway.plugin import (
    Bucket,
    Claim,
    Exchange,
    Lease,
    Plugin,
    RateLimited,
    Reply,
    Services,
    StateLost,
    StateStore,
    Taken,
)  # fmt: skip

from .asked import Asked, Held
from .headers import Standing, write, write_plain
from .limits import Caller, Limit, Over, of_principal, over_caller, read
from .remaining import remaining

RENEW_S = 10.0
"""How often the leases of running requests are renewed: a third of a lease's life."""
LOOK_AGAIN_S = 1.0
"""When to come back for a place: one is free as soon as any request ends. When its lease ends says how long it takes
at most, which is half a minute, and clients wait as long as they are told."""
COUNTED = "rate_limit: counted"
MOST_REMEMBERED = 20_000
"""Callers whose limits are not looked together again for every request."""


class RateLimit(Plugin):
    """Options:

    limits: a list of {per, requests, tokens, concurrency, burst, shadow}. per: key, user, team, tag:NAME, model, route,
    ip or header:NAME. requests and tokens are rates (60/min, 100k/min): token buckets that begin full. burst: how many
    requests at once (default: one period's). concurrency: how many at the same time. shadow: log who would have been
    refused, and refuse nobody. A caller without the tag is not under a limit per that tag; callers without the header
    are counted together.
    shadow: the same for all limits (default false).
    when_state_is_lost: local (default: every process counts for itself and admits its share), allow, or deny (503).

    Tokens are reserved by an estimate and settled to what was used. Limits beside a key in auth.keys hold too.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "limits": {
                "type": "array",
                "default": [],
                "description": "Who is counted, and what; every limit must allow a request.",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["per"],
                    "properties": {
                        "per": {
                            "type": "string",
                            "description": "key, user, team, tag:NAME, model, route, ip or header:NAME.",
                        },
                        "requests": {"type": "string", "format": "rate", "description": "Such as 60/min or 10/s."},
                        "tokens": {"type": "string", "format": "rate", "description": "Such as 100k/min."},
                        "concurrency": {"type": "integer", "minimum": 1, "description": "Requests at the same time."},
                        "burst": {"type": "integer", "minimum": 1, "description": "Requests at once; one period's."},
                        "shadow": {"type": "boolean", "description": "Only log who would be refused."},
                    },
                },
            },
            "shadow": {"type": "boolean", "default": False, "description": "Only log who would be refused."},
            "when_state_is_lost": {
                "enum": ["local", "allow", "deny"],
                "default": "local",
                "description": "When the shared state is lost: this process's share, everybody, nobody.",
            },
        },
    }

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self._limits = read(options["limits"], shadow=options["shadow"])
        self._policy: str = options["when_state_is_lost"]
        self._renewed: set[Held] = set()
        self._renewing: asyncio.Task[None] | None = None
        self._stands = services.route, self._limits
        self._standing: list[tuple[str | None, list[Limit]]] = services.lasting("standing", list)
        """Every instance that has started and is not closed; of a route the last one is in force."""
        self._callers: dict[int, Caller] = {}
        self.needs_usage = any(limit.kind == "tokens" for limit in self._limits)

    async def start(self) -> None:
        """Let the dashboard ask what remains."""
        self._standing.append(self._stands)
        state, standing = self.services.state, self._standing
        self.services.group.respond("remaining", lambda given: remaining(state, dict(standing).items(), given))

    async def close(self) -> None:
        """Stop renewing, and no longer stand."""
        if self._stands in self._standing:
            self._standing.remove(self._stands)
        if self._renewing is not None:
            self._renewing.cancel()

    def handle(self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]]) -> Awaitable[Reply]:
        """Take what the request needs of every limit, or refuse it. Raises: RateLimited, StateLost."""
        route = exchange.route
        if route is None:  # pages, health, what nobody serves
            return call_next(exchange)
        caller = self._caller(exchange)
        if exchange.parent_id is not None or route.plugin or caller.shadows:
            return self._handle_apart(exchange, call_next, caller)
        exchange.notes[COUNTED] = True
        asked = Asked(exchange, caller.over)
        if asked.claims:
            taken = self.services.state.take_at_once(asked.claims)
            if taken is None:
                return self._handle_later(exchange, call_next, asked, caller)
            self._decide(exchange, asked, self.services.state, taken, caller.is_plain)
        return call_next(exchange)

    async def _handle_later(
        self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]], asked: Asked, caller: Caller
    ) -> Reply:
        """As `handle`, when the state has to be waited for."""
        await self._take(exchange, asked, caller.is_plain)
        return await call_next(exchange)

    async def _handle_apart(
        self, exchange: Exchange, call_next: Callable[[Exchange], Awaitable[Reply]], caller: Caller
    ) -> Reply:
        """As `handle`, for requests that are not under every limit, and for limits that only watch."""
        is_step = exchange.parent_id is not None
        if not is_step:
            exchange.notes[COUNTED] = True
        elif exchange.is_inside and (asking := _uncounted(exchange)) is not None:
            asking.notes[COUNTED] = True
            await self._take_some(asking, caller, tokens=False, others=True)
        # What a plugin answers sends nothing itself: tokens are for what is asked on its behalf.
        is_sent = exchange.route is not None and not exchange.route.plugin
        await self._take_some(exchange, caller, tokens=is_sent, others=not is_step)
        return await call_next(exchange)

    def finish(self, exchange: Exchange) -> Awaitable[None] | None:
        """Settle tokens to what was used, let go of the leases."""
        held: Held | None = exchange.notes.pop("rate_limit", None)
        if held is None:
            if exchange.parent_id is not None:
                _count_inside(exchange)
            return None
        if held.has_leases:
            self._renewed.discard(held)
        corrections = held.corrections(exchange)
        if not corrections or held.store.settle_at_once(corrections):
            return None
        return _settle(held.store, corrections)

    def _caller(self, exchange: Exchange) -> Caller:
        """Return what stands over this caller, the limits beside its key too."""
        principal = exchange.principal
        known = self._callers.get(id(principal))
        if known is None:
            limits = self._limits if principal is None else [*self._limits, *of_principal(principal)]
            if len(self._callers) >= MOST_REMEMBERED:
                self._callers.clear()
            known = self._callers[id(principal)] = over_caller(limits, exchange)
        return known

    async def _take_some(self, exchange: Exchange, caller: Caller, *, tokens: bool, others: bool) -> None:
        """Take of the limits on tokens, or of the others, or of all. Raises: RateLimited, StateLost."""
        for each in caller.shadows:
            if tokens if each.limit.kind == "tokens" else others:
                await self._watch(exchange, each)
        over = [each for each in caller.over if (tokens if each.limit.kind == "tokens" else others)]
        asked = Asked(exchange, over)
        if asked.claims:
            await self._take(exchange, asked, caller.is_plain)

    async def _take(self, exchange: Exchange, asked: Asked, is_plain: bool) -> None:
        """Take what is asked for. Raises: RateLimited, StateLost."""
        store = self.services.state
        try:
            taken = await store.take(asked.claims)
        except StateLost:
            if self._policy == "deny":
                raise
            if self._policy == "allow":
                return
            store, is_plain = self.services.local, False  # a share of the limit is told as what it is
            asked = Asked(exchange, asked.over, self.services.workers)
            taken = await store.take(asked.claims)
        self._decide(exchange, asked, store, taken, is_plain)

    def _decide(self, exchange: Exchange, asked: Asked, store: StateStore, taken: Taken, is_plain: bool) -> None:
        """Note what was taken, and tell the client of it. Raises: RateLimited."""
        if taken.allowed and asked.held:
            self._hold(exchange, store, asked.held)
        self._tell(exchange, asked.over, asked.claims, taken, is_plain)

    def _hold(self, exchange: Exchange, store: StateStore, claims: list[Claim]) -> None:
        """Note what has to be settled or let go of when the exchange has ended."""
        held: Held | None = exchange.notes.get("rate_limit")
        if held is None or held.store is not store:
            held = exchange.notes["rate_limit"] = Held(store, claims)
        else:
            held.claims += claims
        if held.has_leases:
            self._renewed.add(held)
            if self._renewing is None or self._renewing.done():
                self._renewing = asyncio.get_running_loop().create_task(self._renew())

    async def _renew(self) -> None:
        """Keep the leases of running requests alive; ends when none is left."""
        while self._renewed:
            await asyncio.sleep(RENEW_S)
            by_store: dict[int, tuple[StateStore, list[Lease]]] = {}
            for held in self._renewed:
                by_store.setdefault(id(held.store), (held.store, []))[1].extend(held.leases)
            for store, leases in by_store.values():
                try:
                    await store.renew(leases)
                except StateLost:
                    continue

    def _tell(self, exchange: Exchange, over: list[Over], claims: list[Claim], taken: Taken, is_plain: bool) -> None:
        """Put the limits' headers on the answer. Raises: RateLimited."""
        if is_plain and exchange.dialect.name != "anthropic":
            write_plain(exchange.headers, over, taken.left, taken.reset_s)
        else:
            standings: list[Standing] = [
                (each.limit.kind, claim.burst, left, reset_s)
                for each, claim, left, reset_s in zip(over, claims, taken.left, taken.reset_s, strict=True)
                if type(claim) is Bucket
            ]
            now_s = self.services.clock.time() if exchange.dialect.name == "anthropic" else None
            write(exchange.headers, standings, anthropic_at_s=now_s)
        if not taken.allowed:
            limit = over[taken.refused[0]].limit
            exchange.notes["limited"] = f"{limit.per}:{limit.kind}"
            wait_s = taken.retry_after_s
            if all(over[each].limit.kind == "concurrency" for each in taken.refused):
                wait_s = LOOK_AGAIN_S
            raise RateLimited(
                f"the limit of {limit.words} is reached; try again in {max(1, ceil(wait_s))} s", retry_after_s=wait_s
            )

    async def _watch(self, exchange: Exchange, over: Over) -> None:
        """Count as if it mattered, and say who would have been refused."""
        asked = Asked(exchange, [over])
        if not asked.claims:
            return
        try:
            taken = await self.services.state.take(asked.claims)
        except StateLost:
            return
        if not taken.allowed:
            who = over.limit.subject(exchange)
            self.services.log.info("rate_limit_would_refuse", request_id=exchange.id, limit=over.limit.words, who=who)
        elif asked.held:
            self._hold(exchange, self.services.state, asked.held)


async def _settle(store: StateStore, corrections: list[Claim]) -> None:
    try:
        await store.settle(corrections)
    except StateLost:
        pass  # a lease runs out by itself; the tokens reserved stand for those used


def _count_inside(exchange: Exchange) -> None:
    """Add what a child used, one that began inside this plugin, to what its parent has reserved for."""
    usage, above = exchange.own_usage, exchange
    while usage is not None and above.is_inside and (parent := above.parent) is not None:
        held: Held | None = parent.notes.get("rate_limit")
        if held is not None:
            held.inside += usage.total_tokens
            return
        above = parent


def _uncounted(exchange: Exchange) -> Exchange | None:
    """Return the client's request that this child is a step of, where a plugin before this one began the steps, so that
    none of them was counted as the request."""
    while exchange.is_inside and (parent := exchange.parent) is not None:
        exchange = parent
    return exchange if exchange.parent_id is None and COUNTED not in exchange.notes else None
