"""Stop sending to a target that keeps failing, and try it again with one request."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from uuid import uuid4

from gateway.plugin import (
    Attempt,
    Breaker,
    ConfigError,
    Exchange,
    GatewayError,
    Lease,
    Log,
    Plugin,
    Reply,
    Services,
    StateLost,
    TargetSkipped,
    UpstreamError,
)

PROBING_S = 1.0
"""What is told as `retry-after` while a probe is out: when it comes back nobody knows."""
LOOK_S = 1.0
"""How old a gateway's view of a shared breaker may be."""
KEPT_S = 600.0
"""How long after its end a shared opening is remembered when no probe settles it."""
RENEWED_S = 10.0
"""How often the lease on a probe is renewed; it lives 30 s."""
CAP_SLACK_S = 0.05
"""Event loops tell the time in milliseconds: a deadline that ran out may seem to have a moment left."""


def _count_of(default: int, description: str) -> Mapping[str, Any]:
    return {"type": "integer", "minimum": 1, "default": default, "description": description}


class CircuitBreakerPlugin(Plugin):
    """Options:

    failures: how many attempts in a row must fail for the breaker of their target to open (3; at least 1).
    open_for: how long an open breaker lets nothing through (30s; zero is refused: it would never stop anything).
    probes: how many requests at once try a target whose breaker has been open that long (1; at least 1). The first
    content of one closes the breaker, a failure opens it again.
    share: keep openings in the shared state, so that all gateways on it stop together and send `probes` in all; each
    counts its own failures (false). While the state is lost every gateway goes by its own view.

    A failure is the target's: no connection, no answer in time, a broken or senseless one, a status or error event of
    500 and above, a stream that dies. A 4xx, a client that leaves or wants it sooner, a plugin's error prove nothing.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "failures": _count_of(3, "Failures in a row that open the breaker of their target."),
            "open_for": {
                "type": "string",
                "format": "duration",
                "default": "30s",
                "description": "How long an open breaker lets nothing through.",
            },
            "probes": _count_of(1, "Requests at once that try the target again after that."),
            "share": {
                "type": "boolean",
                "default": False,
                "description": "All gateways on the same state stop and probe together.",
            },
        },
    }

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        if options["open_for"] <= 0:
            raise ConfigError("open_for is 0, which would stop nothing", cure="write a positive duration such as 30s")
        self._failures: int = options["failures"]
        self._open_for_s: float = options["open_for"]
        self._probes: int = options["probes"]
        self._fleet = Fleet(services, self._open_for_s, self._probes) if options["share"] else None

    async def start(self) -> None:
        """Let an operator reset a breaker for all gateways."""
        if self._fleet is not None:
            self.services.group.respond("reset", self._fleet.withdraw)

    async def attempt(self, attempt: Attempt, call_next: Callable[[Attempt], Awaitable[Reply]]) -> Reply:
        """Pass the target over while its breaker is open; else let the attempt through and learn from it."""
        breaker, target, fleet = attempt.health.breaker, attempt.target.name, self._fleet
        if breaker.on_change is None:
            breaker.on_change = announcer(target, self.services.log)
        if fleet is not None:
            await fleet.look(target, breaker)
        probe = breaker.admit(self._probes, attempt.exchange.id)
        if probe is None:
            raise passed_over(target, breaker)
        if fleet is not None and probe:
            return await self._probe_for_all(fleet, attempt, call_next)
        return await self._send(attempt, call_next, probe)

    async def finish(self, exchange: Exchange) -> None:
        """Judge the stream that went to the client: only now is it known whether it came to its end."""
        for attempt in exchange.notes.get(self.name, ()):
            error = attempt.error or exchange.error
            if error is None:
                if exchange.outcome == "completed":
                    attempt.health.breaker.succeed(probe=False, by=exchange.id)
            elif is_fault(error, exchange):
                await self._count(attempt, error, probe=False)

    async def _send(self, attempt: Attempt, call_next: Callable[[Attempt], Awaitable[Reply]], probe: bool) -> Reply:
        breaker, by = attempt.health.breaker, attempt.exchange.id
        try:
            reply = await call_next(attempt)
        except UpstreamError as error:
            if is_fault(error, attempt.exchange):
                await self._count(attempt, error, probe=probe)
            else:
                breaker.release(probe=probe)
            raise
        except BaseException:  # cancelled, or somebody else's fault: the place of a probe is free again
            breaker.release(probe=probe)
            raise
        if isinstance(reply.body, bytes):
            breaker.succeed(probe=probe, by=by)
            return reply
        if probe:
            breaker.succeed(probe=True, by=by)  # its first content has come
        attempt.exchange.notes.setdefault(self.name, []).append(attempt)
        return reply

    async def _count(self, attempt: Attempt, error: GatewayError, *, probe: bool) -> None:
        status = error.upstream_status if isinstance(error, UpstreamError) else None
        why = f"{status}: {error.message}" if status is not None else error.message
        breaker = attempt.health.breaker
        by = attempt.exchange.id
        opened = breaker.fail(probe=probe, why=why, failures=self._failures, open_for_s=self._open_for_s, by=by)
        if opened and self._fleet is not None:
            await self._fleet.publish(attempt.target.name, breaker)

    async def _probe_for_all(
        self, fleet: Fleet, attempt: Attempt, call_next: Callable[[Attempt], Awaitable[Reply]]
    ) -> Reply:
        """Send a probe unless another gateway does. The place in this gateway has been taken already."""
        breaker, target = attempt.health.breaker, attempt.target.name
        try:
            lease = await fleet.take_probe(target, breaker)
        except BaseException:
            breaker.release(probe=True)
            raise
        if lease is None and breaker.state == "closed":  # another gateway's probe has succeeded meanwhile
            breaker.release(probe=True)
            return await self._send(attempt, call_next, False)
        renewing = asyncio.create_task(fleet.renew(lease)) if lease is not None else None
        try:
            reply = await self._send(attempt, call_next, True)
            if breaker.state == "closed":
                await fleet.withdraw(target)
            return reply
        finally:
            if renewing is not None and lease is not None:
                renewing.cancel()
                await fleet.let_go(lease)


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


def is_fault(error: GatewayError, exchange: Exchange) -> bool:
    """Return whether an attempt failed by its target's fault."""
    if not isinstance(error, UpstreamError):
        return False
    if error.kind in ("status", "error_event"):
        return (error.upstream_status or error.status) >= 500
    if error.kind == "timeout" and exchange.deadline.remaining() <= CAP_SLACK_S:
        # Not when the client, or a parent exchange, would not wait as long as the route does.
        return exchange.deadline.at >= exchange.started_at_s + exchange.timeouts.total_s
    return True


def passed_over(target: str, breaker: Breaker) -> TargetSkipped:
    """Return what says that nothing may be sent to `target` now, and when it may be tried again."""
    wait_s = breaker.probe_in_s
    return TargetSkipped(
        f"{target} keeps failing and is given a rest",
        retry_after_s=max(1.0, math.floor(wait_s)) if wait_s else PROBING_S,
    )


def announcer(target: str, log: Log) -> Callable[[Breaker], None]:
    """Return what logs every change of a breaker's state."""

    def announce(breaker: Breaker) -> None:
        event, facts = f"breaker_{breaker.state}", {}
        if breaker.state == "open":
            event, facts = "breaker_opened", {"in_a_row": breaker.failed, "probe_in_s": round(breaker.probe_in_s, 3)}
        log.warning(event, request_id=breaker.by, target=target, why=breaker.why, **facts)

    return announce


def _opening_key(target: str) -> str:
    return f"{{{target}}}:open"
