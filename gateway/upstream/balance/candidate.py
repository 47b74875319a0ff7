"""A target as a balance sees it, and what every balance is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.exchange import Exchange
from gateway.route import Target
from gateway.upstream.health import TargetHealth
from gateway.upstream.keys import Keys


class Candidate:
    """A target that a route can try, with what is known of it. `keys` is None where the client's own are sent."""

    __slots__ = ("health", "keys", "name", "target")

    def __init__(self, target: Target, health: TargetHealth, keys: Keys | None) -> None:
        self.target, self.health, self.keys = target, health, keys
        self.name = target.name

    def rests_until(self, exchange: Exchange) -> float:
        """Return when the first of its keys takes a request like this again; 0 when one does now."""
        if self.keys is None:
            return 0.0
        model = self.target.model
        return self.keys.rests_until(exchange.request.model if model == "*" else model, exchange.request)


Balance = Callable[[Sequence[Candidate], Exchange], Sequence[Candidate]]
"""Returns the candidates in the order in which an exchange tries them: all of them, each once."""
