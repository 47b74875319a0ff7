"""What remains of the limits over a caller, for the dashboard. Looking takes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.plugin import Principal, StateStore, credentials

from .limits import Limit, is_over, of_principal, subject_of

UNITS = {1.0: "s", 60.0: "min", 3600.0: "h", 86400.0: "day", 604800.0: "week", 2592000.0: "month"}
Standing = Iterable[tuple[str | None, Iterable[Limit]]]
"""The limits of every instance of the plugin, with the route that it stands on."""


async def remaining(state: StateStore, standing: Standing, given: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return for each limit over the principal (`name`, `tags`, and the `limits` beside its key) what remains of it.

    `left` of `amount`, full again in `reset_s`; both None for a limit that is counted per model, address, header or
    the like, where one caller has no number of its own. `route` is None for what holds wherever no route has limits of
    its own. Raises: StateLost.
    """
    given = given or {}
    kept = credentials.read_facts({"tags": given.get("tags") or {}, "limits": given.get("limits") or {}})
    principal = Principal(given.get("name") or "anonymous", kept["tags"], limits=kept["limits"])
    found: dict[tuple[str | None, str], tuple[str | None, Limit, str | None]] = {}
    own = [(None, of_principal(principal))]
    for route, limits in (*own, *sorted(standing, key=lambda each: each[0] or "")):
        for limit in limits:
            if is_over(limit, principal):
                who = subject_of(limit, principal, route)
                # Two that count the same are one: a route may repeat a global limit.
                found.setdefault((who or f"on {route}", limit.key), (route, limit, who))
    return list(await asyncio.gather(*(_looked(state, *each) for each in found.values())))


async def _looked(state: StateStore, route: str | None, limit: Limit, who: str | None) -> dict[str, Any]:
    amount = limit.amount if limit.kind == "concurrency" else limit.burst
    told = {
        "what": limit.kind,
        "per": limit.per,
        "limit": words(limit),
        "amount": amount,
        "left": None,
        "reset_s": None,
        "route": route,
        "shadow": limit.shadow,
    }
    if who is None:
        return told
    # Each by itself: in a cluster what lies on another shard than a refused claim would not be looked at.
    taken = await state.take([limit.look(who)])
    if limit.kind == "concurrency":
        return {**told, "left": max(0, amount + taken.left[0])}
    return {**told, "left": taken.left[0], "reset_s": taken.reset_s[0]}


def words(limit: Limit) -> str:
    """Return the limit as gateway.yaml has it."""
    if limit.kind == "concurrency":
        return f"{limit.amount} at once"
    rate = f"{limit.amount}/{UNITS.get(limit.period_s) or f'{limit.period_s:g}s'}"
    return rate if limit.burst == limit.amount else f"{rate}, burst {limit.burst}"
