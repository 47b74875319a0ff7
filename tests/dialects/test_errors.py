"""What an upstream says of its failures is understood, and shown without keys, hosts and markup."""

from __future__ import annotations

import json

import pytest

from gateway.dialects.errors import clean, meaning_of, openai_type, redact_body, retry_after_s, upstream_error
from gateway.dialects.table import DIALECTS
from gateway.errors import BadRequest, GatewayError, NotFound, QuotaSpent, RateLimited, Unavailable, UpstreamError


@pytest.mark.parametrize(
    "secret",
    [
        "sk-proj-AbCdEf0123456789",
        "sk-ant-api03-abcdefgh",
        "gsk_abcdefgh12345678",
        "Bearer abc.def-123",
        "AIzaSyA1234567890abcdefg",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.sig_na-ture",
        "0123456789abcdef0123456789abcdef",
        "https://api.internal.example/v1/x?key=1",
        "10.20.30.40:8080",
        "llm-7.prod.internal:443",
        "localhost:11434",
        "[fe80::1]:8000",
    ],
)
def test_keys_and_hosts_never_reach_a_client(secret: str) -> None:
    shown = clean(f"request to {secret} failed")
    assert secret not in shown and shown.startswith("request to ") and shown.endswith("failed")
    body = redact_body(json.dumps({"error": {"message": f"at {secret}."}}).encode())
    assert secret.encode() not in body
    assert json.loads(body)["error"]["message"].startswith("at [")


@pytest.mark.parametrize(
    "text", ["messages.0.content is bad", "gpt-4.1 has no tools", "use basic settings", "array[1:2]"]
)
def test_ordinary_words_stay(text: str) -> None:
    assert clean(text) == text


def test_markup_control_characters_and_length_are_taken_out() -> None:
    page = "<!doctype html><html><head><title>secret</title></head><body><h1>502</h1>\x00\x1b[31m Bad\r\nGateway</body>"
    assert clean(page) == "502 [31m Bad Gateway"
    assert clean("x y " * 1000).endswith("…") and len(clean("x y " * 1000)) == 500
    assert clean("<html></html>", "the upstream answered 502") == "the upstream answered 502"


def test_cleaning_hostile_text_is_linear() -> None:
    for text in (
        "<" * 200_000,
        "a." * 200_000,
        "eyJ" * 100_000,
        "[:" * 100_000,
        "[" * 100_000,
        "A" * 300_000,
        "<script" * 50_000,
    ):
        clean(text)


@pytest.mark.parametrize(
    "text",
    [
        "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "the request exceeds the available context size. try increasing the context size or enable context shift",
        "Input is too long for requested model.",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "Please reduce the length of the messages or completion.",
    ],
)
def test_every_servers_words_for_a_full_context_mean_the_same(text: str) -> None:
    assert meaning_of(text) == "context_length_exceeded"
    error = upstream_error("status", 400, text)
    assert (error.status, error.code) == (400, "context_length_exceeded")


@pytest.mark.parametrize("text", ["tokens per minute limit reached", "invalid image", "unknown field max_tokens"])
def test_other_words_do_not_mean_a_full_context(text: str) -> None:
    assert meaning_of(text) is None


@pytest.mark.parametrize(
    ("upstream", "shown", "code"),
    [
        (400, 400, "invalid_request"),
        (401, 502, "upstream_error"),
        (402, 502, "upstream_error"),
        (403, 502, "upstream_error"),
        (404, 404, "model_not_found"),
        (405, 502, "upstream_error"),
        (409, 409, "conflict"),
        (413, 413, "request_too_large"),
        (422, 400, "invalid_request"),
        (429, 429, "rate_limit_exceeded"),
        (500, 502, "upstream_error"),
        (503, 503, "overloaded"),
        (504, 504, "timeout"),
        (529, 503, "overloaded"),
    ],
)
def test_an_upstreams_status_becomes_the_clients(upstream: int, shown: int, code: str) -> None:
    error = DIALECTS["openai_chat"].parse_error(upstream, {}, b"{}")
    assert (error.status, error.code, error.upstream_status, error.kind) == (shown, code, upstream, "status")


def test_the_wait_is_read_from_milliseconds_seconds_and_dates() -> None:
    assert retry_after_s({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after_s({"Retry-After": "7"}) == 7
    dates = {"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}
    assert retry_after_s(dates) == 30
    assert retry_after_s({"retry-after": "soon"}) is None and retry_after_s({}) is None
    assert retry_after_s({"retry-after": "-5"}) is None and retry_after_s({"retry-after": "inf"}) is None


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (BadRequest("x", param="messages"), "invalid_request_error", "invalid_request"),
        (QuotaSpent("x"), "insufficient_quota", "insufficient_quota"),
        (NotFound("x"), "invalid_request_error", "not_found"),
        (RateLimited("x"), "rate_limit_error", "rate_limit_exceeded"),
        (Unavailable("x", code="circuit_open"), "server_error", "circuit_open"),
        (UpstreamError("timeout", "x"), "timeout", "timeout"),
        (UpstreamError("bad_response", "x"), "server_error", "bad_upstream_response"),
    ],
)
def test_the_openai_error_object_is_the_contracts(error: GatewayError, kind: str, code: str) -> None:
    for name in ("openai_chat", "openai_responses"):
        status, body = DIALECTS[name].render_error(error, "req")
        wanted = {"message": "x", "type": kind, "param": error.param, "code": code}
        assert (status, json.loads(body)) == (error.status, {"error": wanted})


def test_a_refused_credential_names_the_provider_when_it_is_known() -> None:
    error = DIALECTS["openai_chat"].parse_error(401, {}, b'{"error":{"message":"bad key sk-12345678"}}')
    error.provider = "openai"
    _, body = DIALECTS["openai_chat"].render_error(error, "req")
    assert json.loads(body)["error"]["provider"] == "openai" and b"sk-" not in body


def test_the_upstreams_own_type_is_kept_only_where_openai_has_it() -> None:
    assert openai_type(upstream_error("status", 429, "x", error_type="tokens")) == "tokens"
    assert openai_type(upstream_error("status", 429, "x", error_type="TooManyRequests")) == "rate_limit_error"


@pytest.mark.parametrize(
    "body", [b"", b"\xff\xfe", b"[]", b"null", b'"text"', b'{"error":[1]}', b"[" * 5000, b"{" * 5000]
)
def test_any_body_of_a_failure_is_understood(body: bytes) -> None:
    for dialect in DIALECTS.values():
        error = dialect.parse_error(500, {}, body)
        assert error.status == 502 and error.message
