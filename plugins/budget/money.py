"""Budgets and calendar periods."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal
from functools import lru_cache
from hashlib import sha256

from gateway.plugin import NANO_USD, MoneyRate, Quota, QuotaSpent

KEPT_BEYOND_S = 3600.0
"""How long a period's sum is kept after its end, for requests that end late."""


@dataclass(frozen=True, slots=True)
class Budget:
    """So much for `who` in a period. `tag` is what the ledger sums by where it is not the principal's name."""

    per: str
    who: str
    money: MoneyRate
    tag: tuple[str, str] | None

    def quota(self, period: Period, nano_usd: int, share: int = 1) -> Quota:
        """Return the claim for an amount in `period`; `share` processes divide the budget when each counts alone.

        The sum is told by who and when, not by how much may be: a reload that changes the amount keeps what was spent.
        """
        key, limit = _counter(self.per, self.who, self.money.amount_usd, self.money.period, period.name)
        return Quota(key, nano_usd, limit // share, period.left_s + KEPT_BEYOND_S)

    def refusal(self, period: Period) -> QuotaSpent:
        """Return what the client is told once it is spent."""
        again = period.end.strftime("%Y-%m-%dT%H:%M:%SZ")
        return QuotaSpent(f"the budget of ${self.money.amount_usd} a {self.money.period} is spent until {again}")


@dataclass(frozen=True, slots=True)
class Period:
    """A calendar period in UTC, `left_s` before its end."""

    name: str
    begin: datetime
    end: datetime
    left_s: float


@lru_cache(maxsize=4096)
def _counter(per: str, who: str, amount_usd: Decimal, kind: str, period: str) -> tuple[str, int]:
    """Return what a budget's sum is called and its most in billionths of a dollar. Asked twice a request."""
    hidden = sha256(who.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return f"{{{per} {hidden}}}{kind}:{period}", int(amount_usd * NANO_USD)


def period_of(kind: str, unix_s: float) -> Period:
    """Return the calendar period of that kind which holds the moment."""
    name, begin, end, end_s = _span(kind, int(unix_s))
    return Period(name, begin, end, end_s - unix_s)


@lru_cache(maxsize=16)
def _span(kind: str, second: int) -> tuple[str, datetime, datetime, float]:
    """Return a period's name, its two ends, and the last in Unix time. Remembered: the same for a second's requests."""
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
    return begin.strftime("%Y%m%dT%H%M%S"), begin, end, end.timestamp()


def nano(usd: Decimal) -> int:
    """Return billionths of a dollar, rounded up: a budget is never passed by what rounding hides."""
    return int((usd * NANO_USD).to_integral_value(ROUND_CEILING))


def tightest(budgets: list[Budget]) -> list[Budget]:
    """Return the smallest of those that sum the same money: one sum is taken from once."""
    found: dict[tuple[str, str, str], Budget] = {}
    for each in budgets:
        same = found.get(sum_of := (each.per, each.who, each.money.period))
        if same is None or each.money.amount_usd < same.money.amount_usd:
            found[sum_of] = each
    return list(found.values())
