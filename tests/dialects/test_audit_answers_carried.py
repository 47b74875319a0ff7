"""Thinking and calls of one answer come back upstream byte for byte when the client hands the answer back (K05, K06, K10,
K11), plain and streamed, with the packages' own accumulators in between."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import openai
import pytest

from tests.dialects.audit import (
    NO_TLS,
    PATHS,
    R_USAGE,
    Bench,
    accumulated,
    bench,
    m_block,
    m_end,
    m_reply,
    m_start,
    question,
    r_events,
    r_reply,
    sse,
)  # fmt: skip
from tests.dialects.audit_grammar import events_of

ARGUMENTS = '{"n":12345678901234567890,"f":1.0,"u":"u"}'
INPUT = json.loads(ARGUMENTS)
THINKS = {"type": "thinking", "thinking": "hm ü", "signature": "SIG=="}
REDACTED = {"type": "redacted_thinking", "data": "RED"}
CALLS = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": INPUT}
SAYS = {"type": "text", "text": "Hé"}
REASONS = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "ENC"}  # fmt: skip
FUNCTION = {"id": "fc_1", "type": "function_call", "status": "completed", "call_id": "call_1", "name": "f", "arguments": ARGUMENTS}  # fmt: skip
PLAIN = {
    "m": m_reply([THINKS, REDACTED, SAYS, CALLS], "tool_use"),
    "r": r_reply("completed", [REASONS, FUNCTION], R_USAGE),
}
STREAM = {
    "m": sse(
        m_start(),
        *m_block(0, {**THINKS, "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "hm "}, {"type": "thinking_delta", "thinking": "ü"}, {"type": "signature_delta", "signature": "SIG=="}),
        *m_block(1, REDACTED),
        *m_block(2, {**SAYS, "text": ""}, {"type": "text_delta", "text": "Hé"}),
        *m_block(3, {**CALLS, "input": {}}, {"type": "input_json_delta", "partial_json": ARGUMENTS}),
        *m_end("tool_use"),
    ),
    "r": sse(*r_events(REASONS, FUNCTION)),
}  # fmt: skip
SCHEMA = {"type": "object", "properties": {}}
TOOLS: dict[str, Any] = {
    "c": {"tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}]},
    "m": {"tools": [{"name": "f", "input_schema": SCHEMA}]},
    "r": {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": False}]},
}


async def answered(table: Bench, client: str, target: str, *, stream: bool) -> Any:
    """Return the answer as the client keeps it: a message, content blocks, or output items."""
    table.told(target, STREAM[target] if stream else PLAIN[target])
    url, body = table.gateway.url, question(client, target, stream, TOOLS[client])
    if not stream or client == "r":
        got = await table.ask(client, target, stream=stream, more=TOOLS[client])
        if client == "r":
            return (events_of(got.body)[-1][1]["response"] if stream else got.json())["output"]
        return got.json()["choices"][0]["message"] if client == "c" else got.json()["content"]
    del body["stream"]
    if client == "c":
        async with openai.AsyncOpenAI(
            base_url=url + "/v1", api_key="k", http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS)
        ) as sdk:
            message: Any = (await accumulated(sdk, body))["choices"][0]["message"]
            for call in message["tool_calls"]:
                del call["function"]["parsed_arguments"]
            return message
    async with (
        anthropic.AsyncAnthropic(
            base_url=url, api_key="k", http_client=anthropic.DefaultAsyncHttpxClient(verify=NO_TLS)
        ) as sdk2,
        sdk2.messages.stream(**body) as events,
    ):
        return [block.to_dict() for block in (await events.get_final_message()).content]


def handed_back(client: str, target: str, answer: Any) -> dict[str, Any]:
    """Return the next turn's request."""
    body = question(client, target, False, TOOLS[client])
    if client == "c":
        result = {"role": "tool", "tool_call_id": answer["tool_calls"][0]["id"], "content": "R"}
        body["messages"] += [answer, result]
    elif client == "m":
        result = {"type": "tool_result", "tool_use_id": answer[-1]["id"], "content": "R"}
        body["messages"] += [{"role": "assistant", "content": answer}, {"role": "user", "content": [result]}]
    else:
        output = {"type": "function_call_output", "call_id": answer[-1]["call_id"], "output": "R"}
        body["input"] = [{"role": "user", "content": "x"}, *answer, output]
    return body


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("client", "target"), [("c", "m"), ("r", "m"), ("c", "r"), ("m", "r")])
async def test_k11_what_was_thought_goes_back_as_it_came(client: str, target: str, stream: bool) -> None:
    async with bench() as table:
        answer = await answered(table, client, target, stream=stream)
        table.told(target, PLAIN[target])
        got = await table.gateway.post(PATHS[client], handed_back(client, target, answer))
        assert got.status == 200, got.body
        assert "x-gateway-dropped" not in got.headers
        sent = table.upstream.requests[-1].json()
        assert ARGUMENTS[:-7] in table.upstream.requests[-1].body.decode().replace("\\", "")
        if target == "m":
            assert sent["messages"][1] == {"role": "assistant", "content": [THINKS, REDACTED, SAYS, CALLS]}
            assert sent["messages"][2]["content"][0]["tool_use_id"] == "toolu_1"
        else:
            kept = {key: value for key, value in FUNCTION.items() if key not in ("id", "status")}
            assert sent["input"][1] == REASONS
            assert {key: sent["input"][2].get(key) for key in kept} == kept
            assert sent["input"][3]["call_id"] == "call_1"
