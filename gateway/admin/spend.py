"""What was spent, and of which budgets: asked of the ledger and of the budget plugin, at most every ten seconds."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from gateway.admin.desk import Desk
from gateway.admin.holders import in_file, saved
from gateway.errors import GatewayError, NotFound
from gateway.pricing import plain

KEPT_S: Final = 10.0
MOST_PRINCIPALS: Final = 100
MOST_BUDGETS: Final = 12


class Spend:
    """The answer, kept for a while: however many look at the page, the store is asked once."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._known: dict[str, Any] = {}
        self._until_s = 0.0
        self._lock = asyncio.Lock()

    async def facts(self) -> dict[str, Any]:
        """Return `spend` and `budgets`, and in words why one of them is not known."""
        async with self._lock:
            now_s = self._desk.clock.monotonic()
            if now_s >= self._until_s:
                self._known = await facts(self._desk)
                self._until_s = now_s + KEPT_S
            return self._known


async def facts(desk: Desk) -> dict[str, Any]:
    """Ask."""
    now = datetime.fromtimestamp(desk.clock.time(), UTC)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    month = day.replace(day=1)
    found: dict[str, Any] = {"spend": None, "spend_problem": None, "budgets": [], "budgets_problem": None}
    names: list[str] = []
    try:
        ledger = desk.ledger
        today = await ledger.totals(by=(), since=day.timestamp())
        by_name = await ledger.totals(by=("principal",), since=month.timestamp())
    except GatewayError as error:
        found["spend_problem"] = error.message
    else:
        ordered = sorted(by_name, key=lambda each: each["cost_usd"], reverse=True)
        names = [each["principal"] for each in ordered[:MOST_PRINCIPALS] if each["principal"]]
        found["spend"] = {
            "today_usd": plain(sum((each["cost_usd"] for each in today), Decimal(0))),
            "month_usd": plain(sum((each["cost_usd"] for each in by_name), Decimal(0))),
            "unpriced_today": sum(each["unpriced"] for each in today),
            "unpriced_month": sum(each["unpriced"] for each in by_name),
        }
    try:
        found["budgets"] = await _budgets(desk, names)
    except NotFound:
        pass  # no budget plugin: no budgets
    except GatewayError as error:
        found["budgets_problem"] = error.message
    return found


async def _budgets(desk: Desk, spenders: list[str]) -> list[dict[str, Any]]:
    """Return the budgets that are nearest to their end, of those who spend most and of the keys in the file."""
    ledger = desk.gateway.snapshot.ledger
    holders = [*in_file(desk.gateway.snapshot.config), *(saved(await ledger.keys()) if ledger is not None else ())]
    beside: dict[str, dict[str, Any]] = {}
    for each in holders:
        if each.state(desk.clock.time()) == "active":
            beside.setdefault(each.name, {name: kept for name, kept in each.kept().items() if name != "limits"})
    names = list(dict.fromkeys([*spenders, *beside]))[:MOST_PRINCIPALS]
    asked = [{"name": name, **beside.get(name, {})} for name in names or [""]]
    told: list[dict[str, Any]] = await desk.ask_plugin("budget", "remaining", {"principals": asked})
    return sorted(told, key=lambda each: each["share"], reverse=True)[:MOST_BUDGETS]
