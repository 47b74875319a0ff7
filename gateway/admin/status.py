"""How a process is, and how several are together."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from gateway.attempts.shadow import Shadows
from gateway.runtime.gateway import Gateway
from gateway.runtime.group import Answerer
from gateway.upstream.health import TargetHealth

WORST = {"closed": 0, "half_open": 1, "open": 2}


def teller(gateway: Gateway) -> Answerer:
    """Return what answers `status` for this process."""

    async def status(_: Any) -> dict[str, Any]:
        snapshot = gateway.snapshot
        shadows: Shadows = gateway.lasting.get("shadows", Shadows)
        return {
            "pid": os.getpid(),
            "phase": gateway.phase,
            "digest": snapshot.config.digest,
            "in_flight": len(gateway.live),
            "shadows": {"in_flight": shadows.in_flight, "sent": shadows.sent, "left_out": shadows.left_out},
            "targets": [facts_of(each) for each in snapshot.shared.health.among(snapshot.targets)],
        }

    return status


def facts_of(health: TargetHealth) -> dict[str, Any]:
    """Return what is known of a target. `why` says what its last failures were; times are seconds."""
    breaker = health.breaker
    first_token_s = health.first_token_s
    return {
        "target": health.name,
        "breaker": breaker.state,
        "why": breaker.why if breaker.failed or breaker.state != "closed" else "",
        "probe_in_s": round(breaker.probe_in_s, 3),
        "in_flight": health.in_flight,
        "attempts": health.attempts,
        "failures": health.failures,
        "first_token_s": None if first_token_s is None else round(first_token_s, 6),
    }


def merged(processes: Sequence[Mapping[str, Any]], lags: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return what the processes of a group are together: sums of what is counted, the worst of what is judged."""
    targets: dict[str, dict[str, Any]] = {}
    for process in processes:
        for each in process["targets"]:
            known = targets.get(each["target"])
            targets[each["target"]] = dict(each) if known is None else _together(known, each)
    return {
        "phase": next((process["phase"] for process in processes), "starting"),
        "in_flight": sum(process["in_flight"] for process in processes),
        "loop_lag_ms": {name: max(lag[name] for lag in lags) for name in lags[0]} if lags else None,
        "workers": [{name: process[name] for name in ("pid", "phase", "digest", "in_flight")} for process in processes],
        "shadows": {
            name: sum(process["shadows"][name] for process in processes) for name in ("in_flight", "sent", "left_out")
        },
        "targets": list(targets.values()),
    }


def _together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    worse = max(one, other, key=lambda each: WORST[each["breaker"]])
    firsts = [each["first_token_s"] for each in (one, other) if each["first_token_s"] is not None]
    return {
        **worse,
        **{name: one[name] + other[name] for name in ("in_flight", "attempts", "failures")},
        "first_token_s": max(firsts, default=None),
    }
