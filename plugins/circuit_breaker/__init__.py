"""Stop sending to a target that keeps failing, and try it again with one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from gateway.plugin import (
    Attempt,
    Breaker,
    ConfigError,
    Exchange,
    GatewayError,
    Log,
    Plugin,
    Reply,
    Services,
    UpstreamError,
)

from .fleet import Fleet, passed_over

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

    def attempt(self, attempt: Attempt, call_next: Callable[[Attempt], Awaitable[Reply]]) -> Awaitable[Reply]:
        """Pass the target over while its breaker is open; else let the attempt through and learn from it."""
        breaker, fleet = attempt.health.breaker, self._fleet
        if breaker.on_change is None:
            breaker.on_change = announcer(attempt.target.name, self.services.log)
        if fleet is not None:
            return self._attempt_for_all(fleet, attempt, call_next)
        return self._send(attempt, call_next, self._admit(attempt))

    def finish(self, exchange: Exchange) -> Awaitable[None] | None:
        """Judge the stream that went to the client: only now is it known whether it came to its end."""
        streamed: list[Attempt] | None = exchange.notes.get(self.name)
        return None if streamed is None else self._judge(exchange, streamed)

    async def _judge(self, exchange: Exchange, streamed: list[Attempt]) -> None:
        for attempt in streamed:
            error = attempt.error or exchange.error
            if error is None:
                if exchange.outcome == "completed":
                    attempt.health.breaker.succeed(probe=False, by=exchange.id)
            elif is_fault(error, exchange):
                await self._count(attempt, error, probe=False)

    def _admit(self, attempt: Attempt) -> bool:
        """Return whether the attempt is a probe. Raises: TargetSkipped."""
        breaker = attempt.health.breaker
        probe = breaker.admit(self._probes, attempt.exchange.id)
        if probe is None:
            raise passed_over(attempt.target.name, breaker)
        return probe

    async def _attempt_for_all(
        self, fleet: Fleet, attempt: Attempt, call_next: Callable[[Attempt], Awaitable[Reply]]
    ) -> Reply:
        """As `attempt`, when breakers are shared."""
        await fleet.look(attempt.target.name, attempt.health.breaker)
        if self._admit(attempt):
            return await self._probe_for_all(fleet, attempt, call_next)
        return await self._send(attempt, call_next, False)

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


def announcer(target: str, log: Log) -> Callable[[Breaker], None]:
    """Return what logs every change of a breaker's state."""

    def announce(breaker: Breaker) -> None:
        event, facts = f"breaker_{breaker.state}", {}
        if breaker.state == "open":
            event, facts = "breaker_opened", {"in_a_row": breaker.failed, "probe_in_s": round(breaker.probe_in_s, 3)}
        log.warning(event, request_id=breaker.by, target=target, why=breaker.why, **facts)

    return announce
