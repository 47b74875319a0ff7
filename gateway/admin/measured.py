"""Figures out of what the processes have counted: quantiles, rates, series, shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final

from gateway.pricing import plain
from gateway.route import Route
from gateway.runtime.group import added
from gateway.runtime.pulse import COUNTS, KEPT_S, MINUTE_S, TARGET_COUNTS, ms_of

POINTS: Final = KEPT_S
_BY_WEIGHT: Final = frozenset({"weighted", "least_busy", "sticky"})


def together(pulses: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all processes counted."""
    whole: dict[str, Any] = {"now": 0.0}
    for each in pulses:
        now_s = max(whole["now"], each["now"])
        whole = {**added(whole, each), "now": now_s}
    return whole


def quantiles(histogram: Mapping[str, int]) -> dict[str, Any]:
    """Return p50, p95 and p99 in milliseconds, None of nothing, and of how many they are."""
    count = sum(histogram.values())
    steps = sorted((int(step), number) for step, number in histogram.items())
    found: dict[str, Any] = {}
    for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
        found[name] = _quantile(steps, count, share)
    return {**found, "count": count}


def window(sums: Sequence[Any] | None, seconds: int) -> dict[str, Any]:
    """Return what `seconds` seconds were."""
    counts, overhead, ttft = sums or ([0] * len(COUNTS), {}, {})
    named = dict(zip(COUNTS, counts, strict=True))
    total = named["requests"]
    errors = named["errors_4xx"] + named["errors_5xx"]
    return {
        "requests": {
            "per_s": round(total / seconds, 3),
            "total": total,
            "errors": errors,
            "error_share": _share(errors, total),
            "errors_5xx": named["errors_5xx"],
            "errors_4xx": named["errors_4xx"],
            "disconnects": named["disconnects"],
        },
        "overhead_ms": quantiles(overhead),
        "ttft_ms": quantiles(ttft),
        "tokens": {
            "in": named["tokens_in"],
            "out": named["tokens_out"],
            "in_per_s": round(named["tokens_in"] / seconds, 3),
            "out_per_s": round(named["tokens_out"] / seconds, 3),
        },
        "cost_usd": plain(Decimal(named["cost_nano_usd"]).scaleb(-9)),
    }


def minute_and_five(pulse: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the last minute and the last five."""
    return window(pulse.get("minute"), MINUTE_S), window(pulse.get("five_minutes"), KEPT_S)


def series(pulse: Mapping[str, Any], now_s: float, ahead_s: float, points: int) -> dict[str, list[Any]]:
    """Return the last whole seconds, one value of each kind a second. `now_s` is the clock of the pulse, and Unix time
    is `ahead_s` more."""
    seconds = pulse.get("seconds", {})
    found: dict[str, list[Any]] = {name: [] for name in ("at", *COUNTS[:-1])}
    times = ("overhead_p50_ms", "overhead_p99_ms", "ttft_p50_ms", "ttft_p99_ms")
    found |= {name: [] for name in times}
    for second in range(int(now_s) - points, int(now_s)):
        counts, *histograms = seconds.get(str(second)) or ([0] * len(COUNTS), {}, {})
        found["at"].append(int(second + ahead_s))
        for name, value in zip(COUNTS[:-1], counts, strict=False):
            found[name].append(value)
        for name, histogram in zip(("overhead", "ttft"), histograms, strict=True):
            figures = quantiles(histogram)
            found[f"{name}_p50_ms"].append(figures["p50"])
            found[f"{name}_p99_ms"].append(figures["p99"])
    return found


def attempts_of(pulse: Mapping[str, Any]) -> tuple[dict[str, int], dict[str, int]]:
    """Return how many attempts five minutes saw at each target, and on each route."""
    by_target: dict[str, int] = {}
    by_route: dict[str, int] = {}
    for route, each in pulse.get("targets", {}).items():
        for target, (counts, _) in each.items():
            by_target[target] = by_target.get(target, 0) + counts[0]
            by_route[route] = by_route.get(route, 0) + counts[0]
    return by_target, by_route


def of_target(
    pulse: Mapping[str, Any], target: str, expected: Mapping[str, float | None], by_route: Mapping[str, int]
) -> dict[str, Any]:
    """Return what five minutes were at a target: its attempts and their ends, and which share of the attempts of its
    routes it was `expected` to have on each of them, and had."""
    counted = pulse.get("targets", {})
    counts: list[int] = [0] * len(TARGET_COUNTS)
    ttft: dict[str, int] = {}
    for route in by_route if len(by_route) < len(expected) else expected:
        if target in counted.get(route, ()):
            counts, ttft = added(counts, counted[route][target][0]), added(ttft, counted[route][target][1])
    named = dict(zip(TARGET_COUNTS, counts, strict=True))
    figures = quantiles(ttft)
    total = sum(by_route.get(route, 0) for route in expected)
    return {
        "attempts": named["attempts"],
        "errors": named["errors"],
        "error_share": _share(named["errors"], named["attempts"]),
        "too_many": named["too_many"],
        "tokens_in": named["tokens_in"],
        "tokens_out": named["tokens_out"],
        "ttft_p50_ms": figures["p50"],
        "ttft_p95_ms": figures["p95"],
        "ttft_p99_ms": figures["p99"],
        "share_expected": _mean(expected, by_route, total),
        "share_actual": round(named["attempts"] / total, 4) if total else None,
    }


def expected_of(route: Route) -> dict[str, float | None]:
    """Return which share of a route's requests its balance means each target to have; None where that depends on the
    requests. A fallback is meant to have none."""
    shares: dict[str, float | None] = {target.name: 0.0 for target in route.listed}
    targets = [target for target in route.targets if target.provider.enabled]
    for number, target in enumerate(targets):
        if route.balance in _BY_WEIGHT:
            share: float | None = target.weight / sum(each.weight for each in targets)
        elif route.balance == "round_robin" or len(targets) == 1:
            share = 1 / len(targets)
        else:
            share = float(not number) if route.balance == "ordered" else None
        known = shares[target.name]
        shares[target.name] = None if share is None or known is None else known + share
    return shares


def _mean(expected: Mapping[str, float | None], by_route: Mapping[str, int], total: int) -> float | None:
    """Return the mean of what is expected on each route, by how much was asked of it."""
    mean = 0.0
    for route, share in expected.items():
        weight = by_route.get(route, 0) / total if total else 1 / len(expected)
        if share is None and weight:
            return None
        mean += (share or 0.0) * weight
    return round(mean, 4)


def _share(part: int, whole: int) -> float:
    return round(part / whole, 5) if whole else 0.0


def _quantile(steps: Sequence[tuple[int, int]], count: int, share: float) -> float | None:
    seen = 0
    for step, number in steps:
        seen += number
        if seen >= share * count:
            return float(f"{ms_of(step):.3g}")
    return None
