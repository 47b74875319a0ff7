"""What a person allows: so many requests or tokens, or so much money, in a period of time."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal


@dataclass(frozen=True, slots=True)
class Rate:
    """`amount` per `period_s` seconds; the amount is also the burst unless one is given."""

    amount: int
    period_s: float

    @property
    def per_s(self) -> float:
        """The steady rate, per second."""
        return self.amount / self.period_s


@dataclass(frozen=True, slots=True)
class MoneyRate:
    """`amount_usd` per calendar `period` in UTC: second, minute, hour, day, week or month."""

    amount_usd: Decimal
    period: str
