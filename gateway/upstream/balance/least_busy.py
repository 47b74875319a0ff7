"""The target with the least under way (`least_busy`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.exchange import Exchange
from gateway.upstream.balance.candidate import Candidate
from gateway.upstream.balance.turns import drawn


class LeastBusy:
    """Draw two targets in proportion to their weights and begin with the one that has fewer attempts under way for its
    weight; the others follow by their load.

    Two choices and not the least of all: every worker sees only its own load, and all of them would run to the same
    idle target at once (Mitzenmacher, "The power of two choices in randomized load balancing", 2001).
    """

    def __init__(self, rng: Callable[[], float]) -> None:
        self._rng = rng

    def __call__(self, candidates: Sequence[Candidate], exchange: Exchange) -> Sequence[Candidate]:
        order = drawn(candidates, self._rng)
        if len(order) > 2:
            order[2:] = sorted(order[2:], key=load)
        if load(order[1]) < load(order[0]):
            order[0], order[1] = order[1], order[0]
        return order


def load(candidate: Candidate) -> float:
    """Return the attempts under way once this one is added, for each unit of weight."""
    return (candidate.health.in_flight + 1) / candidate.target.weight
