"""Bodies that are valid but odd, and headers that every upstream gets, as a stranger finds them."""

from __future__ import annotations

import json
import re

import pytest

from gateway.testing import ScriptedUpstream, reply_bytes, reply_json, running_gateway

MESSAGES = [{"role": "user", "content": "hi"}]
CONFIG = """
plugins: [access_log]
providers:
  open: {{dialect: openai, base_url: "{url}/v1", api_key: k}}
  anthropic: {{base_url: "{url}", api_key: k}}
  ollama: {{base_url: "{url}"}}
routes:
  - {{name: open, match: {{model: open}}, targets: ["open/*"]}}
  - {{name: anthropic, match: {{model: anthropic}}, targets: ["anthropic/*"]}}
  - {{name: ollama, match: {{model: ollama}}, targets: ["ollama/*"]}}
"""
PATHS = {"open": "/v1/chat/completions", "anthropic": "/v1/messages", "ollama": "/api/chat"}
ODD_ANSWERS = {
    "open": b'{ "id":"1", "choices":[{"index":0,"message":{"role":"assistant","content":"cut \\ud83d"},'
    b'"finish_reason":"length"}],"x":1e999,"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}',
    "anthropic": b'{ "type":"message","role":"assistant","content":[{"type":"text","text":"cut \\ud83d"}],'
    b'"x":1e999,"usage":{"input_tokens":3,"output_tokens":4}}',
    "ollama": b'{ "message":{"role":"assistant","content":"cut \\ud83d"},"done":true,"x":1e999,"prompt_eval_count":3,'
    b'"eval_count":4}',
}


@pytest.mark.parametrize("dialect", PATHS)
async def test_answer_cut_within_a_surrogate_pair_passes_byte_for_byte_and_is_counted(dialect: str) -> None:
    odd = ODD_ANSWERS[dialect]
    async with (
        ScriptedUpstream(reply_bytes(odd)) as upstream,
        running_gateway(CONFIG.format(url=upstream.url)) as gateway,
    ):
        answer = await gateway.post(
            PATHS[dialect], {"model": dialect, "messages": MESSAGES, "max_tokens": 5, "stream": False}
        )
        assert (answer.status, answer.body) == (200, odd)
        await gateway.settled()
        line = gateway.events("request")[-1]
        assert (line["prompt_tokens"], line["completion_tokens"]) == (3, 4)


@pytest.mark.parametrize("dialect", ["open", "anthropic"])
async def test_answer_deeper_than_can_be_read_passes_unread(dialect: str) -> None:
    deep = b'{"choices":[],"deep":' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    async with (
        ScriptedUpstream(reply_bytes(deep)) as upstream,
        running_gateway(CONFIG.format(url=upstream.url)) as gateway,
    ):
        answer = await gateway.post(PATHS[dialect], {"model": dialect, "messages": MESSAGES, "max_tokens": 5})
        assert (answer.status, answer.body) == (200, deep)


@pytest.mark.parametrize("request_id", ["my-own id", "0" * 32, ""])
async def test_traceparent_is_made_for_a_request_that_brings_none(request_id: str) -> None:
    async with (
        ScriptedUpstream(reply_json({"choices": []})) as upstream,
        running_gateway(CONFIG.format(url=upstream.url)) as gateway,
    ):
        headers = {"x-request-id": request_id} if request_id else {}
        answer = await gateway.post(PATHS["open"], {"model": "open", "messages": MESSAGES}, headers=headers)
        assert answer.status == 200
        trace = dict(upstream.requests[0].headers)["traceparent"]
        assert (found := re.fullmatch("00-([0-9a-f]{32})-([0-9a-f]{16})-0[01]", trace))
        assert int(found[1], 16) and int(found[2], 16)
        if not request_id:
            assert found[1] == answer.headers["x-request-id"]


async def test_show_takes_the_older_name_of_the_model_member() -> None:
    async with (
        ScriptedUpstream(reply_json({"details": {}})) as upstream,
        running_gateway(CONFIG.format(url=upstream.url)) as gateway,
    ):
        answer = await gateway.post("/api/show", {"name": "ollama"})
        assert answer.status == 200
        assert json.loads(upstream.requests[0].body) == {"model": "ollama"}
