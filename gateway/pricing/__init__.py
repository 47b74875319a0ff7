"""Usage × price table → USD.

A price is looked for in config/prices.yaml (the home's before the standard one), then in the data of genai-prices, by
the provider's known name, or by its address. What stands nowhere is unknown: None, never 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from functools import lru_cache
from math import ceil

from msgspec import Struct, structs

from gateway.chat import Usage
from gateway.pricing.price import NANO_USD, PER_MILLION, ZERO, Price, bound, cost, lines, nano_per_token, plain
from gateway.pricing.published import NAMES, Published
from gateway.pricing.table import Model

__all__ = ["NAMES", "ZERO", "Billed", "Entry", "Price", "Prices", "Published", "plain"]

REMEMBERED = 4096
"""How many models' prices are remembered: clients may name models freely where a route passes any."""


class Billed(Struct, frozen=True, kw_only=True):
    """What prices must know of a provider. One that is `free` costs 0, whatever is written elsewhere."""

    base_url: str = ""
    free: bool = False
    enabled: bool = True


class Entry(Struct, frozen=True, kw_only=True):
    """One entry of config/prices.yaml. `pattern` is held against `provider/model`. `like` names whose published prices
    hold, `provider` or `provider/model`; what `price` states goes before those, kind by kind."""

    pattern: re.Pattern[str]
    price: Price
    like: str | None = None


class Prices:
    """The prices of one configuration; see `gateway.plugin.Pricing`. `now` gives Unix time: some prices change by the
    hour. Unless every provider is free, the first question loads the published prices."""

    def __init__(
        self,
        providers: Mapping[str, Billed],
        entries: Sequence[Entry],
        published: Published,
        now: Callable[[], float],
    ) -> None:
        self._providers, self._entries, self._published, self._now = providers, tuple(entries), published, now
        self._free = frozenset(name for name, each in providers.items() if each.free)
        self._all_free = not any(each.enabled and not each.free for each in providers.values())
        self._find = lru_cache(maxsize=REMEMBERED)(self._look_up)
        self._per_token = lru_cache(maxsize=REMEMBERED)(self._look_up_per_token)
        self._every = lru_cache(maxsize=REMEMBERED)(self._look_up_every)

    @property
    def needs_loading(self) -> bool:
        """Whether a question would have to wait for the published prices."""
        return not (self._all_free or self._published.is_loaded)

    def load(self) -> None:
        """Load the published prices; takes a third of a second, so call it in a thread."""
        self._published.load()

    def load_beside(self) -> None:
        """Begin to load the published prices in a thread of its own."""
        self._published.load_beside()

    def cost(self, provider: str, model: str, usage: Usage) -> Decimal | None:
        """Return what `usage` costs in USD; 0 where the provider is free, None where a price is not known."""
        if provider in self._free:
            return ZERO
        price = self._price(provider, model, usage)
        return None if price is None else cost(price, usage)

    def bound(self, provider: str, model: str, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
        """Return the most that so many tokens may cost: no cache discount, the highest tier that applies, and the
        dearest hour of the day. What a request for another service tier costs more is not in it."""
        if provider in self._free:
            return ZERO
        found: Decimal = ZERO
        for price in self._every(provider, model):
            most = bound(price, prompt_tokens, completion_tokens)
            if most is None:
                return None
            if most > found:
                found = most
        return found

    def bound_nano_usd(self, provider: str, model: str, prompt_tokens: int, completion_tokens: int) -> int | None:
        """Return `bound` in billionths of a dollar, rounded up. Most prices are a whole number of them a token, which
        costs a request a tenth of what decimals do."""
        if provider in self._free:
            return 0
        each = self._per_token(provider, model)
        if each is not None:
            return prompt_tokens * each[0] + completion_tokens * each[1]
        most = self.bound(provider, model, prompt_tokens, completion_tokens)
        return None if most is None else ceil(most * NANO_USD)

    def explain(self, provider: str, model: str, usage: Usage) -> list[str]:
        """Return the arithmetic, a line for each kind of token and one for the sum."""
        if provider in self._free:
            return [f"{provider} is free: 0 USD"]
        price = self._price(provider, model, usage)
        if price is None:
            return [f"no price is known for {provider}/{model}"]
        told = []
        for name, amount, each, places in lines(price, usage):
            unit = "a million" if places == PER_MILLION else "a thousand"
            if each is None:
                told.append(f"{name}: {amount} at an unknown price")
            else:
                told.append(
                    f"{name}: {amount} × {plain(each)} USD {unit} = {plain((amount * each).scaleb(-places))} USD"
                )
        total = cost(price, usage)
        return [*told, "total: unknown" if total is None else f"total: {plain(total)} USD"]

    def _price(self, provider: str, model: str, usage: Usage) -> Price | None:
        entry, known = self._find(provider, model)
        if known is None:
            return None if entry is None else entry.price
        return _laid_over(known.at(self._now(), _context(usage)), entry)

    def _look_up_every(self, provider: str, model: str) -> Sequence[Price]:
        """Return each price that may hold at some time, what the file states laid over it."""
        entry, known = self._find(provider, model)
        return [_laid_over(price, entry) for price in ((Price(),) if known is None else known.every)]

    def _look_up_per_token(self, provider: str, model: str) -> tuple[int, int] | None:
        """Return the most that a token of the prompt and one of the answer may cost, in billionths of a dollar; None
        where that depends on more, or is no whole number."""
        prices = self._every(provider, model)
        return nano_per_token(prices[0]) if len(prices) == 1 else None

    def _look_up(self, provider: str, model: str) -> tuple[Entry | None, Model | None]:
        name = f"{provider}/{model}"
        entry = next((each for each in self._entries if each.pattern.fullmatch(name)), None)
        if entry is not None and entry.like is not None:
            provider, _, other = entry.like.partition("/")
            model = other or model
        billed = self._providers.get(provider)
        return entry, self._published.find(provider, billed.base_url if billed is not None else "", model)


def _laid_over(known: Price, entry: Entry | None) -> Price:
    if entry is None:
        return known
    given = {name: value for name, value in structs.asdict(entry.price).items() if value is not None}
    return structs.replace(known, **given) if given else known


def _context(usage: Usage) -> Mapping[str, str]:
    """Return what the provider says of how it served this: Anthropic's `service_tier` and `speed`."""
    if not usage.extra:
        return {}
    return {key: value for key in ("service_tier", "speed") if isinstance(value := usage.extra.get(key), str)}
