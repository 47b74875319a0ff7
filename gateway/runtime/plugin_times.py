"""How long each plugin's `handle` takes on the way down, per route, counted in this process for the dashboard.

The chain notes when each `handle` begins (see `chain.py`); what lies between two marks is one plugin's time until it
called next. Its time on the way back up, and that of a plugin that answered itself, is not known.

A request that was quick is added up once in sixteen, sixteen times over, as soon as the route has seen some: adding up
costs more than measuring. Slow ones are all added up, so the sums are right on average and `max` misses nothing slow.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Final

from gateway.exchange import Exchange

IDENTIFY: Final = "identify"
"""What all plugins together took to find out who asks: before there is a route, so before every `handle`."""
SLOW_S: Final = 0.001
SHOWN_S: Final = 0.000_05
"""A plugin that took less is not told of one request."""
EVERY: Final = 16
ALL_OF_THE_FIRST: Final = 64
Answer = dict[str, dict[str, tuple[int, float, float]]]


class PluginTimes:
    """The sums, by route and plugin: how often, seconds in all, the longest."""

    def __init__(self) -> None:
        self._routes: dict[str, dict[str, list[float]]] = {}
        self._quick: dict[str, int] = {}

    def note(self, exchange: Exchange) -> None:
        """Count an exchange that has ended; one that never reached its route's chain says nothing."""
        marks, route = exchange.marks, exchange.route
        if marks is None or route is None or route.chain is None:
            return
        weight = 1
        if marks[-1] - marks[0] + exchange.identify_s < SLOW_S:
            seen = self._quick[route.name] = self._quick.get(route.name, 0) + 1
            if seen > ALL_OF_THE_FIRST:
                if seen % EVERY:
                    return
                weight = EVERY
        sums = self._routes.get(route.name)
        if sums is None:
            sums = self._routes[route.name] = {}
        if exchange.identify_s:
            _add(sums, IDENTIFY, exchange.identify_s, weight)
        for name, (begun_s, following_s) in zip(route.chain.handled, pairwise(marks), strict=False):
            _add(sums, name, following_s - begun_s, weight)

    def told(self) -> Answer:
        """Return `{route: {plugin: [count, sum_ms, max_ms]}}`."""
        return {
            route: {
                name: (int(count), round(total_s * 1000, 3), round(longest_s * 1000, 3))
                for name, (count, total_s, longest_s) in sums.items()
            }
            for route, sums in self._routes.items()
        }


def _add(sums: dict[str, list[float]], name: str, took_s: float, weight: int) -> None:
    cell = sums.get(name)
    if cell is None:
        sums[name] = [weight, took_s * weight, took_s]
        return
    cell[0] += weight
    cell[1] += took_s * weight
    if took_s > cell[2]:
        cell[2] = took_s


def shown_ms(exchange: Exchange) -> dict[str, float]:
    """Return what one exchange's plugins took, in ms, those that took long enough to be told."""
    marks, route = exchange.marks, exchange.route
    if marks is None or marks[-1] - marks[0] + exchange.identify_s < SHOWN_S:
        return {}
    took = [(IDENTIFY, exchange.identify_s)]
    if route is not None and route.chain is not None:
        names = route.chain.handled
        took += [(name, after - begun) for name, (begun, after) in zip(names, pairwise(marks), strict=False)]
    return {name: round(seconds * 1000, 3) for name, seconds in took if seconds >= SHOWN_S}


def merged(told: list[Answer]) -> Answer:
    """Return what the processes of a group tell, together."""
    whole: dict[str, dict[str, tuple[int, float, float]]] = {}
    for process in told:
        for route, sums in process.items():
            together = whole.setdefault(route, {})
            for name, (count, total_ms, longest_ms) in sums.items():
                known = together.get(name, (0, 0.0, 0.0))
                together[name] = (known[0] + count, round(known[1] + total_ms, 3), max(known[2], longest_ms))
    return whole
