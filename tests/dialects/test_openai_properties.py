"""Properties of the OpenAI dialects (translation.md, section 15), found by hypothesis."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.dialects.protocol import AnswerContext, Target
from gateway.dialects.table import DIALECTS
from gateway.errors import BadRequest, UpstreamError
from tests.wire.grammar import CHECKS
from tests.wire.test_golden import NOW_S, translate

CHAT, RESPONSES = DIALECTS["openai_chat"], DIALECTS["openai_responses"]
TARGET = Target(model="t")
CONTEXT = AnswerContext(id="x", model="m", now_s=NOW_S)
quick = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.sampled_from(
    (
        *("type", "role", "content", "text", "name", "function", "arguments", "id", "call_id", "tool_calls", "user"),
        *("assistant", "system", "tool", "message", "function_call", "function_call_output", "reasoning", "summary"),
        *("input_text", "output_text", "image_url", "url", "file", "custom", "json_schema", "schema", "auto", "format"),
        *("choices", "delta", "finish_reason", "usage", "error", "index", "response", "output", "item", "output_index"),
        *("thinking_blocks", "thinking", "signature", "encrypted_content", "", "\ud83d", "data:x;base64,AA=="),
    )
)
odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | words
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=5),
    max_leaves=12,
)
CHAT_FIELDS = (
    *("messages", "tools", "functions", "tool_choice", "function_call", "response_format", "stop", "temperature"),
    *("max_tokens", "stream", "stream_options", "reasoning_effort", "metadata", "n", "user", "safety_identifier"),
)
RESPONSES_FIELDS = (
    *("input", "instructions", "tools", "tool_choice", "text", "reasoning", "include", "metadata", "store", "user"),
    *("max_output_tokens", "parallel_tool_calls", "stream", "prompt", "conversation"),
)


def _body(value: object) -> bytes:
    return json.dumps(value).encode()


@quick
@given(name=st.sampled_from(CHAT_FIELDS), value=odd)
def test_any_json_in_any_chat_field_is_carried_or_refused(name: str, value: Any) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], name: value}
    _carried_or_refused("openai_chat", body)


@quick
@given(message=st.dictionaries(words, odd, max_size=6), role=st.sampled_from(["user", "assistant", "tool", "system"]))
def test_any_chat_message_is_carried_or_refused(message: dict[str, Any], role: str) -> None:
    _carried_or_refused("openai_chat", {"model": "m", "messages": [{**message, "role": role}]})


@quick
@given(name=st.sampled_from(RESPONSES_FIELDS), value=odd)
def test_any_json_in_any_responses_field_is_carried_or_refused(name: str, value: Any) -> None:
    _carried_or_refused("openai_responses", {"model": "m", "input": "hi", name: value})


@quick
@given(item=st.dictionaries(words, odd, max_size=6), kind=words)
def test_any_responses_item_is_carried_or_refused(item: dict[str, Any], kind: str) -> None:
    _carried_or_refused("openai_responses", {"model": "m", "input": [{**item, "type": kind}]})


def _carried_or_refused(source: str, body: dict[str, Any]) -> None:
    for target in DIALECTS.values():
        try:
            json.loads(target.render_request(DIALECTS[source].parse_request(_body(body)), TARGET).body)
        except BadRequest as refusal:
            assert refusal.status == 400 and refusal.message


@quick
@given(answer=odd, name=st.sampled_from(["choices", "output", "usage", "error", "status"]))
@pytest.mark.parametrize("dialect", [CHAT, RESPONSES], ids=["chat", "responses"])
def test_any_answer_is_read_or_told_to_be_bad(dialect: Any, answer: Any, name: str) -> None:
    message = {"role": "assistant", "content": answer, "tool_calls": answer, "refusal": answer, "reasoning": answer}
    bodies = [
        answer,
        {name: answer},
        {"choices": [{"message": message, "finish_reason": answer}], "usage": answer},
        {"output": [{"type": "message", "content": answer}, {"type": "reasoning", "summary": answer}], name: answer},
    ]
    for body in bodies:
        for read in (dialect.parse_reply, dialect.usage):
            try:
                found = read(_body(body))
            except UpstreamError as error:
                assert error.status >= 400 and error.message
            else:
                if read == dialect.parse_reply:
                    json.loads(dialect.render_reply(found, CONTEXT))


@quick
@given(events=st.lists(st.tuples(words, odd), max_size=4), finish=st.booleans())
def test_any_chat_stream_is_translated_or_fails_in_the_grammar(events: list[Any], finish: bool) -> None:
    chunks = []
    for number, (name, value) in enumerate(events):
        delta = {name: value, "content": value} if number % 2 else {"tool_calls": value, "reasoning_content": value}
        chunks.append(
            {"id": "i", "created": 1, "model": "m", "choices": [{"index": 0, "delta": delta}], "usage": value}
        )
        chunks.append({"choices": [{"index": 0, "delta": {"tool_calls": [{"index": 0, "function": {name: value}}]}}]})
    wire = b"".join(b"data: " + _body(chunk) + b"\n\n" for chunk in chunks) + (b"data: [DONE]\n\n" if finish else b"")
    _in_every_grammar("openai_chat", wire)


KINDS = st.sampled_from(
    (
        *("response.created", "response.output_item.added", "response.output_item.done", "response.output_text.delta"),
        *("response.function_call_arguments.delta", "response.function_call_arguments.done", "response.unknown"),
        *("response.reasoning_summary_text.delta", "response.refusal.delta", "response.completed", "error"),
    )
)
ITEM_KINDS = st.sampled_from(["message", "function_call", "reasoning", "custom_tool_call", "web_search_call"])


@quick
@given(events=st.lists(st.tuples(KINDS, ITEM_KINDS, odd, st.integers(0, 2)), max_size=6))
def test_any_responses_stream_is_translated_or_fails_in_the_grammar(events: list[Any]) -> None:
    wire = b""
    for kind, item, value, index in events:
        fields = {"type": item, "name": value, "call_id": value, "arguments": value, "content": value, "summary": value}
        event = {
            "type": kind,
            "delta": value,
            "output_index": index,
            "item": fields,
            "response": value,
            "arguments": value,
        }
        wire += b"event: " + kind.encode() + b"\ndata: " + _body(event) + b"\n\n"
    _in_every_grammar("openai_responses", wire)


def _in_every_grammar(source: str, wire: bytes) -> None:
    scanner = DIALECTS[source].scanner()
    for event in DIALECTS[source].framer().feed(wire):
        scanner.see(event)
    for name in ("openai_chat", "openai_responses"):
        whole = translate(DIALECTS[source], DIALECTS[name], CONTEXT, [wire])
        bytewise = translate(DIALECTS[source], DIALECTS[name], CONTEXT, [wire[at : at + 1] for at in range(len(wire))])
        assert whole == bytewise
        CHECKS[name](whole)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
calls = st.lists(
    st.tuples(st.sampled_from(["f", "g"]), st.dictionaries(st.text("ab", min_size=1), st.integers())), max_size=3
)


@quick
@given(turns=st.lists(st.tuples(texts, texts | st.none(), calls), min_size=1, max_size=3), system=texts | st.none())
@pytest.mark.parametrize("through", ["openai_responses", "anthropic"])
def test_chat_through_another_dialect_and_back_is_the_same(through: str, turns: list[Any], system: str | None) -> None:
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system and system.strip() else []
    number = 0
    for asked, said, called in turns:
        messages.append({"role": "user", "content": "q" + asked})
        if said is None and not called:
            continue
        turn: dict[str, Any] = {"role": "assistant", "content": "a" + said + "z" if said is not None else None}
        wire = []
        for name, arguments in called:
            number += 1
            text = json.dumps(arguments, separators=(",", ":"))
            wire.append({"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": text}})
        if wire:
            turn["tool_calls"] = wire
        messages.append(turn)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": "r" + call["id"]} for call in wire]
    messages.append({"role": "user", "content": "end"})
    tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in ("f", "g")]
    body = _body({"model": "t", "messages": messages, "tools": tools})
    there = DIALECTS[through].render_request(CHAT.parse_request(body), TARGET)
    back = CHAT.render_request(DIALECTS[through].parse_request(there.body), TARGET)
    assert _merged(json.loads(back.body)["messages"]) == _merged(messages)


def _merged(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Users' turns that follow each other are one to Anthropic: compare what they say together."""
    out: list[dict[str, Any]] = []
    for message in messages:
        content = message.get("content")
        if isinstance(content, list):
            content = "".join(part["text"] for part in content)
        if out and message["role"] == "user" == out[-1]["role"]:
            out[-1]["content"] += content
        else:
            out.append({**message, "content": content})
    return out


@quick
@given(turns=st.integers(1, 4))
@pytest.mark.parametrize("target", ["openai_responses", "anthropic", "ollama"])
def test_translating_an_answer_into_the_next_request_does_not_grow_it(target: str, turns: int) -> None:
    """Property 7: what the gateway answered comes back in the next turn and goes upstream as it was."""
    history: list[dict[str, Any]] = [{"role": "user", "content": "q"}]
    seen: list[Any] = []
    for _ in range(turns):
        answer = {"choices": [{"message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}]}
        reply = json.loads(CHAT.render_reply(CHAT.parse_reply(_body(answer)), CONTEXT))
        history += [reply["choices"][0]["message"], {"role": "user", "content": "q"}]
        sent = DIALECTS[target].render_request(CHAT.parse_request(_body({"model": "m", "messages": history})), TARGET)
        wire = json.loads(sent.body)
        seen.append((wire.get("input") or wire.get("messages"))[:3])
    assert all(turn == seen[0] for turn in seen)
