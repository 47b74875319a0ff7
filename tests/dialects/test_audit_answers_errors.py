"""Streams that break after content: told apart from good ends in every pair, however the bytes were cut (rows A17, A18,
B10, B11, R08, O04, W06)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.dialects.audit import CLIENTS, DONE, SPLITS, bench, chunk, lines, m_start, r_events, r_reply, sse
from tests.dialects.audit_grammar import events_of

MESSAGE = {"id": "m1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hihi", "annotations": []}]}  # fmt: skip
FAILED = {**r_reply("failed"), "error": {"code": "rate_limit_exceeded", "message": "slow down"}}
HEADS = {
    "c": sse(chunk({"role": "assistant", "content": ""})),
    "m": sse(m_start(), {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    "r": sse(*r_events(MESSAGE)[:4]),
    "o": [],
}
CONTENT = {
    "c": sse(chunk({"content": "hi"})),
    "m": sse({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}}),
    "r": sse(r_events(MESSAGE)[4]),
    "o": lines({"model": "m", "created_at": "2026-11-20T10:00:00Z", "message": {"role": "assistant", "content": "hi"}, "done": False}),
}  # fmt: skip
BREAKS: dict[str, tuple[str, list[bytes], str, int]] = {
    "A18": ("c", [*sse({"error": {"message": "boom", "type": "server_error", "code": 500}}), DONE], "api_error", 502),
    "W06": ("c", [b'event: error\ndata: {"error":{"message":"boom","type":"invalid_request_error"}}\n\n', DONE], "invalid_request_error", 400),
    "A17": ("c", [], "api_error", 502),
    "B10": ("m", sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}), "overloaded_error", 503),
    "B11": ("m", [], "api_error", 502),
    "R08 failed": ("r", sse({"type": "response.failed", "sequence_number": 9, "response": FAILED}), "rate_limit_error", 429),
    "R08 error": ("r", sse({"type": "error", "sequence_number": 9, "code": "server_error", "message": "boom", "param": None}), "api_error", 502),
    "R08 cut": ("r", [], "api_error", 502),
    "O04": ("o", lines({"error": "boom"}), "api_error", 502),
    "O04 cut": ("o", [], "api_error", 502),
}  # fmt: skip


def said_then_failed(client: str, body: bytes) -> str:
    """Return the Anthropic type of the error that ends a stream of `hi`; assert that nothing follows."""
    if client == "o":
        rows = [json.loads(line) for line in body.splitlines()]
        assert rows[0]["message"]["content"] == "hi" and not any(row.get("done") for row in rows)
        assert list(rows[-1]) == ["error"]
        return ""
    events = events_of(body)
    last: Any = events[-1][1]
    assert b'"hi"' in body and b"[DONE]" not in body and b"message_stop" not in body
    assert b"response.completed" not in body
    if client == "r" and last["type"] == "response.failed":
        assert last["response"]["status"] == "failed" and last["response"]["error"]["message"]
        return ""
    assert last["error"]["message"] if client != "r" else last.get("message") or last["error"]["message"]
    return last["error"]["type"] if client == "m" else ""


@pytest.mark.parametrize("row", BREAKS)
async def test_break_after_content_is_an_error_event_however_it_was_cut(row: str) -> None:
    target, end, kind, _ = BREAKS[row]
    async with bench() as table:
        for client in CLIENTS:
            for split in SPLITS:
                table.told(target, HEADS[target] + CONTENT[target] + end, split)
                got = await table.ask(client, target, stream=True)
                assert got.status == 200, (client, split, got.body)
                said = said_then_failed(client, got.body)
                if client == "m" and target != "m":
                    assert said == kind


@pytest.mark.parametrize("row", BREAKS)
async def test_break_before_content_is_an_http_error(row: str) -> None:
    target, end, kind, status = BREAKS[row]
    async with bench() as table:
        for client in CLIENTS:
            for split in ("whole", "bytes") if client == "m" else ("events",):
                table.told(target, HEADS[target] + end, split)
                got = await table.ask(client, target, stream=True)
                assert got.status == (529 if client == "m" and status == 503 else status), (client, split, got.body)
                if client == "m":
                    assert got.json()["error"]["type"] == kind
