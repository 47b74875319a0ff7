"""Every dialect's answer as Anthropic's and Ollama's clients get it, and histories that cross dialects and come back.

The anthropic package accumulates each stream to what the plain translation says (section 15, properties 2 to 7).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message, RawMessageStreamEvent
from ollama import ChatResponse
from pydantic import TypeAdapter

from gateway.dialects.protocol import AnswerContext, Target
from gateway.dialects.table import DIALECTS
from tests.dialects.test_openai_matrix import ANSWERS, SOURCES
from tests.wire.grammar import CHECKS
from tests.wire.test_golden import NOW_S, splits, translate, wire_of

ANY_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
CONTEXT = AnswerContext(id="x1", model="m", now_s=NOW_S)
CALLS = [("weather", {"city": "Bern"}), ("time", {})]
CLIENTS = ["anthropic", "ollama"]


def streamed(source: str, target: str) -> list[dict[str, Any]]:
    given = splits(wire_of(source, ANSWERS[source][1]))
    outputs = {translate(DIALECTS[source], DIALECTS[target], CONTEXT, pieces) for pieces in given}
    assert len(outputs) == 1, "the output depends on where the stream was cut"
    found: list[dict[str, Any]] = CHECKS[target](outputs.pop())
    return found


def plain(source: str, target: str) -> dict[str, Any]:
    reply = DIALECTS[source].parse_reply(json.dumps(ANSWERS[source][0]).encode())
    answer: dict[str, Any] = json.loads(DIALECTS[target].render_reply(reply, CONTEXT))
    return answer


@pytest.mark.parametrize("source", SOURCES)
def test_a_messages_client_gets_the_whole_answer(source: str) -> None:
    wire = plain(source, "anthropic")
    message = Message.model_validate(wire)
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use", "tool_use"]
    assert wire["content"][0]["thinking"] == "Let me think." and wire["content"][1]["text"] == "Grüße, Welt 🌍"
    assert [(block["name"], block["input"]) for block in wire["content"][2:]] == CALLS
    usage = message.usage
    prompt = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    assert (message.stop_reason, prompt, usage.output_tokens) == ("tool_use", 20, 9)


@pytest.mark.parametrize("source", SOURCES)
def test_the_anthropic_package_accumulates_the_stream_to_the_plain_answer(source: str) -> None:
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for event in streamed(source, "anthropic"):
        typed = ANY_EVENT.validate_python(event)
        snapshot = accumulate_event(event=typed, current_snapshot=snapshot, json_bufs=buffers)
    found = json.loads(snapshot.to_json())
    wanted = plain(source, "anthropic")
    for key in ("id", "model", "role", "content", "stop_reason", "stop_sequence", "usage"):
        assert found[key] == wanted[key], key


@pytest.mark.parametrize("source", SOURCES)
def test_an_ollama_client_gets_the_whole_answer_streamed_and_plain(source: str) -> None:
    whole = plain(source, "ollama")
    lines = streamed(source, "ollama")
    answer = ChatResponse.model_validate(whole)
    assert (answer.message.thinking, answer.message.content) == ("Let me think.", "Grüße, Welt 🌍")
    calls = answer.message.tool_calls or []
    assert [(call.function.name, call.function.arguments) for call in calls] == CALLS
    assert (answer.done_reason, answer.prompt_eval_count, answer.eval_count) == ("stop", 20, 9)
    assert "".join(line["message"].get("thinking", "") for line in lines) == "Let me think."
    assert "".join(line["message"]["content"] for line in lines) == "Grüße, Welt 🌍"
    assert [call for line in lines for call in line["message"].get("tool_calls", ())] == whole["message"]["tool_calls"]
    for key in ("done_reason", "prompt_eval_count", "eval_count"):
        assert lines[-1][key] == whole[key]


@pytest.mark.parametrize("target", CLIENTS)
@pytest.mark.parametrize("source", SOURCES)
def test_a_stream_cut_anywhere_before_its_finish_never_ends_well(source: str, target: str) -> None:
    whole = b"".join(wire_of(source, ANSWERS[source][1]))
    before = whole.index({"anthropic": b"event: message_delta", "openai_responses": b"event: response.completed"}.get(
        source, b'"done": true' if source == "ollama" else b'"finish_reason": "tool_calls"'
    ))  # fmt: skip
    if source == "ollama":
        before = whole.rindex(b"\n", 0, before)
    for cut in range(0, before, 29):
        events = CHECKS[target](translate(DIALECTS[source], DIALECTS[target], CONTEXT, [whole[:cut]]))
        assert "error" in events[-1] or events[-1].get("type") == "error", cut


# --- a conversation with tools, from each client to each target and back ---------------------------

LOOP = {
    "model": "m",
    "max_tokens": 4000,
    "system": "You are a tool.",
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "What is in the picture?"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "toolu_1", "name": "Read", "input": {"file": "a.png", "n": 1.0}},
                {"type": "tool_use", "id": "toolu_2", "name": "Bash", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_1",
                    "content": [
                        {"type": "text", "text": "read"},
                        {
                            "type": "image",
                            "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="},
                        },
                    ],
                },
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": "no such file", "is_error": True},
                {"type": "text", "text": "go on"},
            ],
        },
    ],
    "tools": [
        {"name": "Read", "description": "Reads.", "input_schema": {"type": "object", "properties": {"file": {}}}},
        {"name": "Bash", "input_schema": {"type": "object"}},
    ],
}


def render(dialect: str, body: dict[str, Any], target: str) -> dict[str, Any]:
    chat = DIALECTS[dialect].parse_request(json.dumps(body).encode())
    wire: dict[str, Any] = json.loads(DIALECTS[target].render_request(chat, Target(model="m")).body)
    return wire


@pytest.mark.parametrize("through", ["openai_chat", "openai_responses", "ollama"])
def test_a_tool_loop_that_went_through_another_dialect_is_still_whole(through: str) -> None:
    back = render(through, render("anthropic", LOOP, through), "anthropic")
    blocks = [
        block
        for message in back["messages"]
        for block in (
            message["content"]
            if isinstance(message["content"], list)
            else [{"type": "text", "text": message["content"]}]
        )
    ]
    calls = [block for block in blocks if block["type"] == "tool_use"]
    assert [(call["name"], call["input"]) for call in calls] == [("Read", {"file": "a.png", "n": 1.0}), ("Bash", {})]
    results = [block for block in blocks if block["type"] == "tool_result"]
    assert [result["tool_use_id"] for result in results] == [call["id"] for call in calls]
    assert "[tool error] no such file" in json.dumps(results[1])
    assert "iVBORw0KGgo=" in json.dumps(blocks) and any(block.get("text") == "go on" for block in blocks)
    assert [tool["name"] for tool in back["tools"]] == ["Read", "Bash"]
    assert back["system"] == [{"type": "text", "text": "You are a tool."}]
    at = next(number for number, message in enumerate(back["messages"]) if message["role"] == "assistant")
    kinds = [block["type"] for block in back["messages"][at + 1]["content"]]
    assert kinds[:2] == ["tool_result", "tool_result"], "results come first, in the very next message"


@pytest.mark.parametrize("through", ["openai_chat", "openai_responses", "ollama"])
def test_going_through_again_and_again_converges(through: str) -> None:
    """Ollama has one place for a message's images, after its text: the first return moves them, no later one does."""
    rounds: list[dict[str, Any]] = [LOOP]
    for _ in range(3):
        rounds.append(render(through, render("anthropic", rounds[-1], through), "anthropic"))
    assert rounds[3] == rounds[2] and len(json.dumps(rounds[2])) == len(json.dumps(rounds[3]))
    assert len(rounds[2]["messages"]) <= len(rounds[1]["messages"])


@pytest.mark.parametrize("target", ["openai_chat", "openai_responses", "anthropic", "ollama", "ollama_generate"])
@pytest.mark.parametrize("source", ["anthropic", "ollama", "ollama_generate"])
def test_every_client_reaches_every_target(source: str, target: str) -> None:
    asked: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "the question"}], "stream": True}
    if source == "ollama_generate":
        asked = {"model": "m", "prompt": "the question"}
    wire = render(source, asked, target)
    assert "the question" in json.dumps(wire) and wire["model"] == "m" and wire["stream"] is True
