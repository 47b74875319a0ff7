"""What providers tie to their calls: thinking with its signature, sealed reasoning, results that are errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from gateway.testing import (
    Answer,
    ReceivedRequest,
    RunningGateway,
    ScriptedUpstream,
    reply_json,
    reply_sse,
    running_gateway,
)  # fmt: skip

ADD = "def add(a: int) -> int:\n    return a + 1\n"
CONFIG = """
plugins: [{{tools: {{tools: [{{python: "tools.py:add"}}]}}}}]
providers: {{up: {{dialect: {dialect}, base_url: "{url}", api_key: k, free: true}}}}
routes: [{{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}]
"""
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig=="}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": "x"}}


@asynccontextmanager
async def running(dialect: str, script: Any, path: str = "") -> AsyncIterator[tuple[RunningGateway, ScriptedUpstream]]:
    async with ScriptedUpstream(script) as upstream:
        config = CONFIG.format(dialect=dialect, url=upstream.url + path)
        async with running_gateway(config, files={"tools.py": ADD}) as gateway:
            yield gateway, upstream


def message(request: ReceivedRequest, content: list[dict[str, Any]], stop: str) -> Answer:
    """Return an answer as Anthropic has it, plain or streamed."""
    head: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_sequence": None,
    }
    usage = {"input_tokens": 10, "output_tokens": 2}
    if not request.json().get("stream"):
        return reply_json({**head, "content": content, "stop_reason": stop, "usage": usage})
    events: list[Any] = [("message_start", {"message": {**head, "stop_reason": None, "usage": usage}})]
    for index, block in enumerate(content):
        empty: dict[str, Any] = {"thinking": {"thinking": "", "signature": ""}, "text": {"text": ""}}.get(
            block["type"], {"input": {}}
        )
        said: dict[str, list[Any]] = {
            "thinking": [
                {"type": "thinking_delta", "thinking": block.get("thinking")},
                {"type": "signature_delta", "signature": block.get("signature")},
            ],
            "text": [{"type": "text_delta", "text": block.get("text")}],
            "tool_use": [{"type": "input_json_delta", "partial_json": json.dumps(block.get("input"))}],
        }
        deltas = said[block["type"]]
        events.append(("content_block_start", {"index": index, "content_block": {**block, **empty}}))
        events += [("content_block_delta", {"index": index, "delta": delta}) for delta in deltas]
        events.append(("content_block_stop", {"index": index}))
    events.append(("message_delta", {"delta": {"stop_reason": stop, "stop_sequence": None}, "usage": usage}))
    events.append(("message_stop", {}))
    return reply_sse([(name, {"type": name, **event}) for name, event in events])


@pytest.mark.parametrize("stream", [False, True])
async def test_signed_thinking_goes_back_with_its_call_and_on_to_the_client(stream: bool) -> None:
    asked = 0

    def script(request: ReceivedRequest) -> Answer:
        nonlocal asked
        asked += 1
        if asked == 1:
            return message(request, [THOUGHT, {"type": "text", "text": "So."}, CALL], "tool_use")
        return message(request, [{**THOUGHT, "signature": "sig2"}, {"type": "text", "text": "No."}], "end_turn")

    question: Any = {"model": "m", "max_tokens": 2000, "messages": [{"role": "user", "content": "q"}]}
    question["thinking"] = {"type": "enabled", "budget_tokens": 1024}
    async with running("anthropic", script) as (gateway, upstream):
        async with AsyncAnthropic(base_url=gateway.url, api_key="k", max_retries=0) as client:
            if stream:
                async with client.messages.stream(**question) as events:
                    answer = await events.get_final_message()
            else:
                answer = await client.messages.create(**question)
        told = upstream.requests[1].json()["messages"]
        assert [block["type"] for block in told[1]["content"]] == ["thinking", "text", "tool_use"]
        assert told[1]["content"][0] == THOUGHT
        [result] = told[2]["content"]
        assert (result["type"], result["tool_use_id"], result["is_error"]) == ("tool_result", "toolu_1", True)
        kinds = [(block.type, getattr(block, "signature", None)) for block in answer.content]
        assert kinds == [("thinking", "sig=="), ("text", None), ("thinking", "sig2"), ("text", None)]
        assert answer.stop_reason == "end_turn"
        assert answer.usage.output_tokens == 4
        assert [tool["name"] for tool in upstream.requests[1].json()["tools"]] == ["add"]


REASONED = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "sealed"}
CALLED = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "add", "arguments": '{"a": 1}'}
SAID = {
    "type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
    "content": [{"type": "output_text", "text": "two", "annotations": []}],
}  # fmt: skip


def response(request: ReceivedRequest, number: int, output: list[dict[str, Any]]) -> Answer:
    """Return an answer as OpenAI's Responses has it, plain or streamed."""
    usage = {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}
    whole = {
        "id": f"resp_{number}", "object": "response", "created_at": 1, "model": "m", "status": "completed",
        "output": output, "usage": usage,
    }  # fmt: skip
    if not request.json().get("stream"):
        return reply_json(whole)
    events: list[dict[str, Any]] = [
        {"type": "response.created", "response": {**whole, "status": "in_progress", "output": []}}
    ]
    for index, item in enumerate(output):
        events.append({"type": "response.output_item.added", "output_index": index, "item": item})
        if item["type"] == "message":
            text = {"item_id": item["id"], "output_index": index, "content_index": 0, "delta": "two"}
            events.append({"type": "response.output_text.delta", **text})
        if item["type"] == "function_call":
            arguments = {"item_id": item["id"], "output_index": index, "delta": item["arguments"]}
            events.append({"type": "response.function_call_arguments.delta", **arguments})
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": whole})
    return reply_sse([(event["type"], {"sequence_number": at, **event}) for at, event in enumerate(events)])


@pytest.mark.parametrize("stream", [False, True])
async def test_sealed_reasoning_goes_back_with_its_call_and_not_to_the_client(stream: bool) -> None:
    asked = 0

    def script(request: ReceivedRequest) -> Answer:
        nonlocal asked
        asked += 1
        return response(request, asked, [REASONED, CALLED] if asked == 1 else [SAID])

    async with running("openai", script, "/v1") as (gateway, upstream):
        async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key="k", max_retries=0) as client:
            if stream:
                events = await client.responses.create(model="m", input="q", stream=True)
                [final] = [event.response async for event in events if event.type == "response.completed"]
            else:
                final = await client.responses.create(model="m", input="q", store=False)
        told = upstream.requests[1].json()["input"]
        assert [item.get("type", "message") for item in told] == [
            "message", "reasoning", "function_call", "function_call_output"
        ]  # fmt: skip
        assert told[1]["encrypted_content"] == "sealed"
        assert (told[2]["call_id"], told[3]["call_id"], told[3]["output"]) == ("call_1", "call_1", "2")
        assert final.output_text == "two"
        assert "sealed" not in final.model_dump_json()
        assert "function_call" not in {item.type for item in final.output}
        assert final.usage is not None
        assert final.usage.output_tokens == 4
        # A plain answer is the last round's own; a stream began before anybody knew which round was the last.
        assert final.id.startswith("resp_")
        assert (final.id == "resp_2") is not stream


async def test_a_request_whose_history_lies_with_the_provider_goes_on_untouched() -> None:
    async with running("openai", lambda request: response(request, 1, [SAID]), "/v1") as (gateway, upstream):
        body = {"model": "m", "input": "q", "previous_response_id": "resp_0"}
        assert (await gateway.post("/v1/responses", body)).status == 200
        assert upstream.requests[0].json() == body
