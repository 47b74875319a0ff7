"""What an exchange used and what that costs: settled once, however it ended.

Every try counts: a fallback's first target, a hedge's loser, a stream that was cut. What an upstream stated goes before
what was counted here. Where it stated nothing, the prompt is estimated as count_tokens does and the answer from the
words that came, unless the try failed without a word of content: that is nothing used (U09).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from gateway.attempts.elsewhere import COUNTS, SHOW
from gateway.attempts.outgoing import model_for
from gateway.chat import Usage
from gateway.dialects.embeddings import NAMES as EMBEDDINGS
from gateway.exchange import LONG_BYTES, Attempt, Exchange
from gateway.plugin import Clock, Log
from gateway.pricing import ZERO, Prices
from gateway.relay.estimated import BYTES_PER_TOKEN, prompt_tokens
from gateway.work import NOTHING, summed

HEDGE_LOST: Final = "hedge_lost"
"""The error of a try that was given up because another answered first: it worked, and it is billed."""
UNKNOWN_TOLD_S: Final = 600.0
"""How long a price that is not known is not told again."""
_MOST_TOLD: Final = 1000
_decode_text = msgspec.json.Decoder(str).decode


class Accounts:
    """Settles exchanges. Each model without a price is told at WARNING once in ten minutes."""

    def __init__(self, clock: Clock, log: Log) -> None:
        self._monotonic, self._log = clock.monotonic, log
        self._told_at_s: dict[tuple[str, str], float] = {}

    async def settle(self, exchange: Exchange, prices: Prices, at_most_s: float | None = None) -> None:
        """Make `usage` and `cost_usd` final, of the exchange and of its tries. The second time nothing happens.

        Prices that are still being loaded are waited for, `at_most_s` seconds; then the cost stays unknown.
        """
        if exchange.accounted:
            return
        attempts = exchange.attempts
        if len(exchange.request.body) > LONG_BYTES and any(attempt.usage is None for attempt in attempts):
            await asyncio.to_thread(_estimate, exchange)  # which leaves nothing to estimate below
        if prices.needs_loading and any(not attempt.target.provider.free for attempt in attempts):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(prices.load), at_most_s)
        self._settle(exchange, prices, is_priced=not prices.needs_loading)

    def settle_soon(self, exchange: Exchange, prices: Prices) -> bool:
        """Settle without waiting; False where that takes longer than the loop may stand still, and `settle` must."""
        if not exchange.accounted:
            if prices.needs_loading or len(exchange.request.body) > LONG_BYTES:
                return False
            self._settle(exchange, prices, is_priced=True)
        return True

    def _settle(self, exchange: Exchange, prices: Prices, *, is_priced: bool) -> None:
        exchange.accounted = True
        attempts = exchange.attempts
        if len(attempts) == 1 and is_priced:  # as nearly all have: what follows, in one step
            only = attempts[0]
            usage = only.usage
            if usage is not None and usage is not NOTHING:
                only.cost_usd = ZERO if only.target.provider.free else None
                self._price(exchange, only, usage, prices)
                exchange.settle(usage, only.cost_usd)
                return
        for attempt in attempts:
            if attempt.usage is None:
                attempt.usage = _guess(exchange, attempt)
            if attempt.target.provider.free or attempt.usage is NOTHING:
                attempt.cost_usd = ZERO
            if is_priced and attempt.usage is not None and attempt.usage is not NOTHING:
                self._price(exchange, attempt, attempt.usage, prices)
        if len(attempts) == 1:
            exchange.settle(attempts[0].usage, attempts[0].cost_usd)
        elif attempts:
            costs = [attempt.cost_usd for attempt in attempts]
            known = [cost for cost in costs if cost is not None]
            cost_usd = sum(known, ZERO) if len(known) == len(costs) else None
            exchange.settle(summed(attempt.usage for attempt in attempts), cost_usd)
        elif exchange.has_children:
            exchange.settle(None, ZERO)
        elif exchange.usage is None and exchange.admitted:
            exchange.cost_usd = ZERO

    def _price(self, exchange: Exchange, attempt: Attempt, usage: Usage, prices: Prices) -> None:
        provider, fields = attempt.target.provider, exchange.request.members
        tells = self._log.is_enabled("debug")
        if provider.free and not tells:
            return
        model = model_for(exchange, attempt.target)
        if fields and "service_tier" in fields:
            usage = _with_tier(fields["service_tier"], usage)
        if not provider.free:
            attempt.cost_usd = prices.cost(provider.name, model, usage)
            if attempt.cost_usd is None:
                self._tell_unknown(exchange, provider.name, model)
        if tells:
            self._log.debug(
                "token_cost",
                request_id=exchange.id,
                attempt=attempt.number,
                estimated=usage.estimated,
                arithmetic=prices.explain(provider.name, model, usage),
            )

    def _tell_unknown(self, exchange: Exchange, provider: str, model: str) -> None:
        now, name = self._monotonic(), (provider, model)
        if now - self._told_at_s.get(name, -UNKNOWN_TOLD_S) < UNKNOWN_TOLD_S:
            return
        if len(self._told_at_s) >= _MOST_TOLD:  # clients may name models as they like
            self._told_at_s.clear()
        self._told_at_s[name] = now
        self._log.warning(
            "price_unknown",
            request_id=exchange.id,
            provider=provider,
            model=model[:200],
            cure=f'give "{provider}/{model[:200]}" a price in config/prices.yaml, or mark the provider free: true',
        )


def _with_tier(asked: Raw, usage: Usage) -> Usage:
    """Return `usage` with the service tier that the request asked for, where the upstream's own words lack it: OpenAI
    states it beside the usage, and only at the end. Who asked for priority and did not get it is priced as if."""
    if "service_tier" in usage.extra:
        return usage
    try:
        tier = _decode_text(asked)
    except msgspec.DecodeError:
        return usage
    return replace(usage, extra={**usage.extra, "service_tier": tier})


def _estimate(exchange: Exchange) -> None:
    """Fill in what no upstream stated, as far as it can be known."""
    for attempt in exchange.attempts:
        if attempt.usage is None:
            attempt.usage = _guess(exchange, attempt)


def _guess(exchange: Exchange, attempt: Attempt) -> Usage | None:
    error, endpoint = attempt.error, exchange.request.endpoint
    failed = error is not None and error.code != HEDGE_LOST
    if attempt.sent_at_s is None or (failed and not attempt.said_bytes) or (attempt.status or 0) >= 400:
        return NOTHING
    if endpoint is None or not (endpoint.is_read or endpoint.name in EMBEDDINGS):
        counted = endpoint is not None and (endpoint.name in COUNTS or endpoint.name == SHOW)
        return NOTHING if counted else None  # images, audio, files: not measured in tokens
    return Usage(
        prompt_tokens=prompt_tokens(exchange),
        completion_tokens=-(-attempt.said_bytes // BYTES_PER_TOKEN),
        estimated=True,
    )
