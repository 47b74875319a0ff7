"""What remains of the budgets over callers, for the dashboard. Looking takes nothing and counts nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from gateway.plugin import (
    NANO_USD,
    BadRequest,
    Ledger,
    MoneyRate,
    Principal,
    Services,
    StateLost,
    credentials,
)

from .money import Budget, Period, nano, period_of, tightest

Stated = Sequence[tuple[str, MoneyRate]]
MOST_ASKED = 500
AT_ONCE = 32


def over(limits: Stated, principal: Principal | None) -> list[Budget]:
    """Return the budgets over requests of `principal`, the tightest of those that sum the same money."""
    name = principal.name if principal is not None else ""  # as the ledger calls nobody in particular
    tags = principal.tags if principal is not None else {}
    found = []
    for per, money in limits:
        if per in ("key", "user"):
            found.append(Budget(per, name, money, None))
            continue
        tag = per.partition(":")[2] or per
        if tag in tags:
            found.append(Budget(per, tags[tag], money, (tag, tags[tag])))
    if principal is not None and principal.budget is not None:
        found.append(Budget("key", name, principal.budget, None))
    return tightest(found) if len(found) > 1 else found


async def remaining(
    services: Services, standing: Mapping[str | None, Stated], given: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Return each budget over a principal (`name`, `tags`, and the `budget` beside its key), or over any of several in
    `principals`; each sum of money once, with `who` it is counted for.

    `amount`, `left` (never below 0) and `spent` are dollars, as text exact to a billionth; `share` is what is spent of
    it, in numbers for a bar. What running requests have reserved counts as spent. `route` is None for what holds
    wherever no route has budgets of its own. Raises: StateLost.
    """
    given = given or {}
    asked = given.get("principals") or ([given] if "name" in given else [])
    if len(asked) > MOST_ASKED:
        raise BadRequest(f"at most {MOST_ASKED} principals are looked at in one go")
    found: dict[tuple[str, str, str, Decimal], tuple[str | None, Budget]] = {}
    for one in asked:
        kept = credentials.read_facts({each: one[each] for each in ("tags", "budget") if one.get(each)})
        principal = Principal(one["name"], kept["tags"], budget=kept.get("budget")) if one["name"] else None
        for route in sorted(standing, key=lambda each: each or ""):
            for budget in over(standing[route], principal):
                key = (budget.per, budget.who, budget.money.period, budget.money.amount_usd)
                found.setdefault(key, (route, budget))
    at_once = asyncio.Semaphore(AT_ONCE)
    now = services.clock.time()
    periods = {budget: period_of(budget.money.period, now) for _, budget in found.values()}

    async def counted(budget: Budget) -> tuple[Decimal, bool]:
        async with at_once:
            return await counted_of(services, budget, periods[budget], now)

    sums = dict(zip(periods, await asyncio.gather(*map(counted, periods)), strict=True))
    uncounted = {budget: periods[budget] for budget, (_, is_whole) in sums.items() if not is_whole}
    known = await known_of(services.ledger, uncounted) if services.ledger is not None and uncounted else {}
    return [
        _told(route, budget, sums[budget][0] + known.get(budget, Decimal(0)), periods[budget].end_s - now)
        for route, budget in found.values()
    ]


def _told(route: str | None, budget: Budget, spent: Decimal, reset_s: float) -> dict[str, Any]:
    amount = budget.money.amount_usd
    return {
        "what": "cost",
        "per": budget.per,
        "who": budget.who,
        "limit": f"${amount:f}/{budget.money.period}",
        "amount": f"{amount:f}",
        "left": f"{max(Decimal(0), amount - spent):f}",
        "spent": f"{spent:f}",
        "share": float(spent / amount) if amount else 1.0,
        "reset_s": reset_s,
        "route": route,
    }


async def counted_of(services: Services, budget: Budget, period: Period, now_s: float) -> tuple[Decimal, bool]:
    """Return what the state counts as spent, and whether that is all: before the first request of a period, or after
    the state has forgotten it, the next request adds what the ledger knows. Raises: StateLost."""
    quota = budget.quota(period, now_s, 0)
    taken = await services.state.take([quota])
    spent = Decimal(quota.limit - taken.left[0]) / NANO_USD
    return spent, services.ledger is None or await services.state.get(quota.key + ":rebuilt") == b"done"


async def known_of(ledger: Ledger, periods: Mapping[Budget, Period]) -> dict[Budget, Decimal]:
    """Return what the ledger knows that was spent: all callers of a period by one question. Raises: StateLost."""
    spent: dict[Budget, Decimal] = {}
    callers: dict[float, list[Budget]] = {}
    try:
        for budget, period in periods.items():
            if budget.tag is None:
                callers.setdefault(period.begin_s, []).append(budget)
            else:
                spent[budget] = await ledger.spent(since=period.begin_s, tag=budget.tag)
        for since, budgets in callers.items():
            names = sorted({budget.who for budget in budgets})
            sums = await ledger.totals(by=["principal"], since=since, filters={"principal": names})
            by_name = {each["principal"] or "": each["cost_usd"] for each in sums}
            spent |= {budget: by_name.get(budget.who, Decimal(0)) for budget in budgets}
    except Exception as error:  # a database's, of whatever kind
        raise StateLost("what was spent cannot be read from the ledger") from error
    return {budget: Decimal(nano(each)) / NANO_USD for budget, each in spent.items()}
