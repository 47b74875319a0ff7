"""What an exchange has reserved, until it is settled to what was spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.plugin import Exchange, Quota, StateLost, StateStore

from .money import Budget, Period

NOTHING: Mapping[str, int] = {}


class Reserved:
    """What an exchange has reserved of one budget, in billionths of a dollar, and in which store."""

    __slots__ = ("budget", "nano_usd", "period", "store")

    def __init__(self, budget: Budget, period: Period, store: StateStore) -> None:
        self.budget, self.period, self.store, self.nano_usd = budget, period, store, 0


def reserved_of(exchange: Exchange) -> Mapping[str, int]:
    """Return what is reserved so far of each budget, by its `sum`."""
    held: dict[str, Reserved] | None = exchange.notes.get("budget")
    return {name: each.nano_usd for name, each in held.items()} if held else NOTHING


async def settle(corrections: Sequence[tuple[StateStore, Quota]]) -> None:
    """Correct sums in stores that have to be waited for."""
    for store, correction in corrections:
        try:
            await store.settle([correction])
        except StateLost:
            pass  # what was reserved stands; the ledger knows better when the state is rebuilt
