"""Both providers in one small server: the same answers every time, and a record of what was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

WORDS = ("Red", ", green", " and blue.")
USAGE = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15}


@dataclass
class Provider:
    """`asked` is (path with query, body, credential) of every request, in order."""

    url: str = ""
    asked: list[tuple[str, bytes, str]] = field(default_factory=list)


async def stream(request: web.Request, events: Iterable[bytes]) -> web.StreamResponse:
    answer = web.StreamResponse(
        headers={"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
    )
    await answer.prepare(request)
    for event in events:
        await answer.write(event)
    await answer.write_eof()
    return answer


def named(event: dict[str, Any]) -> bytes:
    return f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    choices = [] if more else [{"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}]
    body = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt-5-mini-2026"}
    return f"data: {json.dumps({**body, 'choices': choices, **more})}\n\n".encode()


async def chat(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    if not asked.get("stream"):
        message: dict[str, Any] = {"role": "assistant", "content": "".join(WORDS), "refusal": None, "annotations": []}
        choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
        body = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "gpt-5-mini-2026"}
        return web.json_response({**body, "choices": [choice], "usage": USAGE, "unknown_field": {"kept": 1}})
    events = [chunk({"role": "assistant", "content": ""}), *(chunk({"content": word}) for word in WORDS)]
    events += [chunk({}, "stop")]
    if asked.get("stream_options", {}).get("include_usage"):
        events += [chunk({}, usage=USAGE)]
    return await stream(request, [*events, b"data: [DONE]\n\n"])


async def responses(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    part = {"type": "output_text", "text": "".join(WORDS), "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [part]}
    usage = {
        "input_tokens": 9, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 6, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15,
    }  # fmt: skip
    done = {
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "model": "gpt-5-mini-2026",
        "output": [item], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "usage": usage,
    }  # fmt: skip
    if not asked.get("stream"):
        return web.json_response(done)
    begun = {**done, "status": "in_progress", "output": [], "usage": None}
    place: dict[str, Any] = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": begun},
        {
            "type": "response.output_item.added",
            "output_index": 0,
            "item": {**item, "status": "in_progress", "content": []},
        },
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **place, "delta": word, "logprobs": []} for word in WORDS),
        {"type": "response.output_text.done", **place, "text": "".join(WORDS), "logprobs": []},
        {"type": "response.content_part.done", **place, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]
    return await stream(request, (named({**event, "sequence_number": n}) for n, event in enumerate(events)))


async def embeddings(request: web.Request) -> web.Response:
    asked = await request.json()
    data = [
        {"object": "embedding", "index": n, "embedding": "AACAPwAAAEAAAEBA"}  # three floats, as the SDK asks for them
        for n, _ in enumerate(asked["input"])
    ]
    usage = {"prompt_tokens": 8, "total_tokens": 8}
    return web.json_response({"object": "list", "model": asked["model"], "data": data, "usage": usage})


async def messages(request: web.Request) -> web.StreamResponse:
    asked = await request.json()
    usage = {"input_tokens": 9, "output_tokens": 6, "cache_read_input_tokens": 0}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-haiku-4-5-2026"}
    block = {"type": "text", "text": "".join(WORDS)}
    if not asked.get("stream"):
        return web.json_response(
            {**head, "content": [block], "stop_reason": "end_turn", "stop_sequence": None, "usage": usage}
        )
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {**head, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in WORDS),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage},
        {"type": "message_stop"},
    ]
    return await stream(request, map(named, events))


async def count_tokens(request: web.Request) -> web.Response:
    return web.json_response({"input_tokens": 9})


@asynccontextmanager
async def provider() -> AsyncIterator[Provider]:
    """Serve on loopback. OpenAI's base URL is `url` + /v1, Anthropic's is `url`."""
    record = Provider()

    @web.middleware
    async def note(request: web.Request, handler: Any) -> web.StreamResponse:
        credential = request.headers.get("authorization") or request.headers.get("x-api-key") or ""
        record.asked.append((request.path_qs, await request.read(), credential))
        answer: web.StreamResponse = await handler(request)
        return answer

    app = web.Application(middlewares=[note])
    app.router.add_post("/v1/chat/completions", chat)
    app.router.add_post("/v1/responses", responses)
    app.router.add_post("/v1/embeddings", embeddings)
    app.router.add_post("/v1/messages", messages)
    app.router.add_post("/v1/messages/count_tokens", count_tokens)
    async with TestServer(app) as server:
        record.url = str(server.make_url("")).rstrip("/")
        yield record
