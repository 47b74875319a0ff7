"""The grammar of a Messages stream as a small state machine: run on the output of every stream test.

message_start → { content_block_start i → content_block_delta i … → content_block_stop i } … → message_delta →
message_stop, or an error event anywhere, after which nothing comes. `event:` and `type` are the same word.
"""

from __future__ import annotations

import json
from typing import Any

_DELTAS = {
    "text": {"text_delta", "citations_delta"},
    "thinking": {"thinking_delta", "signature_delta"},
    "tool_use": {"input_json_delta"},
    "redacted_thinking": set(),
}


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """Return the events of a stream written by ourselves: two lines and a blank one each."""
    text = stream.decode()
    if not text:
        return []
    assert text.endswith("\n\n"), "the last event is not ended by a blank line"
    events = []
    for frame in text[:-2].split("\n\n"):
        name, data = frame.split("\n")
        assert name.startswith("event: ") and data.startswith("data: "), frame
        event = json.loads(data[6:])
        assert event["type"] == name[7:], frame
        events.append(event)
    return events


def check(stream: bytes) -> list[dict[str, Any]]:
    """Return the events. Raises: AssertionError where the stream leaves the grammar."""
    events = events_of(stream)
    state, index, kind = "before", 0, ""
    inputs = ""
    for event in events:
        what = event["type"]
        if what == "ping":
            continue
        assert state not in ("error", "stopped"), f"{what} after the end"
        if what == "error":
            assert set(event["error"]) >= {"type", "message"} and "request_id" in event
            state = "error"
        elif what == "message_start":
            assert state == "before", "a second message_start"
            message = event["message"]
            assert message["content"] == [] and message["stop_reason"] is None and message["id"].startswith("msg_")
            assert message["role"] == "assistant" and message["usage"]["input_tokens"] >= 0
            state = "between"
        elif what == "content_block_start":
            assert state == "between" and event["index"] == index, f"block {event['index']} starts in {state} {index}"
            block = event["content_block"]
            kind, inputs, state = block["type"], "", "inside"
            if kind == "tool_use":
                assert block["id"] and block["name"] and block["input"] == {}, block
        elif what == "content_block_delta":
            assert state == "inside" and event["index"] == index
            if kind in _DELTAS:
                assert event["delta"]["type"] in _DELTAS[kind], f"{event['delta']['type']} in a {kind} block"
            inputs += event["delta"].get("partial_json", "")
        elif what == "content_block_stop":
            assert state == "inside" and event["index"] == index
            state, index = "between", index + 1
        elif what == "message_delta":
            assert state == "between", f"message_delta in {state}"
            assert event["delta"]["stop_reason"], "a finish without a reason"
            assert event["usage"]["output_tokens"] >= 0
            state = "finished"
        elif what == "message_stop":
            assert state == "finished", f"message_stop in {state}"
            state = "stopped"
        else:
            assert state not in ("before", "finished"), f"{what} in {state}"
    assert not events or state in ("stopped", "error"), f"the stream ended in {state}"
    return events
