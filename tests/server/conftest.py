"""An upstream that answers in whatever dialect it is asked, and a gateway in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop

from gateway.testing import Answer, ReceivedRequest, RunningGateway, ScriptedUpstream, reply_json, running_gateway

OPENAI = {
    "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}  # fmt: skip
ANTHROPIC = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
}  # fmt: skip
OLLAMA = {
    "model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "hello"},
    "done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1,
}  # fmt: skip


def in_its_dialect(request: ReceivedRequest) -> Answer:
    path = request.path.partition("?")[0]
    if path == "/v1/messages":
        return reply_json(ANTHROPIC)
    return reply_json(OLLAMA if path == "/api/chat" else OPENAI)


def edge_config(url: str) -> str:
    return f"""
        server:
          max_body: 64KiB
          timeouts: {{headers: 400ms, body: 400ms}}
        plugins: [request_id, access_log, security_headers]
        providers:
          up: {{dialect: openai, base_url: "{url}/v1", api_key: key-of-the-gateway}}
          claude: {{dialect: anthropic, base_url: "{url}", api_key: key-of-the-gateway}}
          llama: {{dialect: ollama, base_url: "{url}"}}
        routes:
          - {{name: claude, match: {{model: claude}}, targets: ["claude/*"]}}
          - {{name: llama, match: {{model: llama}}, targets: ["llama/*"]}}
          - {{name: translated, match: {{model: translated}}, targets: [claude/real]}}
          - {{name: plain, match: {{model: ["m", "m/*"]}}, targets: ["up/*"]}}
          - {{name: files, match: {{path: "/files/**"}}, targets: ["up/*"]}}
    """


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream(in_its_dialect) as upstream:
        yield upstream


@pytest.fixture
async def edge(upstream: ScriptedUpstream) -> AsyncIterator[RunningGateway]:
    async with running_gateway(edge_config(upstream.url)) as gateway:
        yield gateway


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The loop that serves in production, whose transports differ in small things."""
    return {"uvloop": uvloop.new_event_loop}
