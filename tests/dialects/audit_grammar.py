"""The grammar of each dialect's streams, as translation.md sections 9 to 12 write them: strict, on the raw bytes."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any


def events_of(body: bytes) -> list[tuple[str, Any]]:
    """Return the named objects of an SSE body, strictly read; comments and the end mark are told apart."""
    out: list[tuple[str, Any]] = []
    assert body.endswith(b"\n\n"), body[-80:]
    for part in body.decode().removesuffix("\n\n").split("\n\n"):
        if part.startswith(":"):
            continue
        rows = part.split("\n")
        name = ""
        if rows[0].startswith("event: "):
            name = rows.pop(0)[7:]
        assert len(rows) == 1 and rows[0].startswith("data: "), part
        out.append((name, "[DONE]" if rows[0] == "data: [DONE]" else json.loads(rows[0][6:])))
    return out


def keeps_grammar(client: str, body: bytes, *, usage: bool = True) -> None:
    """Assert that a stream which ended well keeps its dialect's grammar."""
    {"c": chat_grammar, "m": message_grammar, "r": response_grammar, "o": ollama_grammar}[client](body, usage)


def chat_grammar(body: bytes, usage: bool) -> None:
    events = events_of(body)
    assert all(name == "" for name, _ in events)
    assert events.pop()[1] == "[DONE]"
    chunks = [chunk for _, chunk in events]
    assert len({(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks}) == 1
    assert chunks[0]["created"] > 0 and chunks[0]["id"] and chunks[0]["object"] == "chat.completion.chunk"
    if usage:
        last = chunks.pop()
        assert last["choices"] == [] and last["usage"]["total_tokens"] >= 0
        assert all(chunk["usage"] is None for chunk in chunks)
    else:
        assert not any(chunk.get("usage") for chunk in chunks)
    assert all(len(chunk["choices"]) == 1 for chunk in chunks)
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[0]["delta"] == {"role": "assistant", "content": ""}
    assert [choice["finish_reason"] is not None for choice in choices] == [False] * (len(choices) - 1) + [True]
    assert choices[-1]["delta"] == {}
    seen = 0
    for choice in choices:
        for call in choice["delta"].get("tool_calls") or ():
            if call["index"] == seen:
                assert call["id"] and call["function"]["name"] and call["type"] == "function"
                seen += 1
            else:
                assert call["index"] < seen and not call.keys() & {"id", "type"} and "name" not in call["function"]


def message_grammar(body: bytes, usage: bool) -> None:
    events = [(name, event) for name, event in events_of(body) if name != "ping"]
    assert all(name == event["type"] for name, event in events)
    kinds = [name for name, _ in events]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    assert all(kinds.count(kind) == 1 for kind in ("message_start", "message_delta", "message_stop"))
    message = events[0][1]["message"]
    assert message["id"].startswith("msg_") and message["content"] == [] and message["stop_reason"] is None
    assert message["usage"].keys() >= {"input_tokens", "output_tokens"}
    index, opened, said = -1, None, ""
    fits = {"text_delta": "text", "citations_delta": "text", "thinking_delta": "thinking", "signature_delta": "thinking", "input_json_delta": "tool_use"}  # fmt: skip
    for name, event in events[1:-2]:
        if name == "content_block_start":
            assert opened is None and event["index"] == index + 1
            index, opened, said = event["index"], event["content_block"], ""
            if opened["type"] == "tool_use":
                assert opened["id"] and opened["name"] and opened["input"] == {}
        elif name == "content_block_delta":
            assert opened is not None and event["index"] == index
            assert fits[event["delta"]["type"]] == opened["type"], (event, opened)
            said += str(event["delta"].get("partial_json", ""))
        else:
            assert name == "content_block_stop" and event["index"] == index and opened is not None
            opened = None
    assert opened is None
    assert events[-2][1]["delta"]["stop_reason"]
    assert events[-2][1]["usage"]["output_tokens"] >= 0


def response_grammar(body: bytes, usage: bool) -> None:
    events = events_of(body)
    assert all(name == event["type"] for name, event in events)
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    kinds = [name for name, _ in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in ("response.completed", "response.incomplete")
    last = events[-1][1]["response"]
    assert kinds[-1] == f"response.{last['status']}" and last["output"] and last["usage"]
    assert last["id"] == events[0][1]["response"]["id"] and last["object"] == "response" and last["created_at"] > 0
    opened: dict[int, Any] = {}
    done: dict[int, Any] = {}
    parts: dict[tuple[int, int], list[str]] = {}
    words: dict[int, str] = {}
    for name, event in events[2:-1]:
        index = event["output_index"]
        if name == "response.output_item.added":
            assert index == len(opened)
            opened[index] = event["item"]
            continue
        assert index in opened and index not in done, event
        if name == "response.output_item.done":
            assert event["item"]["id"] == opened[index]["id"]
            assert not any(key[0] == index for key in parts)
            if event["item"]["type"] == "function_call":
                assert words.get(index, "") == event["item"]["arguments"]
            done[index] = event["item"]
            continue
        assert event["item_id"] == opened[index]["id"]
        if "function_call_arguments" in name:
            if name.endswith("delta"):
                words[index] = words.get(index, "") + event["delta"]
            else:
                assert event["arguments"] == words.get(index, "")
            continue
        place = (index, event.get("content_index", event.get("summary_index", -1)))
        if name.endswith("part.added"):
            assert place not in parts
            parts[place] = []
        elif name.endswith("part.done"):
            part = event["part"]
            assert "".join(parts.pop(place)) == (part.get("text") or part.get("refusal") or "")
        elif name.endswith(".delta"):
            parts[place].append(event["delta"])
        elif name.endswith(".done"):
            assert "".join(parts[place]) == event.get("text", event.get("refusal"))
    assert [done[index] for index in sorted(done)] == last["output"] and done.keys() == opened.keys()


def ollama_grammar(body: bytes, usage: bool) -> None:
    assert body.endswith(b"\n")
    rows = [json.loads(line) for line in body.decode().strip("\n ").split("\n")]
    assert [row["done"] for row in rows] == [False] * (len(rows) - 1) + [True]
    for row in rows:
        assert row["model"] and datetime.fromisoformat(row["created_at"]).tzinfo is not None
        assert row["message"]["role"] == "assistant" and isinstance(row["message"]["content"], str)
    assert rows[-1]["done_reason"] in ("stop", "length")
