"""The price of one model, and the arithmetic: tokens × USD per million, exact, never a float."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from msgspec import Struct

from gateway.chat import Usage

ZERO = Decimal(0)
NANO_USD = 1_000_000_000
PER_MILLION, PER_THOUSAND = 6, 3
"""Decimal places by which a price is smaller for one token, one search, one request."""


class Rate(Struct, frozen=True):
    """USD per million tokens. `steps` are (prompt tokens, price), rising: above so many prompt tokens the step's price
    is that of all tokens, not only of those above it."""

    base: Decimal
    steps: tuple[tuple[int, Decimal], ...] = ()

    def at(self, prompt_tokens: int) -> Decimal:
        """Return the price for a prompt of that length."""
        found = self.base
        for above, price in self.steps:
            if prompt_tokens > above:
                found = price
        return found

    def most(self, prompt_tokens: int) -> Decimal:
        """Return the highest price for a prompt of at most that length."""
        if not self.steps:
            return self.base
        return max([self.base, *(price for above, price in self.steps if prompt_tokens > above)])


class Price(Struct, frozen=True, kw_only=True):
    """What a model costs; None where no price of that kind is known.

    Tokens of a kind that has no price of its own are charged as the kind they belong to: cache reads and writes and
    audio as input, one-hour cache writes as other writes, reasoning as output. `search` is USD for a thousand web
    searches of the provider's own, `request` for a thousand requests.
    """

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    cache_write_1h: Rate | None = None
    reasoning: Rate | None = None
    input_audio: Rate | None = None
    output_audio: Rate | None = None
    search: Decimal | None = None
    request: Decimal | None = None


Line = tuple[str, int, Decimal | None, int]
"""What was used, how much of it, the price (None: unknown), and the decimal places of its unit."""


def lines(price: Price, usage: Usage) -> Iterator[Line]:
    """Yield what `usage` is charged as. Parts never add up to more than their whole."""
    prompt = usage.prompt_tokens
    cached = min(usage.cached_tokens, prompt)
    written = min(usage.cache_write_tokens, prompt - cached)
    hour = min(usage.cache_write_1h_tokens, written)
    reasoning = min(usage.reasoning_tokens, usage.completion_tokens) if price.reasoning is not None else 0
    heard = spoken = 0
    if usage.extra:
        if price.input_audio is not None:
            heard = min(_detail(usage, "prompt"), prompt - cached - written)
        if price.output_audio is not None:
            spoken = min(_detail(usage, "completion"), usage.completion_tokens - reasoning)
    write = price.cache_write or price.input
    for name, tokens, rate in (
        ("input", prompt - cached - written - heard, price.input),
        ("audio input", heard, price.input_audio),
        ("cache read", cached, price.cache_read or price.input),
        ("cache write", written - hour, write),
        ("cache write 1h", hour, price.cache_write_1h or write),
        ("output", usage.completion_tokens - reasoning - spoken, price.output),
        ("reasoning", reasoning, price.reasoning),
        ("audio output", spoken, price.output_audio),
    ):
        if tokens:
            yield name, tokens, None if rate is None else rate.at(prompt), PER_MILLION
    if usage.extra and (searches := _searches(usage)):
        yield "web searches", searches, price.search, PER_THOUSAND
    if price.request is not None:
        yield "requests", 1, price.request, PER_THOUSAND


def cost(price: Price, usage: Usage) -> Decimal | None:
    """Return what `usage` costs in USD, None when the price of any part of it is unknown."""
    if _is_simple(price, usage):
        sent, said = price.input, price.output
        if (sent is None and usage.prompt_tokens) or (said is None and usage.completion_tokens):
            return None
        total = ZERO if sent is None else usage.prompt_tokens * sent.at(usage.prompt_tokens)
        if said is not None:
            total += usage.completion_tokens * said.at(usage.prompt_tokens)
        return total.scaleb(-PER_MILLION)
    total = ZERO
    for _, amount, each, places in lines(price, usage):
        if each is None:
            return None
        total += (amount * each).scaleb(-places)
    return total


def _is_simple(price: Price, usage: Usage) -> bool:
    """Return whether there is nothing but input and output: what nearly every usage is, and four times as fast."""
    return not (
        usage.extra
        or usage.cached_tokens
        or usage.cache_write_tokens
        or price.reasoning is not None
        or price.request is not None
    )


def bound(price: Price, prompt_tokens: int, completion_tokens: int) -> Decimal | None:
    """Return the most that so many tokens may cost: every one of the prompt at the dearest of input and cache writes,
    every one of the answer at the dearest of text, reasoning and audio, each at its highest tier that applies."""
    sent, said = price.input, price.output
    if (sent is None and prompt_tokens) or (said is None and completion_tokens):
        return None
    total = ZERO
    if sent is not None:
        writes = price.cache_write, price.cache_write_1h, price.input_audio
        total = prompt_tokens * _dearest(prompt_tokens, sent, writes)
    if said is not None:
        total += completion_tokens * _dearest(prompt_tokens, said, (price.reasoning, price.output_audio))
    total = total.scaleb(-PER_MILLION)
    return total if price.request is None else total + price.request.scaleb(-PER_THOUSAND)


def _dearest(prompt_tokens: int, own: Rate, others: Iterable[Rate | None]) -> Decimal:
    most = own.most(prompt_tokens)
    for rate in others:
        if rate is not None and (each := rate.most(prompt_tokens)) > most:
            most = each
    return most


def nano_per_token(price: Price) -> tuple[int, int] | None:
    """Return `bound` of one token of the prompt and of one of the answer, in billionths of a dollar: None where a price
    is unknown, a request costs something by itself, prices depend on the prompt's length, or are no whole number."""
    rates = (
        price.input, price.output, price.cache_write, price.cache_write_1h, price.input_audio, price.reasoning,
        price.output_audio,
    )  # fmt: skip
    if price.input is None or price.output is None or price.request is not None or any(r and r.steps for r in rates):
        return None
    sent, said = bound(price, 1, 0), bound(price, 0, 1)
    assert sent is not None and said is not None
    sent, said = sent * NANO_USD, said * NANO_USD
    return (int(sent), int(said)) if sent % 1 == 0 == said % 1 else None


def plain(amount_usd: Decimal) -> str:
    """Return an amount as people write it: no exponent, no zeros at the end."""
    text = format(amount_usd, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _detail(usage: Usage, side: str) -> int:
    details: Any = usage.extra.get("openai_details")
    counts: Any = details.get(side) if isinstance(details, dict) else None
    tokens = counts.get("audio_tokens") if isinstance(counts, dict) else None
    return tokens if type(tokens) is int and tokens > 0 else 0


def _searches(usage: Usage) -> int:
    used: Any = usage.extra.get("server_tool_use")
    count = used.get("web_search_requests") if isinstance(used, dict) else None
    return count if type(count) is int and count > 0 else 0
