"""Published prices: the data of genai-prices, read without its updater, so without network.

The package takes a third of a second to import (it is built on pydantic), therefore it is imported when the first price
is asked for, or before that in a thread: see `Published.load_beside`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from threading import Lock, Thread
from typing import Any, Final

from gateway.pricing.price import Price, Rate

NAMES: Final[Mapping[str, str]] = {
    "openai": "openai", "anthropic": "anthropic", "gemini": "google", "groq": "groq", "deepseek": "deepseek",
    "openrouter": "openrouter", "mistral": "mistral", "together": "together", "fireworks": "fireworks", "xai": "x-ai",
    "perplexity": "perplexity", "cerebras": "cerebras", "azure": "azure",
}  # fmt: skip
"""The known providers of config/providers.yaml that cost money, and what the data calls them."""
_RATES: Final = {
    "input_mtok": "input", "output_mtok": "output", "cache_read_mtok": "cache_read", "cache_write_mtok": "cache_write",
    "cache_write_1h_mtok": "cache_write_1h", "output_reasoning_mtok": "reasoning", "input_audio_mtok": "input_audio",
    "output_audio_mtok": "output_audio",
}  # fmt: skip
_COUNTS: Final = {"web_searches_kcount": "search", "requests_kcount": "request"}


class PublishedModel:
    """One model's published prices: they may change on a date, with the hour, or with the service tier."""

    def __init__(self, info: Any) -> None:
        self._info = info
        self._made: dict[int, Price] = {}
        several = isinstance(info.prices, list)
        self._only = None if several else self._price(info.prices)
        self.every: tuple[Price, ...] = (
            tuple(self._price(each.prices) for each in info.prices) if several else (self._price(info.prices),)
        )
        """Each price that may hold at some time."""

    def at(self, now_s: float, context: Mapping[str, str]) -> Price:
        """Return the price at Unix time `now_s` for a request of that `service_tier` and `speed`."""
        variants = bool(context) and bool(self._info.price_variants)
        if self._only is not None and not variants:
            return self._only
        found = self._info.get_prices(datetime.fromtimestamp(now_s, UTC), context if variants else None)
        return _price(found) if variants else self._price(found)

    def _price(self, published: Any) -> Price:
        # The data outlives this object, so that an id stands for one price.
        made = self._made.get(id(published))
        if made is None:
            made = self._made[id(published)] = _price(published)
        return made


class Published:
    """The table of one process. Loading is safe from any thread; whoever comes while it loads waits for it."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._providers: Sequence[Any] | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether asking costs no more than looking up."""
        return self._providers is not None

    def load(self) -> Sequence[Any]:
        """Return the providers of the data."""
        if self._providers is None:
            with self._lock:
                if self._providers is None:
                    from genai_prices.data import providers  # noqa: PLC0415 — a third of a second; see above

                    self._providers = providers
        return self._providers

    def load_beside(self) -> None:
        """Begin to load in a thread of its own; at once where the package has been imported already."""
        if "genai_prices.data" in sys.modules:
            self.load()
        elif self._providers is None:
            Thread(target=self.load, name="prices", daemon=True).start()

    def find(self, name: str, base_url: str, model: str) -> PublishedModel | None:
        """Return the prices of `model` at the known provider `name`, else at the one that `base_url` is an address of;
        None when there are none."""
        providers = self.load()
        known = NAMES.get(name)
        for provider in providers:
            if provider.id == known if known is not None else base_url and re.match(provider.api_pattern, base_url):
                info = provider.find_model(model, all_providers=providers)
                return None if info is None else PublishedModel(info)
        return None


def _price(published: Any) -> Price:
    given: dict[str, Any] = {}
    for name, value in published.__dict__.items():
        if value is None:
            continue
        if (field := _RATES.get(name)) is not None:
            given[field] = _rate(value)
        elif (field := _COUNTS.get(name)) is not None:
            given[field] = value if isinstance(value, Decimal) else value.base
    return Price(**given)


def _rate(value: Any) -> Rate:
    if isinstance(value, Decimal):
        return Rate(value)
    return Rate(value.base, tuple((tier.start, tier.price) for tier in value.tiers))
