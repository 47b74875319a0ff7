"""What a model's tokens cost, against sums done by hand and against the package whose data is used."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from decimal import Decimal
from math import ceil

import pytest
from genai_prices import Usage as TheirUsage
from genai_prices import calc_price
from genai_prices.data import providers as published_providers
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat import Usage
from gateway.pricing import NAMES, Billed, Entry, Prices, Published, plain
from gateway.pricing.price import Price, Rate, bound, cost

NOON_S = datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp()
TIERED = Price(
    input=Rate(Decimal(3), ((200_000, Decimal(6)),)),
    output=Rate(Decimal(15), ((200_000, Decimal("22.5")),)),
    cache_read=Rate(Decimal("0.3"), ((200_000, Decimal("0.6")),)),
    cache_write=Rate(Decimal("3.75"), ((200_000, Decimal("7.5")),)),
    cache_write_1h=Rate(Decimal(6), ((200_000, Decimal(12)),)),
    search=Decimal(10),
)
"""Claude Sonnet 4.5 as Anthropic's page has it."""
PUBLISHED = Published()


def prices(providers: dict[str, Billed] | None = None, entries: list[Entry] | None = None) -> Prices:
    known = {name: Billed() for name in NAMES} | {"echo": Billed(free=True)} | (providers or {})
    return Prices(known, entries or [], PUBLISHED, lambda: NOON_S)


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(prompt_tokens=1000, completion_tokens=500), "0.0105"),  # 1000×3 + 500×15, by a million
        (Usage(prompt_tokens=1, completion_tokens=0), "0.000003"),
        (Usage(prompt_tokens=10_000, completion_tokens=100, cached_tokens=8_000), "0.0099"),  # 6000 + 2400 + 1500
        (Usage(prompt_tokens=10_000, completion_tokens=0, cache_write_tokens=4_000), "0.033"),  # 18000 + 15000
        (
            Usage(prompt_tokens=10_000, cached_tokens=1_000, cache_write_tokens=4_000, cache_write_1h_tokens=1_000),
            "0.03255",  # 5000×3 + 1000×0.3 + 3000×3.75 + 1000×6
        ),
        (Usage(prompt_tokens=200_000, completion_tokens=1_000), "0.615"),  # the step begins above 200,000
        (Usage(prompt_tokens=200_001, completion_tokens=1_000), "1.222506"),  # and then every token is dearer
        (Usage(prompt_tokens=250_000, cached_tokens=100_000, completion_tokens=0), "0.96"),
        (Usage(prompt_tokens=1_000, completion_tokens=500, reasoning_tokens=400), "0.0105"),  # reasoning is output
        (Usage(prompt_tokens=0, completion_tokens=0), "0"),
        (Usage(prompt_tokens=1_000, extra={"server_tool_use": {"web_search_requests": 2}}), "0.023"),
    ],
)
def test_a_sum_is_what_it_is_by_hand(usage: Usage, usd: str) -> None:
    assert cost(TIERED, usage) == Decimal(usd)


def test_kinds_without_a_price_cost_what_they_belong_to() -> None:
    price = Price(input=Rate(Decimal(2)), output=Rate(Decimal(8)))
    usage = Usage(prompt_tokens=1_000, cached_tokens=500, cache_write_tokens=200, completion_tokens=100)
    assert cost(price, usage) == Decimal("0.0028")


def test_reasoning_and_audio_have_prices_of_their_own_where_stated() -> None:
    price = Price(
        input=Rate(Decimal(2)),
        output=Rate(Decimal(8)),
        reasoning=Rate(Decimal(3)),
        input_audio=Rate(Decimal(40)),
        output_audio=Rate(Decimal(80)),
    )
    details = {"openai_details": {"prompt": {"audio_tokens": 100}, "completion": {"audio_tokens": 10}}}
    usage = Usage(prompt_tokens=1_000, completion_tokens=100, reasoning_tokens=50, extra=details)
    # 900×2 + 100×40 + 40×8 + 50×3 + 10×80
    assert cost(price, usage) == Decimal("0.00707")


@pytest.mark.parametrize(
    "usage",
    [
        Usage(prompt_tokens=5, completion_tokens=1),
        Usage(prompt_tokens=5, completion_tokens=1, cached_tokens=2),
        Usage(prompt_tokens=5, extra={"server_tool_use": {"web_search_requests": 1}}),
    ],
)
def test_an_unknown_price_is_none_and_never_zero(usage: Usage) -> None:
    assert cost(Price(output=Rate(Decimal(1))), usage) is None
    assert prices().cost("openai", "a-model-nobody-knows", usage) is None
    assert prices().cost("nobody", "gpt-5", usage) is None
    assert bound(Price(), 5, 1) is None


def test_what_has_no_price_costs_nothing_when_none_of_it_was_used() -> None:
    assert cost(Price(input=Rate(Decimal("0.02"))), Usage(prompt_tokens=50)) == Decimal("0.000001")  # embeddings


def test_parts_beyond_their_whole_are_not_paid_twice() -> None:
    usage = Usage(prompt_tokens=100, cached_tokens=500, cache_write_tokens=500, cache_write_1h_tokens=900)
    assert cost(TIERED, usage) == Decimal("0.00003")  # all of the prompt was read from the cache


tokens = st.integers(0, 400_000)


@given(tokens, tokens, tokens, tokens, tokens, tokens)
def test_no_usage_costs_more_than_its_bound(
    prompt: int, completion: int, cached: int, written: int, hour: int, reasoning: int
) -> None:
    usage = Usage(
        prompt_tokens=prompt, completion_tokens=completion, cached_tokens=cached, cache_write_tokens=written,
        cache_write_1h_tokens=hour, reasoning_tokens=reasoning,
    )  # fmt: skip
    paid, most = cost(TIERED, usage), bound(TIERED, prompt, completion)
    assert paid is not None and most is not None and paid <= most


def test_a_bound_takes_the_dearest_of_what_may_come() -> None:
    assert bound(TIERED, 1_000, 100) == Decimal("0.0075")  # a cache write for an hour, 6, is dearer than input
    assert bound(TIERED, 300_000, 0) == Decimal("3.6")
    assert prices().bound("echo", "echo", 10**9, 10**9) == 0


def test_free_providers_cost_nothing_whatever_the_model() -> None:
    spent = Usage(prompt_tokens=10**6, completion_tokens=10**6)
    both = prices({"local": Billed(free=True, base_url="http://127.0.0.1:8000/v1")})
    assert both.cost("echo", "echo", spent) == both.cost("local", "gpt-5", spent) == 0
    assert both.explain("local", "gpt-5", spent) == ["local is free: 0 USD"]


@pytest.mark.parametrize(
    ("name", "base_url"),
    [("openai", ""), ("openai", "http://127.0.0.1:9/v1"), ("mine", "https://api.openai.com/v1")],
)
def test_a_provider_is_known_by_its_name_else_by_its_address(name: str, base_url: str) -> None:
    asked = prices({name: Billed(base_url=base_url)})
    assert asked.cost(name, "gpt-4o", Usage(prompt_tokens=1_000_000)) == Decimal("2.5")


def test_service_tiers_that_the_answer_states_are_priced() -> None:
    asked = prices()
    usage = Usage(prompt_tokens=1_000, completion_tokens=1_000)
    fast = Usage(prompt_tokens=1_000, completion_tokens=1_000, extra={"speed": "fast"})
    assert asked.cost("anthropic", "claude-opus-4-8", usage) == Decimal("0.030")
    assert asked.cost("anthropic", "claude-opus-4-8", fast) == Decimal("0.060")


def test_the_arithmetic_adds_up_to_the_cost() -> None:
    usage = Usage(prompt_tokens=300_000, completion_tokens=500, cached_tokens=100_000, cache_write_tokens=50)
    asked = prices()
    told = asked.explain("anthropic", "claude-sonnet-4-5", usage)
    paid = asked.cost("anthropic", "claude-sonnet-4-5", usage)
    assert paid is not None and told[-1] == f"total: {plain(paid)} USD"
    parts = [Decimal(line.rpartition("= ")[2].removesuffix(" USD")) for line in told[:-1]]
    assert sum(parts) == paid and len(parts) == 4
    assert asked.explain("openai", "unheard-of", usage) == ["no price is known for openai/unheard-of"]


@pytest.mark.parametrize(
    ("amount", "text"), [("0", "0"), ("0E-7", "0"), ("0.0000650", "0.000065"), ("1.50", "1.5"), ("20", "20")]
)
def test_amounts_are_written_without_exponents_or_idle_zeros(amount: str, text: str) -> None:
    assert plain(Decimal(amount)) == text


def test_sums_agree_with_the_package_whose_data_it_is() -> None:
    ids = {theirs: ours for ours, theirs in NAMES.items()}
    asked, compared = prices(), 0
    now = datetime.fromtimestamp(NOON_S, UTC)
    for provider in published_providers:
        if provider.id not in ids:
            continue
        for model in provider.models[:60]:
            for mine, theirs in (
                (Usage(prompt_tokens=1234, completion_tokens=77), TheirUsage(input_tokens=1234, output_tokens=77)),
                (
                    Usage(prompt_tokens=300_001, completion_tokens=5, cached_tokens=7_000, cache_write_tokens=900),
                    TheirUsage(input_tokens=300_001, output_tokens=5, cache_read_tokens=7_000, cache_write_tokens=900),
                ),
            ):
                paid = asked.cost(ids[provider.id], model.id, mine)
                if paid is None:  # their package counts what has no price as free
                    continue
                found = calc_price(theirs, model.id, provider_id=provider.id, genai_request_timestamp=now)
                assert paid == found.total_price, (provider.id, model.id)
                compared += 1
    assert compared > 500


RATES = st.builds(
    Rate,
    st.decimals(0, 100, places=4),
    st.lists(st.tuples(st.integers(1, 2000), st.decimals(0, 100, places=2)), max_size=1).map(tuple),
)


@given(
    price=st.builds(
        Price, input=st.none() | RATES, output=st.none() | RATES, cache_write=st.none() | RATES,
        reasoning=st.none() | RATES, request=st.none() | st.decimals(0, 10, places=3),
    ),
    prompt_tokens=st.integers(0, 3000),
    completion_tokens=st.integers(0, 3000),
)  # fmt: skip
def test_a_bound_in_billionths_is_the_bound_rounded_up(
    price: Price, prompt_tokens: int, completion_tokens: int
) -> None:
    asked = prices({"own": Billed()}, [Entry(pattern=re.compile("own/.*"), price=price)])
    exact = asked.bound("own", "m", prompt_tokens, completion_tokens)
    found = asked.bound_nano_usd("own", "m", prompt_tokens, completion_tokens)
    assert found == (None if exact is None else ceil(exact * 10**9))
