"""Which target first. A balance puts a route's targets into the order in which an exchange tries them.

It sees only targets that can be tried now: those whose keys rest, or whose breaker is open, are put behind the others
before it is asked, so that their share goes to the others in the others' own proportions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.exchange import Exchange
from gateway.upstream.balance.candidate import Balance, Candidate
from gateway.upstream.balance.cheapest import Bound, Cheapest
from gateway.upstream.balance.fastest import Fastest
from gateway.upstream.balance.least_busy import LeastBusy
from gateway.upstream.balance.sticky import sticky
from gateway.upstream.balance.turns import RoundRobin, Weighted

__all__ = ["BALANCES", "DRAWN", "WEIGHED", "Balance", "Candidate", "Means", "ordered"]


@dataclass(frozen=True, slots=True)
class Means:
    """What balances need. `now` is monotonic; `rng` returns a number from 0 to below 1; `bound` is the price of so
    many tokens, None where it is not known; `lasting` makes what a reload must not forget, once under each name."""

    now: Callable[[], float]
    bound: Bound
    lasting: Callable[[str, Callable[[], Any]], Any]
    rng: Callable[[], float] = field(default=random.random)


def ordered(candidates: Sequence[Candidate], exchange: Exchange) -> Sequence[Candidate]:
    """Return the candidates as the file lists them."""
    return candidates


BALANCES: Final[dict[str, Callable[[str, Means], Balance]]] = {
    "ordered": lambda route, means: ordered,
    "weighted": lambda route, means: means.lasting(f"weighted {route}", lambda: Weighted(means.rng)),
    "round_robin": lambda route, means: means.lasting(f"round_robin {route}", RoundRobin),
    "least_busy": lambda route, means: LeastBusy(means.rng),
    "fastest": lambda route, means: means.lasting(f"fastest {route}", lambda: Fastest(means.now)),
    "cheapest": lambda route, means: Cheapest(means.bound, means.now),
    "sticky": lambda route, means: sticky,
}
"""Every balance: made for a route by its name."""
WEIGHED: Final = frozenset({"weighted", "least_busy", "sticky"})
"""The balances that go by `weight`; the others ignore it."""
DRAWN: Final = frozenset(BALANCES) - {"ordered"}
"""The balances whose first target the file alone does not tell."""
