"""How this process is, as it tells the others of its group."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gateway.attempts.shadow import Shadows
from gateway.runtime.group import Answerer
from gateway.upstream.health import TargetHealth

if TYPE_CHECKING:
    from gateway.runtime.gateway import Gateway


def teller(gateway: Gateway) -> Answerer:
    """Return what answers `status` for this process."""

    async def status(_: Any) -> dict[str, Any]:
        snapshot = gateway.snapshot
        shared, ledger, clean = snapshot.shared, snapshot.ledger, gateway.log.redactor.clean
        shadows: Shadows = gateway.lasting.get("shadows", Shadows)
        return {
            "pid": os.getpid(),
            "phase": gateway.phase,
            "digest": snapshot.config.digest,
            "in_flight": len(gateway.live),
            "uptime_s": round(shared.uptime_s(), 1),
            "ledger": None
            if ledger is None
            else {
                "rows_total": ledger.rows_total,
                "dropped_total": ledger.dropped_total,
                "lost": ledger.is_lost,
            },
            "state": {"lost": shared.state.is_lost, "errors": shared.state.errors},
            "shadows": {"in_flight": shadows.in_flight, "sent": shadows.sent, "left_out": shadows.left_out},
            "targets": [cleaned(facts_of(each), clean) for each in snapshot.shared.health.among(snapshot.targets)],
        }

    return status


def cleaned(facts: dict[str, Any], clean: Callable[[bytes], bytes]) -> dict[str, Any]:
    """Return facts of a target without what its upstream repeats of our credentials."""
    return {**facts, "why": clean(facts["why"].encode("utf-8", "replace")).decode()} if facts["why"] else facts


def facts_of(health: TargetHealth) -> dict[str, Any]:
    """Return what is known of a target. `why` says what its last failures were, `operator` whether an operator
    holds it; times are seconds."""
    breaker = health.breaker
    first_token_s = health.first_token_s
    hold = health.holds.of(health.name)
    return {
        "target": health.name,
        "operator": hold,
        "rests_s": round(health.holds.rests_s(health.name), 3) if hold == "resting" else 0.0,
        "breaker": breaker.state,
        "why": breaker.why if breaker.failed or breaker.state != "closed" else "",
        "probe_in_s": round(breaker.probe_in_s, 3),
        "in_flight": health.in_flight,
        "attempts": health.attempts,
        "failures": health.failures,
        "first_token_s": None if first_token_s is None else round(first_token_s, 6),
    }
