"""The playground: a prompt to any model, route or target, or to two of them side by side, streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiohttp import web

from gateway.admin.asked import body_of, text_of
from gateway.admin.desk import Desk
from gateway.admin.explain import MOST_NAMES, literal_models
from gateway.admin.prompted import Prompt, Prompter
from gateway.errors import BadRequest, Unavailable
from gateway.secret import Secret

AT_ONCE: Final = 16
LOOK_S: Final = 0.1
"""How often is looked whether the page is still there."""
FIELDS: Final = frozenset({"model", "route", "target", "system", "user", "temperature", "max_tokens", "stream", "key"})
LONGEST_TEXT: Final = 512 * 1024


def facts(desk: Desk) -> dict[str, Any]:
    """Return what may be chosen: models that routes name, and the routes."""
    config = desk.gateway.snapshot.config
    return {
        "models": literal_models(config),
        "routes": [route.name for route in config.routes][:MOST_NAMES],
        "at_once": AT_ONCE,
    }


def prompt_of(given: Mapping[str, Any]) -> Prompt:
    """Return what is to be sent. Raises: BadRequest."""
    model, user = text_of(given, "model"), text_of(given, "user")
    if not model:
        raise BadRequest("say which model is asked for", param="model")
    if not user:
        raise BadRequest("say what is asked", param="user")
    system = text_of(given, "system") or ""
    if len(user) + len(system) > LONGEST_TEXT:
        raise BadRequest("the prompt is longer than 512 KiB", param="user")
    streamed = given.get("stream", True)
    if not isinstance(streamed, bool):
        raise BadRequest("stream must be true or false", param="stream")
    body: dict[str, Any] = {"model": model, "stream": streamed}
    body["messages"] = [{"role": "system", "content": system}] if system else []
    body["messages"].append({"role": "user", "content": user})
    if streamed:
        body["stream_options"] = {"include_usage": True}
    temperature, most = given.get("temperature"), given.get("max_tokens")
    if temperature is not None:
        if isinstance(temperature, bool) or not isinstance(temperature, (int, float)) or not 0 <= temperature <= 2:
            raise BadRequest("temperature must be a number from 0 to 2", param="temperature")
        body["temperature"] = temperature
    if most is not None:
        if isinstance(most, bool) or not isinstance(most, int) or not 1 <= most <= 1_000_000:
            raise BadRequest("max_tokens must be a whole number from 1 to 1000000", param="max_tokens")
        body["max_tokens"] = most
    return Prompt(body, text_of(given, "route") or "", text_of(given, "target") or "", key_of(given))


def key_of(given: Mapping[str, Any]) -> Secret:
    """Return the key that was typed. Raises: BadRequest for one that no header can carry."""
    key = text_of(given, "key") or ""
    if not (key.isascii() and key.isprintable()) or len(key) > 16_384:
        raise BadRequest("a key is visible ASCII characters", param="key")
    return Secret(key.strip())


def routes(desk: Desk) -> Sequence[web.AbstractRouteDef]:
    """Return the paths."""
    prompter = Prompter(desk)
    under_way: set[object] = set()

    async def tell(_: web.Request) -> web.Response:
        return web.json_response(facts(desk))

    async def tell_models(request: web.Request) -> web.Response:
        given = await body_of(request, frozenset({"key"}))
        return web.json_response({"models": await prompter.models(key_of(given))})

    async def page(request: web.Request) -> web.Response:
        query = request.query
        sides = [{name: query.get(name + suffix, "") for name in ("model", "route", "target")} for suffix in ("", "2")]
        return await desk.page(
            request, "playground.html", facts(desk) | {"sides": sides, "compare": any(sides[1].values())}
        )

    async def run(request: web.Request) -> web.StreamResponse:
        prompt = prompt_of(await body_of(request, FIELDS))
        if len(under_way) >= AT_ONCE:
            raise Unavailable(f"{AT_ONCE} prompts are under way, the most at once; try again", retry_after_s=1.0)
        desk.note(request, "playground", model=str(prompt.body["model"])[:256], route=prompt.route or None,
                  target=prompt.target or None)  # fmt: skip
        mark = object()
        under_way.add(mark)
        try:
            response = web.StreamResponse(headers={"content-type": "application/x-ndjson"})
            await response.prepare(request)
            await watched(request, told(prompt, response))
        finally:
            under_way.discard(mark)
        return response

    async def told(prompt: Prompt, response: web.StreamResponse) -> None:
        async for each in prompter.tell(prompt):
            await response.write(json.dumps(each).encode() + b"\n")
        await response.write_eof()

    return (
        web.get("/playground", page),
        web.get("/api/playground", tell),
        web.post("/api/playground", run),
        web.post("/api/playground/models", tell_models),
    )


async def watched(request: web.Request, work: Any) -> None:
    """Do `work` for as long as its page is there: aiohttp tells no handler that its client has left while it waits.

    Cancelling closes the connection to the data listener, and that cancels the upstream.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait([task], timeout=LOOK_S)
            if request.transport is None or request.transport.is_closing():
                break
        if task.done():
            task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
