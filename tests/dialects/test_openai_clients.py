"""The official package's own accumulators on translated streams, turns that go round, and bodies that are large."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.dialects.protocol import AnswerContext, Target
from gateway.dialects.table import DIALECTS
from tests.dialects.test_openai_matrix import ANSWERS, SOURCES
from tests.wire.test_golden import NOW_S, translate, wire_of

CHAT, RESPONSES = DIALECTS["openai_chat"], DIALECTS["openai_responses"]
TARGET = Target(model="t")
CONTEXT = AnswerContext(id="x", model="m", now_s=NOW_S)
EVENTS: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


@pytest.mark.parametrize("source", SOURCES)
def test_the_responses_accumulator_follows_every_translated_stream(source: str) -> None:
    wire = translate(DIALECTS[source], RESPONSES, CONTEXT, wire_of(source, ANSWERS[source][1]))
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=omit, text_format=omit)
    seen: list[Any] = []
    for frame in wire.decode().strip().split("\n\n"):
        seen += state.handle_event(EVENTS.validate_json(frame.split("\n")[1].removeprefix("data: ")))
    final = state._completed_response
    assert final is not None and final.output_text == "Grüße, Welt 🌍"
    assert "".join(event.delta for event in seen if event.type == "response.output_text.delta") == final.output_text
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]


@pytest.mark.parametrize("target", ["anthropic", "openai_responses", "openai_chat"])
def test_thinking_comes_back_to_the_vendor_that_signed_it_and_to_no_other(target: str) -> None:
    """A chat client that echoes the message, and a Responses client that echoes the items (K06, K11)."""
    reply = DIALECTS["anthropic"].parse_reply(json.dumps(ANSWERS["anthropic"][0]).encode())
    message = json.loads(CHAT.render_reply(reply, CONTEXT))["choices"][0]["message"]
    results = [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in message["tool_calls"]]
    asked = {"role": "user", "content": "q"}
    chat = CHAT.parse_request(json.dumps({"model": "m", "messages": [asked, message, *results]}).encode())
    items = json.loads(RESPONSES.render_reply(reply, CONTEXT))["output"]
    outputs = [
        {"type": "function_call_output", "call_id": item["call_id"], "output": "ok"}
        for item in items
        if item["type"] == "function_call"
    ]
    responses = RESPONSES.parse_request(json.dumps({"model": "m", "input": [asked, *items, *outputs]}).encode())
    for request in (chat, responses):
        sent = DIALECTS[target].render_request(request, TARGET).body
        # A chat server gets its own client's message back as it was; what it makes of it is its business.
        returned = target == "anthropic" or (target == "openai_chat" and request is chat)
        assert (b'"c2ln"' in sent) is returned
        assert b"llmgw1." not in sent
        if target == "anthropic":
            turn = json.loads(sent)["messages"][1]["content"]
            assert [block["type"] for block in turn] == ["thinking", "text", "tool_use", "tool_use"]


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_openais_encrypted_reasoning_comes_back_to_responses_only(target: str) -> None:
    reply = RESPONSES.parse_reply(json.dumps(ANSWERS["openai_responses"][0]).encode())
    message = json.loads(CHAT.render_reply(reply, CONTEXT))["choices"][0]["message"]
    body = {"model": "m", "messages": [{"role": "user", "content": "q"}, message]}
    sent = DIALECTS[target].render_request(CHAT.parse_request(json.dumps(body).encode()), TARGET)
    if target == "openai_responses":
        item = json.loads(sent.body)["input"][1]
        assert item["type"] == "reasoning" and item["id"] == "rs_1" and item["encrypted_content"] == "ENC"


def test_arguments_and_schemas_keep_every_byte_of_their_values() -> None:
    """G11: big integers, 1.0, unicode and key order are what they were, through the other OpenAI dialect too."""
    schema = '{"type":"object","properties":{"z":{"const":12345678901234567890123},"a":{"default":1.0}}}'
    arguments = '{"z":12345678901234567890123,"a":1.0,"é":"\\u00e9"}'
    body = (
        '{"model":"m","messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"c","type":'
        f'"function","function":{{"name":"f","arguments":{json.dumps(arguments)}}}}}]}}],'
        f'"tools":[{{"type":"function","function":{{"name":"f","parameters":{schema}}}}}]}}'
    ).encode()
    for target in (CHAT, RESPONSES):
        sent = target.render_request(CHAT.parse_request(body), TARGET).body
        assert schema.encode() in sent
        found = json.loads(sent)
        call = found["messages"][1]["tool_calls"][0]["function"] if target is CHAT else found["input"][1]
        assert call["arguments"] == arguments


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses"])
def test_time_grows_with_size_and_no_faster(target: str) -> None:
    """G18, T22: ten times the images and tools take about ten times as long. Compared with itself, not with a clock."""

    def seconds(size: int) -> float:
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * (100_000 * size)}}
        schema = {"type": "object", "properties": {f"p{number}": {"type": "string"} for number in range(50 * size)}}
        tools = [{"type": "function", "function": {"name": f"f{number}", "parameters": schema}} for number in range(20)]
        messages = [{"role": "user", "content": [image, {"type": "text", "text": "x"}]} for _ in range(3)]
        body = json.dumps({"model": "m", "messages": messages, "tools": tools}).encode()
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            DIALECTS[target].render_request(CHAT.parse_request(body), TARGET)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(20) < 60 * max(seconds(2), 0.001)


def test_a_usage_chunk_that_only_counts_is_recognised() -> None:
    """P14: it can be taken out again when the client did not ask for it."""
    scanner = CHAT.scanner()
    seen = []
    for event in wire_of("openai_chat", ANSWERS["openai_chat"][1]):
        scanner.see(event)
        seen.append(getattr(scanner, "usage_only"))  # noqa: B009 - the protocol of all dialects does not have it
    assert seen.count(True) == 1 and seen[-2]
