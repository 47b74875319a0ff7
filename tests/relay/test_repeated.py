"""An upstream that repeats what it was sent tells clients and the log nothing of it, whatever a key looks like."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.testing import Script, ScriptedUpstream, reply_bytes, reply_json, reply_sse, running_gateway
from gateway.upstream.repeated import without

KEY, SECOND, HEADER = "hunter2/is/not", "rosebud-and-sled", "tangerine"
CONFIG = """
plugins: [access_log]
providers:
  up: {{dialect: openai_chat, base_url: "{url}/v1", api_keys: ["{key}", "{second}"],
        headers: {{x-team: "{header}", user-agent: "our agent"}}}}
routes: [{{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}]
"""
SAID = f"our agent: key {KEY} of {HEADER} is not {SECOND}"
SHOWN = "our agent: key [removed] of [removed] is not [removed]"
FIRST = {"choices": [{"index": 0, "delta": {"content": "a"}, "finish_reason": None}]}
REFUSAL = {"error": {"message": SAID, "type": "invalid_request_error", "param": HEADER, "code": SECOND}}
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    "/v1/messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    "/api/chat": {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
}
ANSWERS = {
    "a refusal": (reply_json(REFUSAL, status=400), False),
    "a refusal written otherwise": (reply_json({"detail": SAID}, status=400), False),
    "a fault": (reply_json(REFUSAL, status=500), False),
    "an error under 200": (reply_json(REFUSAL), False),
    "an event before any content": (reply_sse([REFUSAL]), True),
    "an event after some": (reply_sse([FIRST, REFUSAL]), True),
}


@pytest.mark.parametrize("path", ASKED)
@pytest.mark.parametrize("case", ANSWERS)
async def test_keys_and_headers_are_taken_out_of_errors(path: str, case: str) -> None:
    answer, stream = ANSWERS[case]
    text = await said(answer, path, ASKED[path] | {"stream": stream})
    for secret in (KEY, SECOND, HEADER):
        assert secret not in text
        assert json.dumps(secret).replace("/", "\\/")[1:-1] not in text
    assert SHOWN in text


async def said(answer: Script, path: str, body: Any) -> str:
    """Return what the client is told and what the log says, together."""
    async with ScriptedUpstream(answer) as upstream:
        config = CONFIG.format(url=upstream.url, key=KEY, second=SECOND, header=HEADER)
        async with running_gateway(config) as gateway:
            told = (await gateway.post(path, body)).body.decode()
            await gateway.settled()
            return told + json.dumps(gateway.log)


async def test_a_slash_that_json_escapes_hides_no_key() -> None:
    body = json.dumps(REFUSAL).replace("/", "\\/").encode()
    refused = (await first_of(body)).decode()
    assert "hunter2" not in refused
    json.loads(refused)


async def first_of(body: bytes) -> bytes:
    """Return what the client gets of a refusal with this body."""
    async with ScriptedUpstream([reply_bytes(body, 400, [("content-type", "application/json")])]) as upstream:
        async with running_gateway(CONFIG.format(url=upstream.url, key=KEY, second=SECOND, header=HEADER)) as gateway:
            return (await gateway.post("/v1/chat/completions", ASKED["/v1/chat/completions"])).body


async def test_the_beginning_of_a_key_at_which_a_text_was_cut_goes_too() -> None:
    assert without("the key is rosebud-a…", [SECOND]) == "the key is [removed]"
    assert without("roses…", [SECOND]) == "roses…"
