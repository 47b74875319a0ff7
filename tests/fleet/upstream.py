"""An upstream that does what each request's `do` says, states the usage that it asks for, and counts what it served."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

from aiohttp import web

PIECES = 4
"""Into how many deltas a stream cuts its words."""


class Upstream:
    """OpenAI's chat on a free port of loopback.

    A request may hold `do` (plain, cut, hang, slow; broken: 500 everywhere; fail: 500 below `first_url` alone) and
    `use` ([prompt, completion] tokens). Everything is counted by model: `came`, `most` at the same time, `tokens` stated
    in whole answers. `prompts` are the words of the messages of each request, in the order in which they came.
    """

    def __init__(self) -> None:
        self.came: Counter[str] = Counter()
        self.running: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.tokens: Counter[str] = Counter()
        self.prompts: list[list[str]] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def first_url(self) -> str:
        """Where what shall `fail` does."""
        return f"http://127.0.0.1:{self.port}/first"

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/{base}/chat/completions", self._counted)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, backlog=1024).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _counted(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        model = asked["model"]
        self.came[model] += 1
        self.running[model] += 1
        self.most[model] = max(self.most[model], self.running[model])
        try:
            return await self._answer(request, asked)
        finally:
            self.running[model] -= 1

    async def _answer(self, request: web.Request, asked: dict[str, Any]) -> web.StreamResponse:
        do = asked.get("do", "plain")
        if do == "broken" or (do == "fail" and request.match_info["base"] == "first"):
            return web.json_response({"error": {"message": "broken", "type": "server_error"}}, status=500)
        if do == "slow":
            await asyncio.sleep(0.02)
        self.prompts.append([_words(message) for message in asked["messages"]])
        prompt, completion = asked.get("use", (10, 20))
        usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
        words = f"answer to {_words(asked['messages'][-1])}"
        if not asked.get("stream"):
            self.tokens[asked["model"]] += prompt + completion
            message = {"role": "assistant", "content": words}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            return web.json_response(
                {
                    "id": "c",
                    "object": "chat.completion",
                    "created": 1,
                    "model": "m",
                    "choices": [choice],
                    "usage": usage,
                }
            )
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        step = -(-len(words) // PIECES)
        for number, at in enumerate(range(0, len(words), step)):
            await response.write(_event({"role": "assistant", "content": words[at : at + step]}, None))
            if number == 1 and do == "cut":
                assert request.transport is not None
                request.transport.abort()
                return response
            if number == 1 and do == "hang":
                await asyncio.Event().wait()
        await response.write(_event({}, "stop"))
        if (asked.get("stream_options") or {}).get("include_usage"):
            await response.write(b"data: " + json.dumps({**_CHUNK, "choices": [], "usage": usage}).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        self.tokens[asked["model"]] += prompt + completion
        return response


_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def _event(delta: dict[str, Any], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({**_CHUNK, "choices": [choice]}).encode() + b"\n\n"


def _words(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


@asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as running:
        yield running
