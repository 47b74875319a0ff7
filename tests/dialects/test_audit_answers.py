"""What every client hears of every upstream's answer: plain, and streamed in every split, through a running gateway.

Expected values come from translation.md and the packages' types, not from the dialects' code. Each row is asked by all
four packages; `neutral` puts what they heard into one vocabulary.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.dialects.audit import (
    CLIENTS,
    DONE,
    R_USAGE,
    SPLITS,
    bench,
    c_reply,
    chunk,
    heard,
    lines,
    m_block,
    m_end,
    m_reply,
    m_start,
    o_line,
    o_reply,
    r_events,
    r_reply,
    sse,
    tail,
)  # fmt: skip
from tests.dialects.audit_grammar import keeps_grammar

PLAIN_USAGE = (10, 5, 0, 0, 0)
FULL = (100, 20, 60, 10, 7)
C_FULL = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120, "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10}, "completion_tokens_details": {"reasoning_tokens": 7}}  # fmt: skip
M_FULL = {"input_tokens": 30, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 10, "output_tokens": 20, "output_tokens_details": {"thinking_tokens": 7}}  # fmt: skip
R_FULL = {"input_tokens": 100, "input_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 10}, "output_tokens": 20, "output_tokens_details": {"reasoning_tokens": 7}, "total_tokens": 120}  # fmt: skip
FIVE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ROLE = chunk({"role": "assistant", "content": ""})
TEXT = {"type": "text", "text": ""}


@dataclass(frozen=True, kw_only=True)
class Row:
    """An upstream's answer and what it means. `calls` are (name, arguments)."""

    target: str
    stream: Sequence[bytes] | None = None
    plain: dict[str, Any] | None = None
    text: str = ""
    thinking: str = ""
    refusal: str = ""
    calls: tuple[tuple[str, Any], ...] = ()
    stop: str = "stop"
    usage: tuple[int, ...] = PLAIN_USAGE


def call(index: int | None, name: str | None = None, arguments: Any = None, **more: Any) -> dict[str, Any]:
    """Return a chunk with one piece of a call."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    at = {} if index is None else {"index": index}
    return chunk({"tool_calls": [{**at, **more, "function": function}]})


def chat(*chunks: Any, usage: Any = FIVE, done: bool = True) -> list[bytes]:
    return sse(*chunks, *([tail(usage)] if usage else []), *([DONE] if done else []))


def says(text: str) -> dict[str, Any]:
    return {"type": "text_delta", "text": text}


def writes(text: str) -> dict[str, Any]:
    return {"type": "input_json_delta", "partial_json": text}


def message(text: str, **part: Any) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], **part}]
    return {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": content}


def function(number: int, name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"fc_{number}", "type": "function_call", "status": "completed", "call_id": f"call_{number}", "name": name, "arguments": arguments}  # fmt: skip


def both(*items: dict[str, Any], status: str = "completed", usage: Any = R_USAGE, **more: Any) -> dict[str, Any]:
    """Return a Responses answer, plain and streamed."""
    return {"target": "r", "plain": r_reply(status, items, usage, **more), "stream": sse(*r_events(*items, status=status, usage=usage, **more))}  # fmt: skip


def without(events: list[dict[str, Any]], *kinds: str) -> list[bytes]:
    return sse(*(event for event in events if not any(kind in event["type"] for kind in kinds)))


THOUGHT = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "ENC"}  # fmt: skip
REFUSED = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "refusal", "refusal": "No way"}]}  # fmt: skip
TWO: tuple[tuple[str, dict[str, Any]], ...] = (("f", {"a": 1}), ("g", {}))

ROWS: dict[str, Row] = {
    "C all": Row(
        target="c",
        plain=c_reply({"content": "Hé", "reasoning_content": "hm", "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}, {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}]}, "tool_calls", C_FULL),
        stream=chat(ROLE, chunk({"reasoning_content": "h"}), chunk({"reasoning_content": "m"}), chunk({"content": "H"}), chunk({"content": "é"}), call(0, "f", "", id="call_1"), call(0, None, '{"a"'), call(1, "g", "", id="call_2"), call(0, None, ":1}"), chunk({}, "tool_calls"), usage=C_FULL),
        text="Hé", thinking="hm", calls=TWO, stop="tool_calls", usage=FULL,
    ),
    "M all": Row(
        target="m",
        plain=m_reply([{"type": "thinking", "thinking": "hm", "signature": "SIG=="}, {"type": "text", "text": "Hé"}, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}, {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}], "tool_use", M_FULL),
        stream=sse(m_start(**{**M_FULL, "output_tokens": 1}), *m_block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "thinking_delta", "thinking": "hm"}, {"type": "signature_delta", "signature": "SIG=="}), *m_block(1, TEXT, says("H"), says("é")), *m_block(2, {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}, writes(""), writes('{"a":'), writes("1}")), *m_block(3, {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}), *m_end("tool_use", {"output_tokens": 20, "output_tokens_details": {"thinking_tokens": 7}})),
        text="Hé", thinking="hm", calls=TWO, stop="tool_calls", usage=FULL,
    ),
    "R all": Row(**both(THOUGHT, message("Hé"), function(1, "f", '{"a":1}'), function(2, "g", "{}"), usage=R_FULL), text="Hé", thinking="hm", calls=TWO, stop="tool_calls", usage=FULL),
    "O all": Row(
        target="o",
        plain=o_reply({"content": "Hé", "thinking": "hm", "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "g", "arguments": {}}}]}),
        stream=lines(o_line(thinking="h"), o_line(thinking="m"), o_line(content="H"), o_line(content="é"), o_line(tool_calls=[{"function": {"name": "f", "arguments": {"a": 1}}}]), o_line(tool_calls=[{"function": {"name": "g", "arguments": {}}}]), o_reply({})),
        text="Hé", thinking="hm", calls=TWO, stop="tool_calls",
    ),
    # 9: C upstream
    "A03": Row(target="c", stream=chat(ROLE, chunk({}, "stop"))),
    "A06": Row(target="c", stream=chat(ROLE, call(0, "get_", "", id="c1"), call(0, "f"), call(0, None, '{"a":1}'), chunk({}, "tool_calls")), calls=(("get_f", {"a": 1}),), stop="tool_calls"),
    "A07": Row(target="c", stream=chat(ROLE, call(0, "f", "", id="c1"), call(1, "g", "", id="c2"), call(0, None, '{"a"'), call(1, None, '{"b"'), call(0, None, ":1}"), call(1, None, ":2}"), chunk({}, "tool_calls")), calls=(("f", {"a": 1}), ("g", {"b": 2})), stop="tool_calls"),
    "A08": Row(target="c", stream=chat(ROLE, call(0, "f", "", id="c1"), call(0, "f", '{"a"', id="c1"), call(0, "f", ":1}", id="c1"), chunk({}, "tool_calls")), calls=(("f", {"a": 1}),), stop="tool_calls"),
    "A09": Row(target="c", stream=chat(ROLE, call(0, "f", '{"a":1}', id="c1"), call(0, "f", '{"a":2}', id="c2"), chunk({}, "tool_calls")), calls=(("f", {"a": 1}), ("f", {"a": 2})), stop="tool_calls"),
    "A09 no index": Row(target="c", stream=chat(ROLE, call(None, "f", '{"a":1}', id="c1"), call(None, "g", "{}", id="c2"), chunk({}, "tool_calls")), calls=TWO, stop="tool_calls"),
    "A12": Row(target="c", stream=chat(chunk({"role": "assistant", "content": "hi", "tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}]}, "tool_calls")), text="hi", calls=(("f", {"a": 1}),), stop="tool_calls"),
    "A13": Row(target="c", stream=chat(ROLE, chunk({"reasoning_content": "r1"}), chunk({"content": "t1"}), chunk({"reasoning": "r2"}), call(0, "f", "{}", id="c1"), chunk({}, "tool_calls")), text="t1", thinking="r1r2", calls=(("f", {}),), stop="tool_calls"),
    "A14": Row(target="c", stream=chat(ROLE, chunk({"function_call": {"name": "f", "arguments": ""}}), chunk({"function_call": {"arguments": '{"a":1}'}}), chunk({}, "function_call")), calls=(("f", {"a": 1}),), stop="tool_calls"),
    "A16": Row(target="c", stream=chat(ROLE, chunk({"content": "hi"})), text="hi"),
    "A19": Row(target="c", plain=c_reply({"content": None, "refusal": "No way"}), stream=chat(ROLE, chunk({"refusal": "No "}), chunk({"refusal": "way"}), chunk({}, "stop")), refusal="No way", stop="refusal"),
    "A20": Row(target="c", stream=[b"\xef\xbb\xbf: hello\r\n\r\n", b'data:{"id":"x","choices":[{"index":0,\r\ndata:"delta":null}]}\r\n\r\n', 'data:{"id":"x","choices":[{"index":0,"delta":{"content":"hé😀"},"x":1}],"y":2}\r\n\r\n'.encode(), b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}\r\n\r\n', b"data: [DONE]\r\n\r\n"], text="hé😀"),
    "A22": Row(target="c", stream=chat(ROLE, chunk({"content": "a"}), b"data: {broken\n\n", chunk({"content": "b"}), chunk({}, "stop")), text="ab"),
    "A24": Row(target="c", stream=chat(ROLE, call(0, "f", '{"a":"hal', id="c1"), chunk({}, "length")), calls=(("f", '{"a":"hal'),), stop="length"),
    "G10": Row(target="c", plain=c_reply({"content": None, "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "[1]"}}]}, "tool_calls"), stream=chat(ROLE, call(0, "f", "", id="c1"), call(0, None, "["), call(0, None, "1]"), chunk({}, "tool_calls")), calls=(("f", [1]),), stop="tool_calls"),
    "F04": Row(target="c", plain=c_reply({"content": "", "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}), stream=chat(ROLE, call(0, "f", "{}", id="c1"), chunk({}, "stop")), calls=(("f", {}),), stop="tool_calls"),
    "F05": Row(target="c", plain=c_reply({"content": "ab"}, "length"), stream=chat(ROLE, chunk({"content": "ab"}), chunk({}, "length")), text="ab", stop="length"),
    "U07 finish chunk": Row(target="c", stream=chat(ROLE, chunk({"content": "a"}), chunk({}, "stop", usage=FIVE), usage=None), text="a"),
    "U07 every chunk": Row(target="c", stream=chat(ROLE, chunk({"content": "a"}, usage={**FIVE, "completion_tokens": 1, "total_tokens": 11}), chunk({}, "stop", usage=FIVE), usage=None), text="a"),
    "U07 no end mark": Row(target="c", stream=chat(ROLE, chunk({"content": "a"}), chunk({}, "stop"), done=False), text="a"),
    "W01": Row(target="c", plain={**c_reply({"content": "hi", "function_call": {}, "audio": {}}, ""), "id": "", "created": 0, "service_tier": ""}, stream=chat({**chunk({"role": "assistant", "content": "hi", "function_call": {"arguments": "", "name": ""}, "audio": {}, "custom": {}}, ""), "id": "", "created": 0}), text="hi"),
    "W02": Row(target="c", plain=c_reply({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "hi"}], "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": '{"a":1}'}}]}, "tool_calls"), stream=chat(chunk({"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}), chunk({"content": [{"type": "text", "text": "hi"}]}), call(None, "f", '{"a":1}', id="c1"), chunk({}, "tool_calls")), thinking="hm", text="hi", calls=(("f", {"a": 1}),), stop="tool_calls"),
    "W03": Row(target="c", plain=c_reply({"content": None, "tool_calls": [{"index": 1, "type": "function", "function": {"name": "f"}}, {"index": 2, "id": "c2", "function": {"name": "g", "arguments": "{}"}}]}, "tool_calls"), stream=chat(ROLE, call(1, "f"), call(2, "g", "{}", id="c2"), chunk({}, "tool_calls")), calls=(("f", {}), ("g", {})), stop="tool_calls"),
    "W04": Row(target="c", plain=c_reply({"content": "a"}, "stop", {**FIVE, "total_tokens": 22, "completion_tokens_details": {"reasoning_tokens": 7}}), stream=chat(ROLE, chunk({"content": "a"}), chunk({}, "stop"), usage={**FIVE, "total_tokens": 22, "completion_tokens_details": {"reasoning_tokens": 7}}), text="a", usage=(10, 12, 0, 0, 7)),
    "W05": Row(target="c", stream=chat(ROLE, chunk({"content": "a"}), chunk({}, "stop", x_groq={"usage": FIVE}), {**tail(None)}, usage=None), text="a"),
    "U02": Row(target="c", plain=c_reply({"content": "a"}, "stop", {**FIVE, "prompt_tokens_details": {"cached_tokens": 50}}), stream=chat(ROLE, chunk({"content": "a"}), chunk({}, "stop"), usage={**FIVE, "prompt_tokens_details": {"cached_tokens": 50}}), text="a", usage=(10, 5, 10, 0, 0)),
    # 10: M upstream
    "B05": Row(target="m", stream=sse(m_start(), *m_block(0, {"type": "text", "text": "pre"}, says("post")), *m_block(1, {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}), *m_end("tool_use")), text="prepost", calls=(("f", {"a": 1}),), stop="tool_calls"),
    "B12": Row(
        target="m",
        plain=m_reply([{"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}}, {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}, {"type": "text", "text": "hi"}, {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}], "tool_use"),
        stream=sse(m_start(), *m_block(0, {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {}}, writes('{"query":"x"}')), *m_block(1, {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []}), *m_block(2, TEXT, says("hi")), *m_block(3, {"type": "tool_use", "id": "t1", "name": "f", "input": {}}, writes('{"a":1}')), *m_end("tool_use")),
        text="hi", calls=(("f", {"a": 1}),), stop="tool_calls",
    ),
    "B14": Row(target="m", stream=sse(m_start(), {"type": "brand_new"}, *m_block(0, TEXT, says("hi"), {"type": "new_delta"}), *m_end()), text="hi"),
    "B15": Row(target="m", plain=m_reply([{"type": "text", "text": "hi"}], "stop_sequence", stop_sequence="END"), stream=sse(m_start(), *m_block(0, TEXT, says("hi")), *m_end("stop_sequence", stop_sequence="END")), text="hi"),
    "F03": Row(target="m", plain=m_reply([{"type": "text", "text": "hi"}], "model_context_window_exceeded"), stream=sse(m_start(), *m_block(0, TEXT, says("hi")), *m_end("model_context_window_exceeded")), text="hi", stop="length"),
    "J08": Row(target="m", plain=m_reply([{"type": "text", "text": "hi"}], "refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": "No."}), stream=sse(m_start(), *m_block(0, TEXT, says("hi")), *m_end("refusal", stop_details={"type": "refusal", "category": "cyber", "explanation": "No."})), text="hi", refusal="No.", stop="refusal"),
    "K12": Row(target="m", plain=m_reply([{"type": "thinking", "thinking": "", "signature": "SIG"}, {"type": "text", "text": "hi"}]), stream=sse(m_start(), *m_block(0, {"type": "thinking", "thinking": "", "signature": ""}, {"type": "signature_delta", "signature": "SIG"}), *m_block(1, TEXT, says("hi")), *m_end()), text="hi"),
    "U05": Row(target="m", stream=sse(m_start(input_tokens=0, output_tokens=0), *m_block(0, TEXT, says("hi")), *m_end(usage={"input_tokens": 10, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 5})), text="hi", usage=(15, 5, 3, 2, 0)),
    "U05 twice": Row(target="m", stream=sse(m_start(cache_read_input_tokens=3), *m_block(0, TEXT, says("hi")), {"type": "message_delta", "delta": {"stop_reason": None}, "usage": {"output_tokens": 3}}, *m_end(usage={"input_tokens": 10, "cache_read_input_tokens": 3, "output_tokens": 5})), text="hi", usage=(13, 5, 3, 0, 0)),
    "W08": Row(target="m", stream=sse(m_start(), m_start(), *m_block(0, TEXT, says("hi")), *m_end()), text="hi"),
    "W08 content": Row(target="m", stream=sse({"type": "message_start", "message": m_reply([{"type": "text", "text": "hi"}])}, {"type": "message_stop"}), text="hi"),
    # 11: R upstream
    "R07": Row(**both(message("ab"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}), text="ab", stop="length"),
    "R07 filter": Row(**both(message("ab"), status="incomplete", incomplete_details={"reason": "content_filter"}), text="ab", stop="refusal"),
    "R09": Row(target="r", stream=without(r_events(function(1, "f", '{"a":1}'), function(2, "g", "{}")), "arguments.delta"), calls=TWO, stop="tool_calls"),
    "R09 items only": Row(target="r", stream=without(r_events(function(1, "f", '{"a":1}'), function(2, "g", "{}")), "arguments"), calls=TWO, stop="tool_calls"),
    "R10": Row(target="r", stream=sse(*r_events(message("ab"))[:-1], {"type": "response.completed", "response": r_reply("completed", [], R_USAGE)}), text="ab"),
    "R12": Row(**both(REFUSED), refusal="No way", stop="refusal"),
    "R two messages": Row(**both(message("ab"), {**message("cd"), "id": "msg_2"}), text="abcd"),
    "M two blocks": Row(target="m", plain=m_reply([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]), stream=sse(m_start(), *m_block(0, TEXT, says("a")), *m_block(1, TEXT, says("b")), *m_end()), text="ab"),
    "R bare reasoning": Row(**both({"id": "rs_1", "type": "reasoning", "summary": []}, message("ab")), text="ab"),
    "W12": Row(**both(message("ab"), usage={"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}), text="ab"),
    # 12: O upstream
    "O01": Row(target="o", stream=[b"".join(lines(o_line(content="h"), o_reply({"content": "i"}))).rstrip(b"\n")], text="hi"),
    "O02": Row(target="o", plain=o_reply({"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "f", "arguments": {"a": 1}}}]}), stream=lines(o_line(tool_calls=[{"function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "f", "arguments": {"a": 1}}}]), o_reply({})), calls=(("f", {"a": 1}), ("f", {"a": 1})), stop="tool_calls"),
    "F06": Row(target="o", plain=o_reply({"content": "hi"}, "length"), stream=lines(o_line(content="hi"), o_reply({}, "length")), text="hi", stop="length"),
}  # fmt: skip


def neutral(client: str, words: dict[str, Any]) -> dict[str, Any]:
    """Return what a client heard in the words of `Row`."""
    out: dict[str, Any] = {"usage": words["usage"], "refusal": words.get("refusal", ""), "calls": []}
    if client == "c":
        names = {"content_filter": "refusal"}
        out |= {
            "text": words["text"] or "",
            "thinking": words["thinking"],
            "stop": names.get(words["stop"], words["stop"]),
        }
        out["calls"] = [(name, arguments) for _, name, arguments in words["calls"]]
        assert len({call_id for call_id, _, _ in words["calls"]}) == len(words["calls"]) and all(words["calls"])
    elif client == "m":
        names = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
        by = {
            kind: [block for block in words["blocks"] if block[0] == kind] for kind in ("text", "thinking", "tool_use")
        }
        out |= {
            "text": "".join(block[1] for block in by["text"]),
            "thinking": "".join(block[1] for block in by["thinking"]),
        }
        out |= {
            "stop": names.get(words["stop"], words["stop"]),
            "calls": [(block[2], block[3]) for block in by["tool_use"]],
        }
        assert len({block[1] for block in by["tool_use"]}) == len(by["tool_use"])
        assert all(block[1] for block in by["text"])
    elif client == "r":
        items = words["items"]
        out["calls"] = [(item[2], item[3]) for item in items if item[0] == "function_call"]
        out |= {
            "text": "".join(item[1] for item in items if item[0] == "message"),
            "thinking": "".join(item[1] for item in items if item[0] == "reasoning"),
        }
        out["refusal"] = "".join(item[2] for item in items if item[0] == "message")
        stops = {
            "max_output_tokens": "length",
            "content_filter": "refusal",
            None: "tool_calls" if out["calls"] else "stop",
        }
        out["stop"] = stops[words["why"]]
        assert (words["status"] == "completed") == (words["why"] is None)
    else:
        out |= {name: words[name] for name in ("text", "thinking", "stop", "calls")}
    out["calls"] = [
        (name, arguments if isinstance(arguments, dict) else read(arguments)) for name, arguments in out["calls"]
    ]
    return out  # fmt: skip


def read(arguments: Any) -> Any:
    try:
        return json.loads(arguments)
    except (TypeError, ValueError):
        return arguments


def as_object(arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, dict):
        return arguments
    return {} if isinstance(arguments, str) else {"value": arguments}


def expected(client: str, row: Row) -> dict[str, Any]:
    """Return what a client of this dialect must hear of a row."""
    calls = [(name, arguments) for name, arguments in row.calls]
    stop, refusal, text, usage = row.stop, row.refusal, row.text, row.usage
    if client in "mo":  # an object is wanted: other JSON is wrapped (G10), a piece of it is dropped (G09)
        calls = [(name, as_object(arguments)) for name, arguments in calls]
        if not text:
            text, refusal = refusal, ""
        refusal = ""
    if client == "o":
        stop, usage = "length" if stop == "length" else "stop", row.usage[:2]
    if client == "r" and stop == "refusal" and refusal and row.target in "cr":
        stop = "stop"  # OpenAI's own refusals are complete answers, with a refusal part (J07)
    if client == "c" and row.target == "c":
        stop = row.stop
    return {"usage": usage, "refusal": refusal, "calls": calls, "text": text, "thinking": row.thinking, "stop": stop}


@pytest.mark.parametrize("name", ROWS)
async def test_answer_is_heard_the_same_by_every_client(name: str) -> None:
    row = ROWS[name]
    async with bench() as table:
        for client in CLIENTS:
            if client == row.target:
                continue
            wanted = expected(client, row)
            if row.plain is not None:
                table.told(row.target, row.plain)
                assert neutral(client, await heard(table, client, row.target, stream=False)) == wanted, client
            if row.stream is None:
                continue
            bodies = set()
            for split in SPLITS:
                table.told(row.target, list(row.stream), split)
                bodies.add(timeless((await table.ask(client, row.target, stream=True)).body))
            assert len(bodies) == 1, bodies
            keeps_grammar(client, bodies.pop())
            words = await heard(table, client, row.target, stream=True)
            assert neutral(client, words) == wanted, client
            if row.plain is not None and client != "c":  # whose first chunk says "" where a plain answer says null
                table.told(row.target, row.plain)
                assert parts_of(await heard(table, client, row.target, stream=False)) == parts_of(words), client
            assert words["model"] == f"to-{row.target}"


def parts_of(words: dict[str, Any]) -> list[Any]:
    """Return the blocks or items; ids of calls that the gateway made up differ between two answers."""
    return [
        part if "call" not in part[0] and part[0] != "tool_use" else part[2:]
        for part in words.get("blocks") or words.get("items") or ()
    ]


def timeless(body: bytes) -> bytes:
    """Return a stream without what may differ between two of the same answer: the exchange's id and the time."""
    body = re.sub(rb"[0-9a-f]{32}", b"id", body)
    body = re.sub(rb'"(created|created_at|completed_at)":1\d{9}', rb'"\1":1', body)
    body = re.sub(rb'"([a-z_]+_duration)":\d+', rb'"\1":1', body)
    return re.sub(rb'"created_at":"[^"]+"', b'"created_at":"2026-11-20T10:00:00Z"', body)
