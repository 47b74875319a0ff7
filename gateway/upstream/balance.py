"""Which target first. A balance puts a route's targets into the order in which an exchange tries them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.exchange import Exchange
from gateway.route import Target
from gateway.upstream.health import Keys, TargetHealth


class Candidate:
    """A target that a route can try, with what is known of it. `keys` is None where none is used."""

    __slots__ = ("health", "keys", "name", "target")

    def __init__(self, target: Target, health: TargetHealth, keys: Keys | None) -> None:
        self.target, self.health, self.keys = target, health, keys
        self.name = target.name


Balance = Callable[[Sequence[Candidate], Exchange], Sequence[Candidate]]


def ordered(candidates: Sequence[Candidate], exchange: Exchange) -> Sequence[Candidate]:
    """Return the candidates as the file lists them."""
    return candidates


BALANCES: Final[Mapping[str, Balance]] = {"ordered": ordered}
