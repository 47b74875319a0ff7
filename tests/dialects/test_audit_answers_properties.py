"""Section 15, properties 3 to 6, for every pair: answers drawn at random, written as each upstream would write them.

The upstreams' streams are made by `tests.dialects.audit`, not by the dialects; what a client hears is added up here.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.chat import ChatRequest
from gateway.dialects.protocol import AnswerContext
from gateway.dialects.table import DIALECTS
from tests.dialects.audit import (
    DONE,
    c_reply,
    chat_words,
    chunk,
    lines,
    m_block,
    m_end,
    m_reply,
    m_start,
    message_words,
    o_line,
    o_reply,
    ollama_words,
    r_events,
    r_reply,
    response_words,
    snapshot,
    sse,
    tail,
)  # fmt: skip
from tests.dialects.audit_grammar import events_of, keeps_grammar

NAMES = {"c": "openai_chat", "m": "anthropic", "r": "openai_responses", "o": "ollama"}
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
objects = st.dictionaries(texts, st.integers() | st.booleans() | texts, max_size=3)
counts = st.integers(0, 1000)
answers = st.fixed_dictionaries(
    {
        "thinking": st.none() | texts,
        "text": st.none() | texts,
        "calls": st.lists(st.tuples(st.sampled_from(["f", "g"]), objects), max_size=3),
        "length": st.booleans(),
        "usage": st.tuples(counts, counts, counts, counts, counts),
        "cuts": st.lists(st.integers(1, 40), max_size=12),
        "piece": st.integers(1, 5),
    }
)
quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def bits(text: str, size: int) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def as_chat(answer: dict[str, Any]) -> tuple[Any, list[bytes]]:
    fresh, read, written, made, thought = answer["usage"]
    thought = min(thought, made)
    prompt = fresh + read + written
    usage = {"prompt_tokens": prompt, "completion_tokens": made, "total_tokens": prompt + made, "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written}, "completion_tokens_details": {"reasoning_tokens": thought}}  # fmt: skip
    finish = "length" if answer["length"] else "tool_calls" if answer["calls"] else "stop"
    message: dict[str, Any] = {"content": answer["text"]}
    out = [chunk({"role": "assistant", "content": ""})]
    if answer["thinking"]:
        message["reasoning_content"] = answer["thinking"]
        out += [chunk({"reasoning_content": bit}) for bit in bits(answer["thinking"], answer["piece"])]
    out += [chunk({"content": bit}) for bit in bits(answer["text"] or "", answer["piece"])]
    pieces = []
    for index, (name, arguments) in enumerate(answer["calls"]):
        message.setdefault("tool_calls", []).append({"id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": compact(arguments)}})  # fmt: skip
        out.append(chunk({"tool_calls": [{"index": index, "id": f"call_{index}", "type": "function", "function": {"name": name, "arguments": ""}}]}))  # fmt: skip
        pieces += [(at, index, bit) for at, bit in enumerate(bits(compact(arguments), answer["piece"]))]
    out += [
        chunk({"tool_calls": [{"index": index, "function": {"arguments": bit}}]}) for _, index, bit in sorted(pieces)
    ]
    return c_reply(message, finish, usage), sse(*out, chunk({}, finish), tail(usage), DONE)


def as_messages(answer: dict[str, Any]) -> tuple[Any, list[bytes]]:
    fresh, read, written, made, thought = answer["usage"]
    usage = {"input_tokens": fresh, "cache_read_input_tokens": read, "cache_creation_input_tokens": written, "output_tokens": made, "output_tokens_details": {"thinking_tokens": min(thought, made)}}  # fmt: skip
    reason = "max_tokens" if answer["length"] else "tool_use" if answer["calls"] else "end_turn"
    blocks: list[Any] = []
    out: list[Any] = [m_start(**{**usage, "output_tokens": 0})]
    size = answer["piece"]
    if answer["thinking"]:
        blocks.append({"type": "thinking", "thinking": answer["thinking"], "signature": "SIG"})
        deltas = [{"type": "thinking_delta", "thinking": bit} for bit in bits(answer["thinking"], size)]
        out += m_block(0, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, {"type": "signature_delta", "signature": "SIG"})  # fmt: skip
    if answer["text"]:
        blocks.append({"type": "text", "text": answer["text"]})
        deltas = [{"type": "text_delta", "text": bit} for bit in bits(answer["text"], size)]
        out += m_block(len(blocks) - 1, {"type": "text", "text": ""}, *deltas)
    for index, (name, arguments) in enumerate(answer["calls"]):
        blocks.append({"type": "tool_use", "id": f"call_{index}", "name": name, "input": arguments})
        deltas = [{"type": "input_json_delta", "partial_json": bit} for bit in bits(compact(arguments), size)]
        out += m_block(len(blocks) - 1, {**blocks[-1], "input": {}}, *deltas)
    return m_reply(blocks, reason, usage), sse(*out, *m_end(reason, usage))


def as_response(answer: dict[str, Any]) -> tuple[Any, list[bytes]]:
    fresh, read, written, made, thought = answer["usage"]
    prompt = fresh + read + written
    usage = {"input_tokens": prompt, "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": written}, "output_tokens": made, "output_tokens_details": {"reasoning_tokens": min(thought, made)}, "total_tokens": prompt + made}  # fmt: skip
    items: list[Any] = []
    if answer["thinking"]:
        items.append({"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": answer["thinking"]}], "encrypted_content": "ENC"})  # fmt: skip
    if answer["text"]:
        items.append({"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": answer["text"], "annotations": []}]})  # fmt: skip
    for index, (name, arguments) in enumerate(answer["calls"]):
        items.append({"id": f"fc_{index}", "type": "function_call", "status": "completed", "call_id": f"call_{index}", "name": name, "arguments": compact(arguments)})  # fmt: skip
    more = {"incomplete_details": {"reason": "max_output_tokens"}} if answer["length"] else {}
    status = "incomplete" if answer["length"] else "completed"
    return r_reply(status, items, usage, **more), sse(*r_events(*items, status=status, usage=usage, **more))


def as_ollama(answer: dict[str, Any]) -> tuple[Any, list[bytes]]:
    fresh, read, written, made, _ = answer["usage"]
    reason = "length" if answer["length"] and not answer["calls"] else "stop"
    calls = [{"function": {"name": name, "arguments": arguments}} for name, arguments in answer["calls"]]
    message: dict[str, Any] = {"content": answer["text"] or ""}
    if answer["thinking"]:
        message["thinking"] = answer["thinking"]
    if calls:
        message["tool_calls"] = calls
    told = {"prompt_eval_count": fresh + read + written, "eval_count": made}
    out = [o_line(thinking=bit) for bit in bits(answer["thinking"] or "", answer["piece"])]
    out += [o_line(content=bit) for bit in bits(answer["text"] or "", answer["piece"])]
    out += [o_line(tool_calls=calls)] if calls else []
    return o_reply(message, reason, **told), lines(*out, o_reply({}, reason, **told))


UPSTREAMS = {"c": as_chat, "m": as_messages, "r": as_response, "o": as_ollama}


def context(client: str) -> AnswerContext:
    request = ChatRequest(dialect=NAMES[client], model="m", messages=(), stream=True, include_usage=True)
    return AnswerContext(id="x", model="m", now_s=1_790_000_000.0, request=request)


def streamed(client: str, target: str, body: bytes, cuts: list[int]) -> bytes:
    """Return the client's stream of an upstream's, which came cut after so many bytes each."""
    parser, renderer = DIALECTS[NAMES[target]].stream_parser(), DIALECTS[NAMES[client]].stream_renderer(context(client))
    events, at = [], 0
    for cut in cuts:
        events += parser.feed(body[at : at + cut])
        at += cut
    events += parser.feed(body[at:])
    events += parser.end()
    return b"".join(map(renderer.render, events)) + renderer.end()


def plain_words(client: str, body: bytes) -> dict[str, Any]:
    answer = json.loads(body)
    match client:
        case "c":
            return chat_words(answer)
        case "m":
            return message_words(answer)
        case "r":
            return response_words(answer)
    return ollama_words([answer])


def stream_words(client: str, body: bytes) -> dict[str, Any]:
    match client:
        case "c":
            return chat_words(snapshot([event for _, event in events_of(body) if event != "[DONE]"]))
        case "m":
            return message_words(message_of([event for _, event in events_of(body)]))
        case "r":
            return response_words(events_of(body)[-1][1]["response"])
    return ollama_words([json.loads(line) for line in body.split(b"\n") if line])


def message_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the message a Messages stream adds up to."""
    message = events[0]["message"]
    written: list[str] = []
    for event in events[1:]:
        if event["type"] == "content_block_start":
            message["content"].append(event["content_block"])
            written.append("")
        elif event["type"] == "content_block_delta":
            block, delta = message["content"][event["index"]], event["delta"]
            for name in ("text", "thinking", "signature"):
                if name in delta:
                    block[name] += delta[name]
            written[event["index"]] += delta.get("partial_json", "")
        elif event["type"] == "content_block_stop" and message["content"][event["index"]]["type"] == "tool_use":
            message["content"][event["index"]]["input"] = json.loads(written[event["index"]] or "{}")
        elif event["type"] == "message_delta":
            message |= event["delta"]
            message["usage"] |= event["usage"]
    return message


@pytest.mark.parametrize("target", "cmro")
@quick
@given(answer=answers)
def test_stream_adds_up_to_the_plain_answer_however_it_is_cut(target: str, answer: dict[str, Any]) -> None:
    plain, events = UPSTREAMS[target](answer)
    body = b"".join(events)
    fresh, read, written, made, thought = answer["usage"]
    for client in "cmro":
        if client == target:
            continue
        first = streamed(client, target, body, [])
        assert streamed(client, target, body, answer["cuts"]) == first
        assert streamed(client, target, body, [1] * len(body)) == first
        keeps_grammar(client, first)
        reply = DIALECTS[NAMES[target]].parse_reply(json.dumps(plain, ensure_ascii=False).encode())
        whole = plain_words(client, DIALECTS[NAMES[client]].render_reply(reply, context(client)))
        heard = stream_words(client, first)
        for words in (whole, heard):
            if "text" in words:
                words["text"] = words["text"] or ""
            if target == "o" and client == "c":
                words["calls"] = [call[1:] for call in words["calls"]]
        assert heard == whole
        total = (fresh + read + written, made, read, written, min(thought, made))
        if client == "o" or target == "o":
            assert heard["usage"][:2] == total[:2]
        else:
            assert heard["usage"] == total
