"""Budgets and calendar periods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from math import ceil

from gateway.plugin import NANO_USD, MoneyRate, Quota, QuotaSpent

KEPT_BEYOND_S = 3600.0
"""How long a period's sum is kept after its end, for requests that end late."""


class Budget:
    """So much for `who` in a period. `tag` is what the ledger sums by where it is not the principal's name. `sum` tells
    whose money is added up, not how much may be: a reload that changes the amount keeps what was spent."""

    __slots__ = ("money", "most_nano_usd", "per", "sum", "tag", "who")

    def __init__(self, per: str, who: str, money: MoneyRate, tag: tuple[str, str] | None) -> None:
        self.per, self.who, self.money, self.tag = per, who, money, tag
        self.sum = f"{{{per} {sha256(who.encode('utf-8', 'surrogateescape')).hexdigest()[:32]}}}{money.period}:"
        self.most_nano_usd = int(money.amount_usd * NANO_USD)

    def quota(self, period: Period, now_s: float, nano_usd: int, share: int = 1) -> Quota:
        """Return the claim for an amount in `period`; `share` processes divide the budget when each counts alone."""
        lasts_s = period.end_s - now_s + KEPT_BEYOND_S
        return Quota(self.sum + period.name, nano_usd, self.most_nano_usd // share, lasts_s)

    def refusal(self, period: Period) -> QuotaSpent:
        """Return what the client is told once it is spent."""
        again = period.end.strftime("%Y-%m-%dT%H:%M:%SZ")
        return QuotaSpent(f"the budget of ${self.money.amount_usd} a {self.money.period} is spent until {again}")


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar period in UTC; the two ends once more in Unix time."""

    name: str
    begin: datetime
    end: datetime
    begin_s: float
    end_s: float


_latest: dict[str, Period] = {}
"""The last period of each kind that was asked for: nearly always it is the one that is asked for next."""


def period_of(kind: str, unix_s: float) -> Period:
    """Return the calendar period of that kind which holds the moment."""
    period = _latest.get(kind)
    if period is None or not period.begin_s <= unix_s < period.end_s:
        period = _latest[kind] = _period(kind, int(unix_s))
    return period


def _period(kind: str, second: int) -> Period:
    now = datetime.fromtimestamp(second, UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    lengths = {"second": timedelta(seconds=1), "minute": timedelta(minutes=1), "hour": timedelta(hours=1)}
    match kind:
        case "month":
            begin = midnight.replace(day=1)
            end = (begin + timedelta(days=32)).replace(day=1)
        case "week":
            begin = midnight - timedelta(days=midnight.weekday())
            end = begin + timedelta(days=7)
        case "day":
            begin, end = midnight, midnight + timedelta(days=1)
        case _:
            length = lengths[kind]
            begin = midnight + (now - midnight) // length * length
            end = begin + length
    return Period(begin.strftime("%Y%m%dT%H%M%S"), begin, end, begin.timestamp(), end.timestamp())


def nano(usd: Decimal) -> int:
    """Return billionths of a dollar, rounded up: a budget is never passed by what rounding hides."""
    return ceil(usd * NANO_USD)


def tightest(budgets: list[Budget]) -> list[Budget]:
    """Return the smallest of those that sum the same money: one sum is taken from once."""
    found: dict[str, Budget] = {}
    for each in budgets:
        same = found.get(each.sum)
        if same is None or each.money.amount_usd < same.money.amount_usd:
            found[each.sum] = each
    return list(found.values())
