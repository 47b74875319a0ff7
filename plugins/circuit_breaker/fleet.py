"""Breakers that all gateways on one state share."""

from __future__ import annotations

import asyncio
import json
import math
from uuid import uuid4

from gateway.plugin import Breaker, Lease, Services, StateLost, TargetSkipped

PROBING_S = 1.0
"""What is told as `retry-after` while a probe is out: when it comes back nobody knows."""
LOOK_S = 1.0
"""How old a gateway's view of a shared breaker may be."""
KEPT_S = 600.0
"""How long after its end a shared opening is remembered when no probe settles it."""
RENEWED_S = 10.0
"""How often the lease on a probe is renewed; it lives 30 s."""


class View:
    """What one gateway knows of one shared breaker: when it looked, and which opening it has taken over."""

    __slots__ = ("looked_at_s", "opening")

    def __init__(self) -> None:
        self.looked_at_s = -math.inf
        self.opening: bytes | None = None


class Fleet:
    """The breakers that all gateways on one state share. A lost state is never an error here: each goes on alone.

    An opening stays in the state until a probe succeeds, so that who sees it gone may close too.
    """

    def __init__(self, services: Services, open_for_s: float, probes: int) -> None:
        self._state, self._clock, self._log = services.state, services.clock, services.log
        self._open_for_s, self._probes = open_for_s, probes
        self._views: dict[str, View] = services.lasting("views", dict)

    async def look(self, target: str, breaker: Breaker) -> None:
        """Take over what the others know, if the last look was a while ago. Those who come meanwhile do not wait."""
        view = self._view(target)
        now = self._clock.monotonic()
        if now - view.looked_at_s < LOOK_S:
            return
        view.looked_at_s = now
        try:
            self._take_over(await self._state.get(_opening_key(target)), view, breaker)
        except StateLost as lost:
            self._note(target, lost)

    async def publish(self, target: str, breaker: Breaker) -> None:
        """Tell the others that the breaker has opened, and until when."""
        view = self._view(target)
        until = self._clock.time() + breaker.probe_in_s
        opening = json.dumps({"until": until, "why": breaker.why, "id": uuid4().hex}).encode()
        try:
            await self._state.put(_opening_key(target), opening, self._open_for_s + KEPT_S)
            view.opening = opening
        except StateLost as lost:
            view.opening = None
            self._note(target, lost)

    async def withdraw(self, target: str) -> None:
        """Tell the others that the breaker has closed."""
        self._view(target).opening = None
        try:
            await self._state.delete(_opening_key(target))
        except StateLost as lost:
            self._note(target, lost)

    async def take_probe(self, target: str, breaker: Breaker) -> Lease | None:
        """Return the fleet's place for a probe; None when the state is lost, or the breaker has closed meanwhile.

        Raises: TargetSkipped when other gateways have all places, or one has found the target still failing.
        """
        view = self._view(target)
        lease = Lease(f"{{{target}}}:probe", uuid4().hex, self._probes)
        try:
            taken = await self._state.take([lease])
            if taken.allowed:
                self._take_over(await self._state.get(_opening_key(target)), view, breaker)
        except StateLost as lost:
            self._note(target, lost)
            return None
        if not taken.allowed:
            raise passed_over(target, breaker)
        if breaker.state == "half_open":
            return lease
        await self.let_go(lease)
        if breaker.state == "open":
            raise passed_over(target, breaker)
        return None

    async def renew(self, lease: Lease) -> None:
        """Keep the place until cancelled."""
        while True:
            await asyncio.sleep(RENEWED_S)
            try:
                await self._state.renew([lease])
            except StateLost:
                continue  # the lease may run out: then another gateway sends a probe as well

    async def let_go(self, lease: Lease) -> None:
        """Give the place back."""
        try:
            await self._state.settle([lease])
        except StateLost:
            return  # it runs out by itself

    def _take_over(self, opening: bytes | None, view: View, breaker: Breaker) -> None:
        if opening == view.opening:
            return
        view.opening = opening
        if opening is None:
            breaker.close()
            return
        said = json.loads(opening)
        # Clocks of two machines differ: never longer than this gateway itself would wait.
        left_s = min(max(0.0, said["until"] - self._clock.time()), self._open_for_s)
        if breaker.state == "closed" or left_s > breaker.probe_in_s:
            breaker.why = said["why"]
            breaker.open_for(left_s)

    def _view(self, target: str) -> View:
        return self._views.setdefault(target, View())

    def _note(self, target: str, lost: StateLost) -> None:
        self._log.debug("breaker_not_shared", target=target, error=lost.message)


def passed_over(target: str, breaker: Breaker) -> TargetSkipped:
    """Return what says that nothing may be sent to `target` now, and when it may be tried again."""
    wait_s = breaker.probe_in_s
    return TargetSkipped(
        f"{target} keeps failing and is given a rest",
        retry_after_s=max(1.0, math.floor(wait_s)) if wait_s else PROBING_S,
    )


def _opening_key(target: str) -> str:
    return f"{{{target}}}:open"
