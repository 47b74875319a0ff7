"""What an operator does to a target: rest, drain and undrain it, reset its breaker; in every process at once.

`POST /api/targets` with `{"target", "action", "seconds"?}`, and `POST /targets` for the overview's menu.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from gateway.admin import measured, overview
from gateway.admin.asked import body_of
from gateway.admin.desk import Desk
from gateway.admin.status import merged
from gateway.errors import BadRequest, NotFound
from gateway.runtime.group import opened
from gateway.upstream.holds import LONGEST_S

ACTIONS: Final = ("rest", "drain", "undrain", "reset")
_KNOWN: Final = frozenset({"target", "action", "seconds"})
USUAL_S: Final = 60.0


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""

    async def asked(request: web.Request) -> tuple[str, str, str]:
        given = await body_of(request, _KNOWN)
        target, action, seconds = read(desk, given)
        said = await act(desk, target, action, seconds)
        facts = {"seconds": seconds} if action == "rest" else {}
        desk.note(request, f"{action} target", target=target, **facts)
        return target, action, said

    async def api(request: web.Request) -> web.Response:
        target, action, said = await asked(request)
        return web.json_response(
            {"target": target, "action": action, "said": said, "targets": await rows(desk, target)}
        )

    async def piece(request: web.Request) -> web.Response:
        _, _, said = await asked(request)
        shown = (await rows(desk))[: overview.SHOWN_TARGETS]
        return await desk.page(request, "partials/targets_table.html", {"targets": shown, "said": said})

    return (web.post("/api/targets", api), web.post("/targets", piece))


def read(desk: Desk, given: Mapping[str, Any]) -> tuple[str, str, float]:
    """Return target, action and for how many seconds. Raises: BadRequest, NotFound."""
    target, action, seconds = given.get("target"), given.get("action"), given.get("seconds", USUAL_S)
    if action not in ACTIONS:
        raise BadRequest(f"action must be one of {', '.join(ACTIONS)}", param="action")
    if not isinstance(target, str) or not target:
        raise BadRequest("target must be named, as provider/model", param="target")
    if target not in desk.gateway.snapshot.targets:
        raise NotFound(f'no route has the target "{target[:200]}"')
    try:
        whole_s = float(seconds) if not isinstance(seconds, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        whole_s = math.nan
    if not 0 < whole_s <= LONGEST_S:
        raise BadRequest(f"seconds must be above 0, and {LONGEST_S:.0f} at most", param="seconds")
    return target, action, whole_s


async def act(desk: Desk, target: str, action: str, seconds: float) -> str:
    """Do it, and return in words what holds now. Raises: GatewayError when the shared state would not hear of it."""
    holds = desk.gateway.holds
    if action == "reset":
        await desk.gather("reset", target)
        for answer in await desk.gather("plugin circuit_breaker: reset", target):
            opened(answer)
        return f"the breaker of {target} is closed"
    if action == "rest":
        holds.rest(target, seconds)
    elif action == "drain":
        holds.drain(target)
    else:
        holds.undrain(target)
    await desk.gather("holds", holds.told())
    if action == "rest":
        return f"{target} rests for {seconds:.0f} s"
    return f"{target} is drained" if action == "drain" else f"{target} has requests again"


async def rows(desk: Desk, only: str | None = None) -> list[dict[str, Any]]:
    """Return the targets, or one of them, as the overview shows them."""
    pulse = measured.together(await desk.gather("pulse", 0))
    known = merged(await desk.gather("status"), await desk.gather("lag"))["targets"]
    return overview.targets(desk, pulse, known, only)
