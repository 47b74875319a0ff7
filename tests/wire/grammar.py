"""The grammars of the two OpenAI streams as small state machines: run on the output of every stream test.

Chat: chunks with one id, time and model; the role first; tool indices from 0 without gaps; one finish, at most one
usage, `[DONE]`. Responses: the order that the official package and Codex need (translation.md, section 11).
Both: or an error event anywhere, after which nothing comes.
"""

from __future__ import annotations

import json
from typing import Any

from tests.wire import grammar_anthropic, grammar_ollama


def chat(stream: bytes) -> list[dict[str, Any]]:
    """Return the chunks. Raises: AssertionError where the stream leaves the grammar."""
    frames = _frames(stream)
    chunks: list[dict[str, Any]] = []
    state, tools, last = "before", 0, len(frames) - 1
    for number, frame in enumerate(frames):
        assert frame.startswith("data: ") and "\n" not in frame, frame
        if frame == "data: [DONE]":
            assert number == last and state in ("finished", "counted"), f"[DONE] while {state}"
            state = "done"
            continue
        chunk = json.loads(frame[6:])
        if "error" in chunk:
            assert number == last, "something follows the error"
            assert set(chunk["error"]) >= {"message", "type", "param", "code"}
            return [*chunks, chunk]
        assert chunk["object"] == "chat.completion.chunk"
        assert isinstance(chunk["created"], int) and chunk["created"] > 0 and chunk["id"] and chunk["model"]
        if chunks:
            assert all(chunk[name] == chunks[0][name] for name in ("id", "created", "model"))
        chunks.append(chunk)
        if not chunk["choices"] and "usage" not in chunk:
            continue  # what a content filter says of the prompt
        if not chunk["choices"]:
            assert state == "finished" and chunk["usage"]["total_tokens"] >= 0
            state = "counted"
            continue
        (choice,) = chunk["choices"]
        delta = choice["delta"]
        assert state in ("before", "open"), f"a choice while {state}"
        assert chunk.get("usage") is None and choice["index"] == 0
        if state == "before":
            assert delta["role"] == "assistant"
            state = "open"
        for call in delta.get("tool_calls", ()):
            if call["index"] == tools:
                body = call[call["type"]]
                assert call["id"] and body["name"]
                tools += 1
            else:
                assert 0 <= call["index"] < tools and not {"id", "name"} & set(call)
        if choice["finish_reason"] is not None:
            assert choice["finish_reason"] in ("stop", "length", "tool_calls", "content_filter", "function_call")
            assert delta == {}
            state = "finished"
    assert state == "done" or not frames, f"the stream ends {state}"
    return chunks


_CONTENT = {
    "response.output_text.delta": "text",
    "response.output_text.done": "text",
    "response.output_text.annotation.added": "text",
    "response.refusal.delta": "refusal",
    "response.refusal.done": "refusal",
}
_NEUTRAL_ITEMS = ("message", "reasoning", "function_call", "custom_tool_call")
_ENDS = {"response.completed": "completed", "response.incomplete": "incomplete", "response.failed": "failed"}


def responses(stream: bytes) -> list[dict[str, Any]]:
    """Return the events. Raises: AssertionError where the stream leaves the grammar."""
    events = []
    for number, frame in enumerate(_frames(stream)):
        name, data = frame.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}", frame
        assert event["sequence_number"] == number, "a gap in the numbers"
        events.append(event)
    if not events:
        return events
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] in _ENDS and not set(kinds[:-1]) & set(_ENDS)
    last = events[-1]["response"]
    assert last["status"] == _ENDS[kinds[-1]] and last["object"] == "response" and last["created_at"] > 0
    assert all(event["response"]["id"] == last["id"] for event in events[:2])
    done = _items(events[2:-1], failed=kinds[-1] == "response.failed")
    assert last["output"] == [done[index] for index in sorted(done)], "the items of the last event are others"
    if kinds[-1] != "response.failed":
        assert last["output"] and last["usage"]["total_tokens"] >= 0 and sorted(done) == list(range(len(done)))
    return events


def _items(events: list[dict[str, Any]], *, failed: bool) -> dict[int, dict[str, Any]]:
    opened: dict[int, dict[str, Any]] = {}
    parts: dict[tuple[int, int], str] = {}
    texts: dict[tuple[int, int], str] = {}
    done: dict[int, dict[str, Any]] = {}
    for event in events:
        kind, index = event["type"], event.get("output_index")
        if index is None:
            continue  # an event of the same dialect that has no neutral words
        if kind == "response.output_item.added":
            assert index == len(opened), "items are added in order"
            opened[index] = event["item"]
            continue
        assert index in opened and index not in done, f"{kind} outside its item"
        if opened[index]["type"] not in _NEUTRAL_ITEMS:
            if kind == "response.output_item.done":
                done[index] = event["item"]
            continue
        item_id = event["item"]["id"] if "item" in event else event["item_id"]
        assert item_id == opened[index]["id"]
        place = (index, event.get("content_index", event.get("summary_index", 0)))
        if kind.endswith("_part.added"):
            assert place not in parts
            parts[place], texts[place] = event["part"]["type"], ""
        elif kind.endswith("_part.done"):
            part = event["part"]
            assert parts[place] == part["type"] and part.get("text", part.get("refusal")) == texts[place]
            parts[place] = "done"
        elif kind.endswith(".delta"):
            if kind in _CONTENT:
                assert parts[place].endswith(_CONTENT[kind])
            texts[place] = texts.get(place, "") + event["delta"]
        elif kind == "response.output_item.done":
            assert all(state == "done" for (where, _), state in parts.items() if where == index)
            done[index] = event["item"]
            _same(event["item"], {where[1]: text for where, text in texts.items() if where[0] == index})
        elif kind.endswith(".done"):
            whole = next(event[name] for name in ("text", "refusal", "arguments", "input") if name in event)
            assert whole == texts.get(place, ""), f"{kind} differs from its deltas"
    assert failed or set(done) == set(opened), "an item was never done"
    return done


def _same(item: dict[str, Any], texts: dict[int, str]) -> None:
    """An item must say what its deltas said."""
    match item["type"]:
        case "message":
            said = [part.get("text", part.get("refusal")) for part in item["content"]]
            assert said == [texts[number] for number in sorted(texts)]
        case "function_call":
            assert item["arguments"] == texts[0] and item["status"] == "completed"
        case "custom_tool_call":
            assert item["input"] == texts.get(0, "")
        case "reasoning":
            assert "".join(part["text"] for part in item["summary"]) == texts.get(0, "")


def _frames(stream: bytes) -> list[str]:
    text = stream.decode()
    assert text == "" or text.endswith("\n\n"), "the last event is not ended by a blank line"
    return text[:-2].split("\n\n") if text else []


CHECKS = {
    "openai_chat": chat,
    "openai_responses": responses,
    "anthropic": grammar_anthropic.check,
    "ollama": grammar_ollama.check,
    "ollama_generate": grammar_ollama.check,
}
"""The check of each dialect's stream, by its name in `DIALECTS`."""
