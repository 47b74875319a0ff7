"""Sessions: which there are, what one holds, and ending one.

SECURITY: what people wrote is shown here, and only here: to whoever may use the admin listener.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import web

from gateway.admin.asked import body_of
from gateway.admin.desk import Desk
from gateway.admin.holders import running
from gateway.errors import GatewayError, NotFound

PER_PAGE: Final = 50
LONG_CHARS: Final = 1200
"""A text longer than this is folded: its beginning is shown, the rest on request."""


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the pages and paths of sessions."""

    async def api_list(request: web.Request) -> web.Response:
        return web.json_response(await facts(desk, **_asked(request)))

    async def page_list(request: web.Request) -> web.Response:
        asked = _asked(request)
        found = await facts(desk, **asked)
        query = {name: value for name, value in {**asked, "after": found["next"]}.items() if value is not None}
        older = f"/sessions?{urlencode(query)}" if found["next"] else None
        first = "/sessions" + (f"?{urlencode({'principal': asked['principal']})}" if asked["principal"] else "")
        return await desk.page(
            request, "sessions.html", {**found, "older": older, "newer": first if asked["after"] else None}
        )

    async def api_one(request: web.Request) -> web.Response:
        return web.json_response(await one(desk, request.match_info["id"]))

    async def page_one(request: web.Request) -> web.Response:
        found = await one(desk, request.match_info["id"])
        return await desk.page(request, "session.html", {
            **found,
            "messages": [spoken(each) for each in found["messages"]],
            "context_text": json.dumps(found["context"], indent=2, ensure_ascii=False) if found["context"] else "",
            "quoted": quote(found["id"], safe=""),
        })  # fmt: skip

    async def end(request: web.Request) -> web.Response:
        await body_of(request, frozenset())
        id = request.match_info["id"]
        ended = await ask(desk, "end_session", {"id": id})
        desk.note(request, "session_ended", session=ended["id"], principal=ended["principal"])
        if request.headers.get("hx-request") == "true":
            return web.Response(headers={"hx-redirect": "/sessions"})
        return web.json_response({"id": ended["id"], "ended": True})

    return [
        web.get("/api/sessions", api_list),
        web.get("/sessions", page_list),
        web.get("/api/sessions/{id}", api_one),
        web.get("/sessions/{id}", page_one),
        web.delete("/api/sessions/{id}", end),
        web.post("/sessions/{id}/end", end),
    ]


def _asked(request: web.Request) -> dict[str, Any]:
    return {
        "after": request.query.get("after") or None,
        "principal": request.query.get("principal", "").strip() or None,
    }


async def ask(desk: Desk, what: str, given: Mapping[str, Any]) -> Any:
    """Return what the session plugin answers. Raises: NotFound with the cure where it runs nowhere."""
    if not running(desk.gateway.snapshot.config, "session"):
        raise NotFound('no sessions are kept: add "- session" to plugins in gateway.yaml')
    return await desk.ask_plugin("session", what, given)


async def facts(desk: Desk, *, after: str | None = None, principal: str | None = None) -> dict[str, Any]:
    """Return sessions, newest first, those of `principal` or all; `next` is what `after` goes on with. Without the
    plugin, or while the state is lost, `problem` says so and there are none."""
    found: dict[str, Any] = {"sessions": [], "next": None, "is_whole": True, "problem": None}
    found["kept"] = bool(running(desk.gateway.snapshot.config, "session"))
    if found["kept"]:
        given: dict[str, Any] = {"after": after, "at_most": PER_PAGE}
        if principal is not None:
            given["principal"] = principal
        try:
            found |= await ask(desk, "sessions", given)
        except GatewayError as error:
            found["problem"] = error.message
    return {**found, "principal": principal, "after": after, "has_ledger": desk.gateway.snapshot.ledger is not None}


async def one(desk: Desk, id: str) -> dict[str, Any]:
    """Return what a session holds. Raises: NotFound, StateLost, as told by the plugin."""
    found = dict(await ask(desk, "session", {"id": id}))
    return {**found, "has_ledger": desk.gateway.snapshot.ledger is not None}


def spoken(message: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as the page shows it: its role, when, and its parts as plain text, each with its title."""
    parts: list[dict[str, str]] = []
    if message.get("reasoning_content"):
        parts.append(_part("reasoning", message["reasoning_content"]))
    content = message.get("content")
    if isinstance(content, str):
        if content:
            parts.append(_part("", content))
    else:
        parts += [
            _part("", each["text"]) if each.get("type") == "text" else _part(f"[{each.get('type')}]", "")
            for each in content or ()
        ]
    for call in message.get("tool_calls", ()):
        parts.append(_part(f"calls {call['function']['name']}", call["function"]["arguments"]))
    said = {"assistant": "Assistant", "user": "User", "tool": "Tool result", "system": "System"}
    return {
        "role": message["role"],
        "title": said.get(message["role"], message["role"]),
        "at": message["at"],
        "call": message.get("tool_call_id"),
        "parts": parts,
    }


def _part(title: str, text: Any) -> dict[str, str]:
    words = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
    is_long = len(words) > LONG_CHARS
    return {"title": title, "text": words, "begin": words[:LONG_CHARS].rstrip() + "…" if is_long else ""}
