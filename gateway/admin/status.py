"""How the processes of a group are together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

WORST = {"closed": 0, "half_open": 1, "open": 2}


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
