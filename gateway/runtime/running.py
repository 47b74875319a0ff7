"""A route as it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gateway.attempts import Attempts
from gateway.chain import Chain, Handle
from gateway.route import Route

Alone = Callable[[str], Handle | None]


def no_target(target: str) -> Handle | None:
    """Return None: a route that a plugin answers has no target."""
    return None


@dataclass(frozen=True, slots=True)
class Running:
    """A route with its compiled chain: call `handle` with an exchange. `alone` returns what stands in its place where
    only one of the route's targets may answer, by name; None when that target is not available."""

    route: Route
    handle: Handle
    alone: Alone = no_target


def running_of(route: Route, chain: Chain, attempts: Attempts, measured: Callable[[], float] | None) -> Running:
    """Return a route with its chain around its attempts."""

    def alone(target: str) -> Handle | None:
        found = attempts.only(target)
        return None if found is None else chain.around(found.run, measured)

    return Running(route, chain.around(attempts.run, measured), alone)
