"""What verbatim streams of the OpenAI dialects tell without being changed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.chat import Usage
from gateway.dialects.openai_chat.scan import ChatScanner
from gateway.dialects.openai_responses.scan import ResponsesScanner
from gateway.dialects.sse import Piece
from gateway.dialects.table import DIALECTS
from gateway.errors import UpstreamError

CHAT, RESPONSES = DIALECTS["openai_chat"], DIALECTS["openai_responses"]
DONE = b"data: [DONE]\n\n"


def chat(*events: object) -> ChatScanner:
    scanner = ChatScanner()
    for event in events:
        scanner.see(event if isinstance(event, bytes) else b"data: " + json.dumps(event).encode() + b"\n\n")
    return scanner


def chunk(delta: Any = None, finish: Any = None, index: Any = 0, **members: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": index, "delta": delta, "finish_reason": finish}], **members}


ROLE = chunk({"role": "assistant", "content": ""})
SHELLS = {"content": None, "function_call": {"name": "", "arguments": ""}, "audio": {}, "tool_calls": [], "refusal": ""}


@pytest.mark.parametrize(
    "event",
    [
        ROLE,
        chunk(SHELLS),
        chunk(None),
        chunk({"content": []}),
        chunk({"content": [{"type": "text", "text": ""}]}),
        chunk({"tool_calls": [{"index": 0, "type": "function", "function": {"name": "", "arguments": ""}}]}),
        {"choices": [], "prompt_filter_results": []},
        {"choices": [{"index": 0, "text": ""}]},
        b": keep-alive\n\n",
        b"data: {broken\n\n",
        b"data: 5\n\n",
        b"\n\n",
    ],
)
def test_a_preamble_or_nonsense_is_no_content(event: object) -> None:
    scanner = chat(event)
    assert not scanner.content and not scanner.finished and scanner.error is None


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "a"},
        {"content": " "},
        {"content": "\ud83d"},
        {"content": [{"type": "text", "text": "a"}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "a"}]}]},
        {"reasoning_content": "a"},
        {"reasoning": "a"},
        {"refusal": "a"},
        {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f"}},
    ],
)
def test_first_content_commits(delta: dict[str, Any]) -> None:
    assert chat(ROLE, chunk(delta)).content


@pytest.mark.parametrize("finish", ["stop", "length", "tool_calls", "content_filter", "eos", 7])
def test_a_finish_reason_is_content_and_the_finish_but_no_terminator(finish: object) -> None:
    scanner = chat(ROLE, chunk({}, finish))
    assert scanner.content and scanner.finished and not scanner.terminated
    assert scanner.terminator == DONE


def test_an_empty_finish_reason_is_none_and_done_alone_ends_the_stream() -> None:
    scanner = chat(chunk({"content": "a"}, ""))
    assert not scanner.finished
    scanner.see(DONE)
    assert scanner.finished and scanner.terminated


def test_done_is_recognised_with_any_line_end_and_without_space() -> None:
    for event in (b"data:[DONE]\n\n", b"data: [DONE]\r\n\r\n", b"data: [DONE] \n\n"):
        assert chat(event).terminated


def test_of_several_choices_every_one_must_finish() -> None:
    scanner = chat(chunk({"content": "a"}), chunk({"content": "b"}, index=1), chunk({}, "stop"))
    assert not scanner.finished
    scanner.see(b"data: " + json.dumps(chunk({}, "stop", index=1)).encode() + b"\n\n")
    assert scanner.finished
    scanner.see(b"data: " + json.dumps(chunk({}, None)).encode() + b"\n\n")
    assert scanner.finished, "a chunk after the finish opens nothing again"


def test_completions_of_the_older_path_are_watched_too() -> None:
    scanner = chat({"choices": [{"index": 0, "text": "a", "finish_reason": None}]})
    assert scanner.content and not scanner.finished
    assert chat({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]}).finished


USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14, "prompt_tokens_details": {"cached_tokens": 4}}


@pytest.mark.parametrize(
    "events",
    [
        [chunk({}, "stop"), {"choices": [], "usage": USAGE}, DONE],
        [chunk({}, "stop", usage=USAGE), DONE],
        [chunk({"content": "a"}, usage={"prompt_tokens": 9, "completion_tokens": 1}), chunk({}, "stop", usage=USAGE)],
        [chunk({}, "stop", x_groq={"usage": USAGE}), {"choices": [], "usage": None}, DONE],
        [chunk({}, "stop", usage=USAGE), {"choices": [], "usage": {**USAGE, "prompt_tokens_details": None}}, DONE],
    ],
)
def test_the_last_usage_that_is_not_null_counts_and_keeps_its_details(events: list[object]) -> None:
    assert chat(*events).usage == Usage(prompt_tokens=9, completion_tokens=5, cached_tokens=4)


@pytest.mark.parametrize(
    ("event", "status", "code"),
    [
        ({"error": {"message": "m", "type": "rate_limit_error", "code": None}}, 429, "rate_limit_exceeded"),
        (
            {"error": {"message": "m", "code": 503}, "choices": [{"index": 0, "delta": {"content": ""}}]},
            503,
            "overloaded",
        ),
        ({"error": "m"}, 502, "upstream_error"),
        (b'event: error\ndata: {"message":"m","type":"invalid_request_error"}\n\n', 400, "invalid_request"),
        ({"object": "error", "message": "m", "code": 400}, 400, "invalid_request"),
    ],
)
def test_an_error_in_the_stream_is_one_even_when_done_follows(event: object, status: int, code: str) -> None:
    scanner = chat(ROLE, event)
    assert scanner.error is not None
    assert (scanner.error.status, scanner.error.code, scanner.error.message) == (status, code, "m")
    scanner.see(DONE)
    assert scanner.error is not None


def test_a_null_error_is_none() -> None:
    assert chat(chunk({"content": "a"}, error=None)).error is None


def test_an_oversized_piece_counts_as_content() -> None:
    scanner = chat(Piece(b"data: xxxx"))
    assert scanner.content and not scanner.finished


def test_a_failing_chat_stream_ends_with_openais_error_object() -> None:
    event = chat(ROLE).fail(UpstreamError("truncated", "cut"), "req")
    assert event == CHAT.render_error_event(UpstreamError("truncated", "cut"), "req")
    assert json.loads(event.removeprefix(b"data: "))["error"]["code"] == "stream_truncated"


# --- Responses ---------------------------------------------------------------------------------


def responses(*events: object) -> ResponsesScanner:
    scanner = ResponsesScanner()
    for event in events:
        if isinstance(event, dict):
            event = f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
        assert isinstance(event, bytes)
        scanner.see(event)
    return scanner


CREATED = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_7", "created_at": 5}}
TEXT = {"type": "response.output_text.delta", "output_index": 0, "item_id": "m", "content_index": 0, "delta": "a"}


def _item(kind: str, what: str = "added", **members: Any) -> dict[str, Any]:
    return {"type": f"response.output_item.{what}", "output_index": 0, "item": {"type": kind, **members}}


@pytest.mark.parametrize(
    "event",
    [
        CREATED,
        {"type": "response.in_progress", "response": {}},
        _item("message", content=[]),
        _item("reasoning", summary=[]),
        {**TEXT, "delta": ""},
        b": ping\n\n",
        b"data: [DONE]\n\n",
        b"event: x\ndata: {broken\n\n",
    ],
)
def test_announcements_are_no_content(event: object) -> None:
    scanner = responses(event)
    assert not scanner.content and not scanner.finished and scanner.error is None


@pytest.mark.parametrize(
    "event",
    [
        TEXT,
        {**TEXT, "type": "response.refusal.delta"},
        {**TEXT, "type": "response.reasoning_summary_text.delta"},
        {**TEXT, "type": "response.function_call_arguments.delta"},
        _item("function_call", name="f"),
        _item("web_search_call"),
        _item("message", "done", content=[{"type": "output_text", "text": "whole"}]),
        b"data: " + json.dumps(TEXT).encode() + b"\n\n",
    ],
)
def test_first_content_of_responses_commits(event: object) -> None:
    assert responses(CREATED, event).content


@pytest.mark.parametrize("kind", ["completed", "incomplete"])
def test_the_last_event_is_finish_and_terminator_and_carries_the_usage(kind: str) -> None:
    usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5, "output_tokens_details": {"reasoning_tokens": 1}}
    scanner = responses(CREATED, TEXT, TEXT, {"type": f"response.{kind}", "response": {"status": kind, "usage": usage}})
    assert scanner.content and scanner.finished and scanner.terminated and scanner.terminator == b""
    assert scanner.usage == Usage(prompt_tokens=3, completion_tokens=2, reasoning_tokens=1)


@pytest.mark.parametrize(
    ("event", "status"),
    [
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded", "message": "m"}}}, 429),
        ({"type": "response.failed", "response": {"error": {"code": "server_error", "message": "m"}}}, 502),
        ({"type": "error", "code": "server_error", "message": "m"}, 502),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "m"}}, 400),
        (b'data: {"error":{"message":"m","code":503}}\n\n', 503),
    ],
)
def test_a_failure_in_a_responses_stream_is_an_error_and_no_finish(event: object, status: int) -> None:
    scanner = responses(CREATED, TEXT, event)
    assert scanner.error is not None and not scanner.finished
    assert (scanner.error.status, scanner.error.message) == (status, "m")


def test_a_failing_responses_stream_goes_on_numbering_under_the_same_id() -> None:
    event = responses(CREATED, TEXT, TEXT).fail(UpstreamError("truncated", "cut"), "req")
    name, data, _, _ = event.decode().split("\n")
    value = json.loads(data.removeprefix("data: "))
    assert name == "event: response.failed" and value["sequence_number"] == 3
    assert value["response"]["id"] == "resp_7" and value["response"]["status"] == "failed"
    assert value["response"]["error"] == {"code": "stream_truncated", "message": "cut"}


# --- plain answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", [CHAT, RESPONSES], ids=["chat", "responses"])
def test_usage_is_read_from_any_openai_answer(dialect: Any) -> None:
    assert dialect.usage(b'{"choices":[],"usage":{"prompt_tokens":3,"total_tokens":3}}') == Usage(prompt_tokens=3)
    assert dialect.usage(b'{"output":[],"error":null,"usage":{"input_tokens":3,"output_tokens":2}}') == Usage(
        prompt_tokens=3, completion_tokens=2
    )
    assert dialect.usage(b'{"data":[]}') is None


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"null", b'{"usage":', b"\xff"])
def test_what_is_no_json_object_is_a_bad_response(body: bytes) -> None:
    with pytest.raises(UpstreamError) as failed:
        CHAT.usage(body)
    assert failed.value.code == "bad_upstream_response" and failed.value.status == 502


def test_reasoning_outside_the_completion_is_counted_once() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 40}
    usage["completion_tokens_details"] = {"reasoning_tokens": 25}  # type: ignore[assignment]
    counted = CHAT.usage(json.dumps({"usage": usage}).encode())
    assert counted == Usage(prompt_tokens=10, completion_tokens=30, reasoning_tokens=25)


@pytest.mark.parametrize("odd", [-1, 1.5, "9", None, True, [], 1e300, {"a": 1}])
def test_odd_counts_are_never_negative_nor_a_crash(odd: object) -> None:
    names = ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
    usage = CHAT.usage(json.dumps({"usage": dict.fromkeys(names, odd)}).encode())
    assert usage is not None and 0 <= usage.cached_tokens <= usage.prompt_tokens < 3 and usage.completion_tokens >= 0


def test_details_that_do_not_fit_their_totals_are_brought_to_fit() -> None:
    details = {"cached_tokens": -5, "cache_write_tokens": 7}
    usage = {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "prompt_tokens_details": details}
    assert CHAT.usage(json.dumps({"usage": usage}).encode()) == Usage(
        prompt_tokens=9, completion_tokens=1, cache_write_tokens=7
    )
    details = {"cached_tokens": 50, "cache_write_tokens": 7}
    usage["prompt_tokens_details"] = details
    assert CHAT.usage(json.dumps({"usage": usage}).encode()) == Usage(
        prompt_tokens=9, completion_tokens=1, cached_tokens=9
    )
