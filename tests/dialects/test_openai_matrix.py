"""What the official package makes of what the two OpenAI dialects write, whichever dialect the answer came from.

Each answer of the four dialects, plain and streamed, goes to chat and Responses clients; the package's own types parse
every object, and its accumulation of the stream equals the plain translation (section 15, properties 3 to 6).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from gateway.dialects.protocol import AnswerContext
from gateway.dialects.table import DIALECTS
from tests.wire.grammar import CHECKS
from tests.wire.test_golden import NOW_S, splits, translate, wire_of

USAGE = {"prompt_tokens": 20, "completion_tokens": 9, "total_tokens": 29}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    head = {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1700000000, "model": "up"}
    return {**head, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def _call(index: int, **function: str) -> dict[str, Any]:
    call: dict[str, Any] = {"index": index, "function": function}
    if "name" in function:
        call |= {"id": f"call_{index}", "type": "function"}
    return {"tool_calls": [call]}


CHAT_STREAM = [
    _chunk({"role": "assistant", "content": ""}),
    _chunk({"reasoning_content": "Let me "}),
    _chunk({"reasoning_content": "think."}),
    _chunk({"content": "Grüße, "}),
    _chunk({"content": "Welt 🌍"}),
    _chunk(_call(0, name="weather", arguments="")),
    _chunk(_call(0, arguments='{"city":')),
    _chunk(_call(1, name="time", arguments="{}")),
    _chunk(_call(0, arguments='"Bern"}')),
    _chunk({}, "tool_calls"),
    {"id": "chatcmpl-9", "object": "chat.completion.chunk", "created": 1, "model": "up", "choices": [], "usage": USAGE},
    "[DONE]",
]
CHAT_PLAIN = {
    "id": "chatcmpl-9",
    "object": "chat.completion",
    "created": 1700000000,
    "model": "up",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "content": "Grüße, Welt 🌍",
                "reasoning_content": "Let me think.",
                "tool_calls": [
                    {
                        "id": "call_0",
                        "type": "function",
                        "function": {"name": "weather", "arguments": '{"city":"Bern"}'},
                    },
                    {"id": "call_1", "type": "function", "function": {"name": "time", "arguments": "{}"}},
                ],
            },
        }
    ],
    "usage": USAGE,
}
MESSAGE = {"id": "msg_9", "type": "message", "role": "assistant", "model": "up", "content": []}
ANTHROPIC_USAGE = {
    "input_tokens": 15,
    "output_tokens": 9,
    "cache_read_input_tokens": 5,
    "cache_creation_input_tokens": 0,
}


def _delta(index: int, kind: str, **fields: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, **fields}}


def _block(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def _block_stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


ANTHROPIC_STREAM = [
    {"type": "message_start", "message": {**MESSAGE, "stop_reason": None, "usage": ANTHROPIC_USAGE}},
    {"type": "ping"},
    _block(0, type="thinking", thinking="", signature=""),
    _delta(0, "thinking_delta", thinking="Let me think."),
    _delta(0, "signature_delta", signature="c2ln"),
    _block_stop(0),
    _block(1, type="text", text=""),
    _delta(1, "text_delta", text="Grüße, "),
    _delta(1, "text_delta", text="Welt 🌍"),
    _block_stop(1),
    _block(2, type="tool_use", id="toolu_0", name="weather", input={}),
    _delta(2, "input_json_delta", partial_json='{"city":'),
    _delta(2, "input_json_delta", partial_json='"Bern"}'),
    _block_stop(2),
    _block(3, type="tool_use", id="toolu_1", name="time", input={}),
    _block_stop(3),
    {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": ANTHROPIC_USAGE},
    {"type": "message_stop"},
]
ANTHROPIC_PLAIN = {
    **MESSAGE,
    "content": [
        {"type": "thinking", "thinking": "Let me think.", "signature": "c2ln"},
        {"type": "text", "text": "Grüße, Welt 🌍"},
        {"type": "tool_use", "id": "toolu_0", "name": "weather", "input": {"city": "Bern"}},
        {"type": "tool_use", "id": "toolu_1", "name": "time", "input": {}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": ANTHROPIC_USAGE,
}
OLLAMA_HEAD = {"model": "up", "created_at": "2026-01-01T00:00:00Z"}
OLLAMA_CALLS = [
    {"function": {"name": "weather", "arguments": {"city": "Bern"}}},
    {"function": {"name": "time", "arguments": {}}},
]
OLLAMA_END = {"done": True, "done_reason": "stop", "prompt_eval_count": 20, "eval_count": 9}
OLLAMA_STREAM = [
    {**OLLAMA_HEAD, "message": {"role": "assistant", "content": "", "thinking": "Let me "}, "done": False},
    {**OLLAMA_HEAD, "message": {"role": "assistant", "content": "", "thinking": "think."}, "done": False},
    {**OLLAMA_HEAD, "message": {"role": "assistant", "content": "Grüße, Welt 🌍"}, "done": False},
    {**OLLAMA_HEAD, "message": {"role": "assistant", "content": "", "tool_calls": OLLAMA_CALLS}, "done": False},
    {**OLLAMA_HEAD, "message": {"role": "assistant", "content": ""}, **OLLAMA_END},
]
OLLAMA_PLAIN = {
    **OLLAMA_HEAD,
    "message": {
        "role": "assistant",
        "content": "Grüße, Welt 🌍",
        "thinking": "Let me think.",
        "tool_calls": OLLAMA_CALLS,
    },
    **OLLAMA_END,
}
RESPONSES_OUTPUT = [
    {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Let me think."}],
        "encrypted_content": "ENC",
    },
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Grüße, Welt 🌍", "annotations": []}],
    },
    {
        "id": "fc_1",
        "type": "function_call",
        "call_id": "call_0",
        "name": "weather",
        "arguments": '{"city":"Bern"}',
        "status": "completed",
    },
    {
        "id": "fc_2",
        "type": "function_call",
        "call_id": "call_1",
        "name": "time",
        "arguments": "{}",
        "status": "completed",
    },
]
RESPONSES_PLAIN = {
    "id": "resp_9",
    "object": "response",
    "created_at": 1700000000,
    "model": "up",
    "status": "completed",
    "output": RESPONSES_OUTPUT,
    "usage": {"input_tokens": 20, "output_tokens": 9, "total_tokens": 29},
}


def _responses_stream() -> list[dict[str, Any]]:
    head = {**RESPONSES_PLAIN, "status": "in_progress", "output": []}
    out: list[dict[str, Any]] = [{"type": "response.created", "response": head}]
    for index, item in enumerate(RESPONSES_OUTPUT):
        place = {"output_index": index, "item_id": item["id"]}
        added = {key: value for key, value in item.items() if key in ("id", "type", "role", "call_id", "name")}
        out.append({"type": "response.output_item.added", "output_index": index, "item": added})
        match item["type"]:
            case "reasoning":
                text = {"type": "response.reasoning_summary_text.delta", **place, "summary_index": 0}
                out += [{**text, "delta": "Let me "}, {**text, "delta": "think."}]
            case "message":
                text = {"type": "response.output_text.delta", **place, "content_index": 0}
                out += [{**text, "delta": "Grüße, "}, {**text, "delta": "Welt 🌍"}]
            case _ if item["name"] == "weather":
                out.append({"type": "response.function_call_arguments.delta", **place, "delta": item["arguments"]})
        out.append({"type": "response.output_item.done", "output_index": index, "item": item})
    return [*out, {"type": "response.completed", "response": RESPONSES_PLAIN}]


ANSWERS: dict[str, tuple[dict[str, Any], list[Any]]] = {
    "openai_chat": (CHAT_PLAIN, CHAT_STREAM),
    "openai_responses": (RESPONSES_PLAIN, _responses_stream()),
    "anthropic": (ANTHROPIC_PLAIN, ANTHROPIC_STREAM),
    "ollama": (OLLAMA_PLAIN, OLLAMA_STREAM),
}
SOURCES = list(ANSWERS)
FINISH = {
    "openai_chat": b'"finish_reason": "tool_calls"',
    "openai_responses": b"event: response.completed",
    "anthropic": b"event: message_delta",
    "ollama": b'"done": true',
}


def _context(dialect: str) -> AnswerContext:
    asked: dict[str, Any] = {"model": "m", "stream": True}
    if dialect == "openai_chat":
        asked |= {"messages": [{"role": "user", "content": "hi"}], "stream_options": {"include_usage": True}}
    else:
        asked |= {
            "input": "hi",
            "instructions": "Be brief.",
            "text": {"verbosity": "low"},
            "reasoning": {"effort": "low"},
        }
        asked["tools"] = [{"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}}]
    request = DIALECTS[dialect].parse_request(json.dumps(asked).encode())
    return AnswerContext(id="x1", model="m", now_s=NOW_S, request=request)


def _streams(source: str, target: str) -> bytes:
    given = splits(wire_of(source, ANSWERS[source][1]))
    outputs = {translate(DIALECTS[source], DIALECTS[target], _context(target), pieces) for pieces in given}
    assert len(outputs) == 1, "the output depends on where the stream was cut"
    return outputs.pop()


def _plain(source: str, target: str) -> dict[str, Any]:
    reply = DIALECTS[source].parse_reply(json.dumps(ANSWERS[source][0]).encode())
    answer: dict[str, Any] = json.loads(DIALECTS[target].render_reply(reply, _context(target)))
    return answer


@pytest.mark.parametrize("source", SOURCES)
def test_a_chat_client_gets_the_whole_answer(source: str) -> None:
    answer = ChatCompletion.model_validate(_plain(source, "openai_chat"))
    message = answer.choices[0].message
    assert message.content == "Grüße, Welt 🌍"
    assert message.model_extra and message.model_extra["reasoning_content"] == "Let me think."
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = [(call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()]
    assert calls == [("weather", {"city": "Bern"}), ("time", {})]
    assert answer.usage is not None and (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (20, 9)


@pytest.mark.parametrize("source", SOURCES)
def test_a_chat_stream_adds_up_to_the_plain_answer(source: str) -> None:
    chunks = CHECKS["openai_chat"](_streams(source, "openai_chat"))
    state = ChatCompletionStreamState()
    for chunk in chunks:
        state.handle_chunk(ChatCompletionChunk.model_validate(chunk))
    summed = state.get_final_completion().to_dict()
    plain = _plain(source, "openai_chat")
    plain["id"] = summed["id"]
    assert _without_indices(summed["choices"]) == _without_indices(plain["choices"])
    assert summed["usage"] == plain["usage"]


def _without_indices(choices: Any) -> Any:
    """The accumulator keeps the stream's `index` and `type` members and puts in `parsed`."""
    message = {key: value for key, value in choices[0]["message"].items() if value is not None and key != "parsed"}
    for name in ("tool_calls", "thinking_blocks"):
        for part in message.get(name, ()):
            part.pop("index", None)
            part.get("function", {}).pop("parsed_arguments", None)
    return message, choices[0]["finish_reason"]


@pytest.mark.parametrize("source", SOURCES)
def test_a_responses_client_gets_the_whole_answer(source: str) -> None:
    answer = Response.model_validate(_plain(source, "openai_responses"))
    assert answer.status == "completed" and answer.output_text == "Grüße, Welt 🌍"
    assert [item.type for item in answer.output] == ["reasoning", "message", "function_call", "function_call"]
    assert len({item.id for item in answer.output}) == 4
    assert answer.usage is not None and (answer.usage.input_tokens, answer.usage.output_tokens) == (20, 9)
    assert answer.instructions == "Be brief." and answer.tools[0].name == "weather"  # type: ignore[union-attr]
    assert answer.text is not None and answer.text.verbosity == "low"


@pytest.mark.parametrize("source", SOURCES)
def test_a_responses_stream_adds_up_to_the_plain_answer(source: str) -> None:
    events = CHECKS["openai_responses"](_streams(source, "openai_responses"))
    adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for event in events:
        adapter.validate_python(event)
    last = events[-1]["response"]
    plain = _plain(source, "openai_responses")
    assert last["output"] == plain["output"]
    assert {**last, "id": ""} == {**plain, "id": ""}


@pytest.mark.parametrize("target", SOURCES)
@pytest.mark.parametrize("source", SOURCES)
def test_every_pair_of_dialects_holds_the_target_grammar(source: str, target: str) -> None:
    given = splits(wire_of(source, ANSWERS[source][1]))
    context = AnswerContext(id="x1", model="m", now_s=NOW_S)
    outputs = {translate(DIALECTS[source], DIALECTS[target], context, pieces) for pieces in given}
    assert len(outputs) == 1
    CHECKS[target](outputs.pop())


@pytest.mark.parametrize("target", SOURCES)
@pytest.mark.parametrize("source", SOURCES)
def test_a_stream_cut_anywhere_is_never_ended_as_a_success(source: str, target: str) -> None:
    whole = b"".join(wire_of(source, ANSWERS[source][1]))
    finish = whole.rindex(FINISH[source])
    context = AnswerContext(id="x1", model="m", now_s=NOW_S)
    for cut in range(0, finish, 97):
        out = translate(DIALECTS[source], DIALECTS[target], context, [whole[:cut]])
        events = CHECKS[target](out)
        assert "error" in json.dumps(events[-1]), f"cut at {cut}"
