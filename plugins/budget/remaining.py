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
    StateStore,
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

    async def looked(route: str | None, budget: Budget) -> dict[str, Any]:
        period = period_of(budget.money.period, now)
        async with at_once:
            spent = await spent_of(services.state, services.ledger, budget, period)
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
            "reset_s": period.left_s,
            "route": route,
        }

    return list(await asyncio.gather(*(looked(*each) for each in found.values())))


async def spent_of(state: StateStore, ledger: Ledger | None, budget: Budget, period: Period) -> Decimal:
    """Return what counts as spent in `period`. Raises: StateLost."""
    quota = budget.quota(period, 0)
    taken = await state.take([quota])
    spent = Decimal(quota.limit - taken.left[0]) / NANO_USD
    if ledger is None or await state.get(quota.key + ":rebuilt") == b"done":
        return spent
    # Before the first request of a period, or after the state has forgotten it, the next request adds what the ledger
    # knows; it is added here without being kept.
    try:
        since = period.begin.timestamp()
        if budget.tag is None:
            known = await ledger.spent(since=since, principal=budget.who)
        else:
            known = await ledger.spent(since=since, tag=budget.tag)
    except Exception as error:  # a database's, of whatever kind
        raise StateLost("what was spent cannot be read from the ledger") from error
    return spent + Decimal(nano(known)) / NANO_USD
