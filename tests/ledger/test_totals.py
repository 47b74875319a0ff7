"""Sums equal what a naive addition of the rows says, over any span and by anything; so does what was spent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.ledger.ledger import Row
from tests.ledger.kit import NOON, Place, emptied, recorded, row

HOUR, DAY = 3_600.0, 86_400.0
TOKENS = ("prompt_tokens", "cached_tokens", "cache_write_tokens", "completion_tokens", "reasoning_tokens")
# Around the edges of hours and days, where a mistake would be.
instants = st.builds(
    lambda day, hour, off: NOON + day * DAY + hour * HOUR + off,
    st.integers(-3, 3),
    st.integers(-13, 13),
    st.sampled_from([-0.001, 0.0, 0.001, 1_799.5]),
)
amounts = st.none() | st.integers(0, 10_000)
rows_strategy = st.lists(
    st.fixed_dictionaries(
        {
            "ts": instants,
            "principal": st.sampled_from([None, "a", "b"]),
            "model_requested": st.sampled_from(["", "m", "n"]),
            "target": st.sampled_from([None, "p/m", "p/n", "p-eu/m", "q/m/n"]),
            "route": st.sampled_from([None, "r"]),
            "status": st.sampled_from([200, 404, 499]),
            "outcome": st.sampled_from(["completed", "failed", "disconnected"]),
            "cost_usd": st.none() | st.decimals(0, 5, places=9),
            "duration_ms": st.floats(0, 5_000),
            "ttft_ms": st.none() | st.floats(0, 900),
            "tags": st.dictionaries(st.sampled_from(["team", 'o"dd']), st.sampled_from(["x", "y'"])),
            **dict.fromkeys(TOKENS, amounts),
        }
    ),
    max_size=25,
)
by_strategy = st.lists(
    st.sampled_from(["day", "hour", "principal", "model", "provider", "route", "target", "status", "outcome"]),
    unique=True,
    max_size=3,
)
filter_strategy = st.fixed_dictionaries(
    {},
    optional={
        "principal": st.sampled_from([None, "a", ["a", None], []]),
        "model": st.sampled_from(["m", "nobody"]),
        "provider": st.sampled_from(["p", ["p", "q"], None]),
        "status": st.sampled_from([200, [200, 404]]),
        "outcome": st.sampled_from(["failed"]),
    },
)


def facts_of(one: Row) -> dict[str, Any]:
    provider = one.target.partition("/")[0] if one.target is not None else None
    return {
        "day": int(one.ts - one.ts % DAY),
        "hour": int(one.ts - one.ts % HOUR),
        "principal": one.principal,
        "model": one.model_requested or None,
        "provider": provider,
        "route": one.route,
        "target": one.target,
        "status": one.status,
        "outcome": one.outcome,
    }


def naive(
    rows: list[Row], by: list[str], since: float, until: float | None, filters: Mapping[str, Any]
) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Add the rows up one by one."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in rows:
        facts = facts_of(one)
        fits = all(facts[name] in (value if isinstance(value, list) else [value]) for name, value in filters.items())
        if not fits or one.ts < since or (until is not None and one.ts >= until):
            continue
        key = tuple(facts[name] for name in by)
        total = sums.setdefault(key, dict.fromkeys(("requests", "failed", "unpriced", "ttft_count", *TOKENS), 0))
        total["requests"] += 1
        total["failed"] += one.outcome == "failed"
        total["unpriced"] += one.cost_usd is None and (one.prompt_tokens, one.completion_tokens) != (None, None)
        total["ttft_count"] += one.ttft_ms is not None
        for name in TOKENS:
            total[name] += getattr(one, name) or 0
        total["cost_usd"] = total.get("cost_usd", Decimal(0)) + (one.cost_usd or 0)
        for name in ("duration_ms", "ttft_ms"):
            total[name] = round(total.get(name, 0) + round(getattr(one, name) or 0, 3), 3)
    return sums


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_totals_are_what_a_naive_sum_says(place: Place, data: st.DataObject) -> None:
    rows = [row(f"e{n}", **facts) for n, facts in enumerate(data.draw(rows_strategy))]
    batches = data.draw(st.integers(1, 4))

    async def compare() -> None:
        async with place.opened() as ledger:
            await emptied(place)
            for n in range(batches):
                await recorded(ledger, *rows[n::batches])
            for _ in range(3):
                by, since = data.draw(by_strategy), data.draw(instants)
                until, filters = data.draw(st.none() | instants), data.draw(filter_strategy)
                found = await ledger.totals(by=by, since=since, until=until, filters=filters)
                keyed = {tuple(each.pop(name) for name in by): each for each in found}
                assert keyed == naive(rows, by, since, until, filters)
                assert len(found) == len(keyed)

    asyncio.run(compare())


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    facts=rows_strategy,
    since=instants,
    principal=st.sampled_from([None, "a", "c"]),
    tag=st.none() | st.tuples(st.sampled_from(["team", 'o"dd']), st.sampled_from(["x", "y'"])),
)
def test_spent_is_what_a_naive_sum_says(
    place: Place, facts: list[dict[str, Any]], since: float, principal: str | None, tag: tuple[str, str] | None
) -> None:
    rows = [row(f"e{n}", **each) for n, each in enumerate(facts)]

    async def compare() -> None:
        async with place.opened() as ledger:
            await emptied(place)
            await recorded(ledger, *rows)
            expected = sum(
                (
                    each.cost_usd or Decimal(0)
                    for each in rows
                    if each.ts >= since
                    and (principal is None or each.principal == principal)
                    and (tag is None or each.tags.get(tag[0]) == tag[1])
                ),
                Decimal(0),
            )
            assert await ledger.spent(since=since, principal=principal, tag=tag) == expected

    asyncio.run(compare())


async def test_nothing_in_a_span_is_no_total(place: Place) -> None:
    async with place.opened() as ledger:
        await recorded(ledger, row("a"))
        assert await ledger.totals(by=[], since=NOON + 1) == []
        assert await ledger.totals(by=["day"], since=NOON, until=NOON) == []
        assert await ledger.spent(since=NOON + 1) == 0


async def test_half_a_billionth_is_rounded_once_and_sums_agree_with_rows(place: Place) -> None:
    async with place.opened() as ledger:
        await recorded(ledger, *(row(f"e{n}", cost_usd=Decimal("0.0000000375")) for n in range(10)))
        assert {each.cost_usd for each in await ledger.rows()} == {Decimal("0.000000038")}
        assert await ledger.spent(since=0) == Decimal("0.000000380")


@pytest.mark.parametrize("name", ["day", "hour"])
async def test_a_time_is_no_filter_of_totals(place: Place, name: str) -> None:
    async with place.opened() as ledger:
        with pytest.raises(ValueError, match="since and until"):
            await ledger.totals(by=[], since=0, filters={name: NOON})
