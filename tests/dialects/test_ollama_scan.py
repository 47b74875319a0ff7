"""What a verbatim NDJSON stream tells without being changed, and what the ollama package makes of a keep-alive."""

from __future__ import annotations

import json

import pytest

from gateway.chat import Usage
from gateway.dialects.ollama_chat import OllamaChat
from gateway.dialects.ollama_chat.scan import OllamaScanner
from gateway.dialects.ollama_generate import OllamaGenerate
from gateway.errors import NotFound, Unavailable, UpstreamError

DIALECT = OllamaChat()


def scan(*lines: object) -> OllamaScanner:
    scanner = OllamaScanner()
    for item in lines:
        scanner.see(item if isinstance(item, bytes) else json.dumps(item).encode() + b"\n")
    return scanner


EMPTY = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": False}
DONE = {"model": "m", "message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop"}


def test_an_empty_line_of_the_answer_is_preamble() -> None:
    assert not scan(EMPTY, {"model": "m", "response": "", "done": False}).content


@pytest.mark.parametrize(
    "line",
    [
        {"message": {"role": "assistant", "content": "a"}, "done": False},
        {"message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
        {"message": {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}},
        {"response": "a", "done": False},
        {"response": "", "thinking": "hm", "done": False},
        DONE,
    ],
)
def test_first_content_commits(line: object) -> None:
    assert scan(EMPTY, line).content


def test_the_done_line_is_finish_and_terminator_and_carries_the_usage() -> None:
    scanner = scan(
        {"message": {"content": "tr"}, "done": False},
        {"message": {"content": '"done":true'}, "done": False},
        {"message": {"content": '{"error"'}, "done": False},
        DONE | {"prompt_eval_count": 11, "eval_count": 4, "total_duration": 99},
    )
    assert scanner.finished and scanner.terminated and scanner.error is None and scanner.terminator == b""
    assert scanner.usage == Usage(prompt_tokens=11, completion_tokens=4, extra={"total_duration": 99})


def test_text_that_speaks_of_done_is_not_the_end() -> None:
    assert not scan({"message": {"content": '"done":true'}, "done": False}, {"response": "true"}).finished


def test_a_prompt_wholly_cached_counts_zero_and_estimated() -> None:
    seen = scan(DONE | {"eval_count": 4}).usage
    assert seen is not None and seen.prompt_tokens == 0 and seen.estimated


def test_an_error_line_under_a_200_is_the_streams_error() -> None:
    scanner = scan({"message": {"content": "a"}}, {"error": "model runner has unexpectedly stopped"})
    assert scanner.error is not None and scanner.error.kind == "error_event" and not scanner.finished


@pytest.mark.parametrize(
    "odd", [b"", b"\n", b" \n", b"[]\n", b"{\n", b"null\n", b"\xff\n", b'{"message":7,"done":"true"}\n']
)
def test_odd_lines_never_raise(odd: bytes) -> None:
    assert not scan(odd, odd).finished


def test_plain_usage_and_errors_under_a_200() -> None:
    assert DIALECT.usage(b'{"done":true,"prompt_eval_count":3,"eval_count":2}') == Usage(
        prompt_tokens=3, completion_tokens=2
    )
    assert DIALECT.usage(b'{"models":[]}') is None
    with pytest.raises(UpstreamError, match="boom"):
        DIALECT.usage(b'{"error":"boom"}')
    with pytest.raises(UpstreamError) as caught:
        DIALECT.usage(b"<html>")
    assert caught.value.kind == "bad_response"


def test_a_missing_model_keeps_its_status_and_words() -> None:
    error = DIALECT.parse_error(404, {}, b'{"error":"model \'llama9\' not found"}')
    assert (error.status, error.code, error.message) == (404, "model_not_found", "model 'llama9' not found")


@pytest.mark.parametrize("body", [b"", b"no", b"[1]", b'{"error":{"message":{"a":1}}}', b'{"error":null}', b"\xff\x00"])
def test_any_error_body_gives_an_error_with_text(body: bytes) -> None:
    assert DIALECT.parse_error(500, {}, body).message


def test_errors_are_text() -> None:
    assert DIALECT.render_error(NotFound("no such path"), "r") == (404, b'{"error":"no such path"}')
    assert DIALECT.render_error_event(Unavailable("busy"), "r") == b'{"error":"busy"}\n'
    assert OllamaGenerate().render_error(Unavailable("busy"), "r") == (503, b'{"error":"busy"}')


def test_keep_alive_is_white_space_before_the_next_line() -> None:
    line = DIALECT.keep_alive * 3 + b'{"done":false}\n'
    assert line.count(b"\n") == 1 and json.loads(line) == {"done": False}
