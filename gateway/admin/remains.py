"""What remains to a principal: asked of the plugins that hold limits and budgets, which take nothing for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.admin.desk import Desk
from gateway.admin.holders import running
from gateway.errors import GatewayError, NotFound

PLUGINS: Final = ("rate_limit", "budget")
MOST_KEYS: Final = 5
"""Keys of one name whose own limits are asked for: while it is rotated there are two."""


async def remains(desk: Desk, name: str, keys: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return `limits`, what remains of each over the principal `name`, and `problems`, why some cannot be told.

    `keys` are what stands beside its keys: tags, limits and budget.
    """
    limits: list[dict[str, Any]] = []
    problems: list[str] = []
    for plugin in PLUGINS:
        stands_on = running(desk.gateway.snapshot.config, plugin)
        if not stands_on:
            continue
        try:
            found = [
                each
                for kept in list(keys)[:MOST_KEYS] or [{}]
                for each in await desk.ask_plugin(plugin, "remaining", {"name": name, **kept})
            ]
        except GatewayError as error:
            what = "limits" if plugin == "rate_limit" else "budgets"
            # It stands in a chain, so that it is not found means that no process answered.
            why = "no process of this gateway answers" if isinstance(error, NotFound) else error.message
            problems.append(f"what remains of the {what} cannot be known at the moment: {why}")
            continue
        limits += _once(found, stands_on)
    return {"limits": limits, "problems": problems}


def _once(found: Sequence[dict[str, Any]], stands_on: set[str | None]) -> list[dict[str, Any]]:
    """Return each limit once, without those of routes that have none of their own any more: an exchange may still run
    under the configuration before."""
    kept = {
        (each["what"], each["per"], each["limit"], each["route"]): each for each in found if each["route"] in stands_on
        or (each["route"] is None and each["per"] == "key")
    }  # fmt: skip
    return list(kept.values())
