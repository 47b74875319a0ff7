"""The target whose answer may cost least (`cheapest`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal

from gateway.exchange import Exchange
from gateway.upstream.balance.candidate import Candidate
from gateway.upstream.need import completion_tokens, prompt_tokens

Bound = Callable[[str, str, int, int], Decimal | None]
"""`Pricing.bound`: provider, model, prompt tokens, completion tokens → USD."""
MOST_PRICES = 4096
KEPT_S = 300.0
"""How long a price is kept: some change by the hour."""


class Cheapest:
    """Order by what the request's tokens cost at most at each target; a target without a known price comes last, and
    targets at the same price as the file lists them.

    A prompt's length is rounded up to one of 16 steps for each doubling, so that prices are asked for once in five
    minutes and not for each request.
    """

    def __init__(self, bound: Bound, now: Callable[[], float]) -> None:
        self._bound, self._now = bound, now
        self._kept_until = 0.0
        self._prices: dict[tuple[str, str, int, int], Decimal | None] = {}

    def __call__(self, candidates: Sequence[Candidate], exchange: Exchange) -> Sequence[Candidate]:
        request = exchange.request
        prompt, completion = rounded(prompt_tokens(request)), rounded(completion_tokens(request))
        prices, now = self._prices, self._now()
        if now >= self._kept_until or len(prices) >= MOST_PRICES:
            prices.clear()
            self._kept_until = now + KEPT_S
        priced: list[tuple[Decimal, int]] = []
        unknown: list[Candidate] = []
        for at, each in enumerate(candidates):
            model = request.model if each.target.model == "*" else each.target.model
            key = (each.target.provider.name, model, prompt, completion)
            try:
                price = prices[key]
            except KeyError:
                price = prices[key] = self._bound(*key)
            if price is None:
                unknown.append(each)
            else:
                priced.append((price, at))
        priced.sort()
        return (*(candidates[at] for _, at in priced), *unknown)


def rounded(tokens: int) -> int:
    """Return `tokens` rounded up to four significant bits beside the first."""
    step = 1 << max(0, tokens.bit_length() - 5)
    return -(-tokens // step) * step
