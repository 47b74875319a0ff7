"""What a verbatim Messages stream tells without being changed: content, finish, usage, errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.chat import Usage
from gateway.dialects.anthropic_messages import AnthropicMessages
from gateway.dialects.anthropic_messages.scan import AnthropicScanner
from gateway.errors import (
    BadRequest,
    InternalError,
    MethodNotAllowed,
    QuotaSpent,
    RateLimited,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UpstreamError,
)

DIALECT = AnthropicMessages()


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def start(**message: Any) -> bytes:
    base: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
    }
    return event("message_start", message=base | message)


def delta(**members: Any) -> bytes:
    return event("content_block_delta", index=0, delta=members)


def scan(*events: bytes) -> AnthropicScanner:
    scanner = AnthropicScanner()
    for item in events:
        scanner.see(item)
    return scanner


TEXT_START = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
THINKING_START = event(
    "content_block_start", index=0, content_block={"type": "thinking", "thinking": "", "signature": ""}
)
TOOL_START = event(
    "content_block_start", index=0, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}}
)


def test_start_ping_and_empty_blocks_are_preamble() -> None:
    scanner = scan(
        start(), event("ping"), b": comment\n\n", TEXT_START, THINKING_START, delta(type="text_delta", text="")
    )
    assert not scanner.content and not scanner.finished and not scanner.terminated


@pytest.mark.parametrize(
    "first",
    [
        delta(type="text_delta", text="a"),
        delta(type="thinking_delta", thinking="a"),
        delta(type="signature_delta", signature="s"),
        delta(type="input_json_delta", partial_json="{"),
        TOOL_START,
        event("content_block_start", index=0, content_block={"type": "redacted_thinking", "data": "x"}),
        event("content_block_start", index=0, content_block={"type": "text", "text": "given at once"}),
        event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 1}),
        start(content=[{"type": "text", "text": "spliced"}]),
        b'data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"no event line"}}\n\n',
        b'event:content_block_delta\r\ndata:{"delta":{"text":"a"},"type":"content_block_delta"}\r\n\r\n',
    ],
)
def test_first_content_commits(first: bytes) -> None:
    assert scan(first).content


def test_finish_and_terminator_are_told_apart() -> None:
    scanner = scan(start(), event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 9}))
    assert (scanner.finished, scanner.terminated) == (True, False)
    scanner.see(scanner.terminator)
    assert (scanner.finished, scanner.terminated) == (True, True)


def test_message_delta_without_a_stop_reason_is_no_finish() -> None:
    scanner = scan(start(), event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 3}))
    assert not scanner.finished


def test_spliced_start_without_message_delta_is_finished_only_by_message_stop() -> None:
    scanner = scan(start(content=[{"type": "text", "text": "hi"}], stop_reason="end_turn"))
    assert (scanner.content, scanner.finished) == (True, False)
    scanner.see(event("message_stop"))
    assert (scanner.finished, scanner.terminated) == (True, True)


def test_usage_is_cumulative_and_never_summed() -> None:
    scanner = scan(
        start(usage={"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5}),
        start(usage={"input_tokens": 10, "output_tokens": 1, "cache_read_input_tokens": 5}),
        event("message_delta", delta={}, usage={"output_tokens": 7}),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn"},
            usage={
                "input_tokens": 12,
                "cache_read_input_tokens": 5,
                "cache_creation_input_tokens": 4,
                "output_tokens": 9,
                "output_tokens_details": {"thinking_tokens": 3},
                "server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0},
            },
        ),
    )
    assert scanner.usage == Usage(
        prompt_tokens=21,
        completion_tokens=9,
        cached_tokens=5,
        cache_write_tokens=4,
        reasoning_tokens=3,
        extra={"server_tool_use": {"web_search_requests": 1, "web_fetch_requests": 0}},
    )


def test_zeros_at_the_end_do_not_wipe_out_the_prompt() -> None:
    scanner = scan(
        start(usage={"input_tokens": 10, "output_tokens": 0}),
        event("message_delta", delta={}, usage={"input_tokens": 0, "output_tokens": 4}),
    )
    assert scanner.usage is not None and (scanner.usage.prompt_tokens, scanner.usage.completion_tokens) == (10, 4)


def test_prompt_unknown_at_the_start_is_taken_from_the_end() -> None:
    scanner = scan(
        start(usage={"input_tokens": 0, "output_tokens": 0}),
        event("message_delta", delta={}, usage={"input_tokens": 33, "output_tokens": 4}),
    )
    assert scanner.usage is not None and scanner.usage.prompt_tokens == 33


def test_cache_writes_of_an_hour_are_told_apart() -> None:
    creation = {"ephemeral_5m_input_tokens": 3, "ephemeral_1h_input_tokens": 4}
    usage = {"input_tokens": 1, "output_tokens": 0, "cache_creation_input_tokens": 7, "cache_creation": creation}
    seen = scan(start(usage=usage)).usage
    assert seen is not None and (seen.cache_write_tokens, seen.cache_write_1h_tokens) == (7, 4)


def test_error_event_is_the_streams_own_error() -> None:
    scanner = scan(start(), event("error", error={"type": "overloaded_error", "message": "Overloaded"}))
    assert scanner.error is not None
    assert (scanner.error.kind, scanner.error.status, scanner.error.code) == ("error_event", 503, "overloaded")
    assert not scanner.finished


@pytest.mark.parametrize(
    "odd",
    [
        b"",
        b"\n\n",
        b"data: [DONE]\n\n",
        b"data: not json\n\n",
        b"event: message_start\ndata: []\n\n",
        b'event: message_delta\ndata: {"type":"message_delta","delta":7,"usage":[1]}\n\n',
        b'event: message_start\ndata: {"type":"message_start","message":"x"}\n\n',
        b'event: x\ndata: {"type":{"a":1}}\n\n',
        b'event: error\ndata: {"type":"error"}\n\n',
        b'event: x\ndata: {"type":"message_start","message":{"usage":{"input_tokens":"7","output_tokens":-1}}}\n\n',
        b"data: " + b"[" * 3000 + b"\n\n",
        b"data: \xff\xfe\n\n",
    ],
)
def test_odd_events_never_raise(odd: bytes) -> None:
    scanner = scan(odd, odd)
    assert not scanner.terminated


def test_count_tokens_answer_has_no_usage() -> None:
    assert DIALECT.usage(b'{"input_tokens": 14}') is None


def test_plain_usage_counts_the_cache_as_prompt() -> None:
    body = b'{"type":"message","content":[],"usage":{"input_tokens":2,"cache_read_input_tokens":3,"output_tokens":1}}'
    seen = DIALECT.usage(body)
    assert seen is not None and (seen.prompt_tokens, seen.cached_tokens, seen.completion_tokens) == (5, 3, 1)


@pytest.mark.parametrize("body", [b"", b"<html></html>", b"[]", b"null", b'"x"', b'{"usage":', b"\xff"])
def test_answers_that_are_no_json_object_are_bad_responses(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.usage(body)
    assert (caught.value.kind, caught.value.status) == ("bad_response", 502)


@pytest.mark.parametrize(
    "body",
    [
        b'{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}',
        b'{"error":{"type":"rate_limit_error","message":"slow down"}}',
    ],
)
def test_an_error_under_a_200_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamError) as caught:
        DIALECT.usage(body)
    assert (caught.value.kind, caught.value.status, caught.value.message) == ("error_event", 429, "slow down")


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (BadRequest("b"), 400, "invalid_request_error"),
        (Unauthenticated("u"), 401, "authentication_error"),
        (QuotaSpent("q"), 402, "billing_error"),
        (MethodNotAllowed("m"), 405, "invalid_request_error"),
        (TooLarge("t"), 413, "request_too_large"),
        (RateLimited("r"), 429, "rate_limit_error"),
        (InternalError("i"), 500, "api_error"),
        (Unavailable("o"), 529, "overloaded_error"),
        (UpstreamError("timeout", "late"), 504, "timeout_error"),
        (UpstreamError("connect", "refused"), 502, "api_error"),
    ],
)
def test_errors_are_rendered_as_the_contract_says(error: Any, status: int, kind: str) -> None:
    got, body = DIALECT.render_error(error, "req_1")
    wire = json.loads(body)
    assert (got, wire) == (
        status,
        {"type": "error", "error": {"type": kind, "message": error.message}, "request_id": "req_1"},
    )


def test_refused_gateway_credential_does_not_look_like_the_clients() -> None:
    body = b'{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}'
    error = DIALECT.parse_error(401, {}, body)
    error.provider = "anthropic"
    status, rendered = DIALECT.render_error(error, "r")
    assert status == 502
    assert json.loads(rendered)["error"]["type"] == "api_error"
    assert json.loads(rendered)["error"]["provider"] == "anthropic"


@pytest.mark.parametrize(
    "body", [b"", b"<html>Bad</html>", b"[1]", b'{"error":5}', b'{"error":{"message":{"a":1}}}', b"\xff\x00"]
)
@pytest.mark.parametrize("status", [400, 401, 404, 418, 429, 500, 529])
def test_any_error_body_gives_an_error_with_text(status: int, body: bytes) -> None:
    error = DIALECT.parse_error(status, {"Retry-After": "7"}, body)
    assert error.message and error.upstream_status == status and error.retry_after_s == 7.0


def test_error_event_is_an_sse_event_named_error() -> None:
    raw = DIALECT.render_error_event(UpstreamError("truncated", "cut"), "req_9")
    name, data = raw.decode().rstrip("\n").split("\n")
    assert name == "event: error" and raw.endswith(b"\n\n")
    assert json.loads(data.removeprefix("data: "))["request_id"] == "req_9"
