"""Targets in turn: each as often as the next (`round_robin`), or as its weight says (`weighted`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from gateway.exchange import Exchange
from gateway.upstream.balance.candidate import Candidate

T = TypeVar("T")


class RoundRobin:
    """Begin with the target after the one that was begun with last; then in the file's order.

    Goes by names, so that a reload that adds or takes out a target goes on where it was.
    """

    def __init__(self) -> None:
        self._last = ""
        self._place = -1

    def __call__(self, candidates: Sequence[Candidate], exchange: Exchange) -> Sequence[Candidate]:
        count = len(candidates)
        place = self._place
        if place >= count or place < 0 or candidates[place].name != self._last:
            # Another set than last time: one rests, or the file changed.
            place = next((at for at, each in enumerate(candidates) if each.name == self._last), max(place, 0) - 1)
        place = (place + 1) % count
        self._place, self._last = place, candidates[place].name
        return (*candidates[place:], *candidates[:place])


class Weighted:
    """Begin with each target in proportion to its weight, exactly and evenly spread; what follows it is drawn in
    proportion to the weights, so that what a failing target leaves goes to the others in their own proportions.

    Smooth weighted round robin, as nginx does it (upstream/ngx_http_upstream_round_robin.c, 2026): every target gains
    its weight, the richest goes first and pays the sum. Only the targets that can be tried gain, so one that is passed
    over for an hour does not come back with an hour's claims.
    """

    def __init__(self, rng: Callable[[], float]) -> None:
        self._rng = rng
        self._riches: dict[str, int] = {}

    def __call__(self, candidates: Sequence[Candidate], exchange: Exchange) -> Sequence[Candidate]:
        riches = self._riches
        total, most, first = 0, 0, candidates[0]
        for each in candidates:
            weight = each.target.weight
            total += weight
            rich = riches[each.name] = riches.get(each.name, 0) + weight
            if each is candidates[0] or rich > most:
                most, first = rich, each
        riches[first.name] = most - total
        rest = [each for each in candidates if each is not first]
        return (first, *(rest if len(rest) < 2 else drawn(rest, self._rng)))


def drawn(candidates: Sequence[Candidate], rng: Callable[[], float]) -> list[Candidate]:
    """Return the candidates drawn one after the other, each time in proportion to the weights of those left.

    Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006): sorting by u^(1/w) is that draw.
    """
    keyed = [((1.0 - rng()) ** (1.0 / each.target.weight), at) for at, each in enumerate(candidates)]
    keyed.sort(reverse=True)
    return [candidates[at] for _, at in keyed]
