"""Anthropic's error object, read and written: `{"type":"error","error":{"type","message"},"request_id"}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.dialects.errors import ANTHROPIC_TYPES, TABLE, anthropic_status_and_type, upstream_error, words_of
from gateway.dialects.json import decode_any, encode
from gateway.dialects.sse import sse
from gateway.errors import GatewayError, UpstreamError, UpstreamKind

_UPSTREAM_FAULTS = frozenset(("api_error", "overloaded_error", "timeout_error"))


def error_of(
    kind: UpstreamKind,
    error: object,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> UpstreamError:
    """Return what an `error` member means, whatever it is: an object as specified, text, or something else."""
    message, error_type, code = "", None, None
    if isinstance(error, dict):
        error_type = error.get("type")
        code = error.get("code")
        # Compatible servers put the text elsewhere; its absence leaves the status to speak.
        text = error.get("message") or error.get("detail") or ""
        message = text if isinstance(text, str) else encode(text).decode()
    elif isinstance(error, str):
        message = error
    error_type = error_type if isinstance(error_type, str) else None
    return upstream_error(kind, status, message, headers=headers, error_type=error_type, code=code, body=body)


def parse_stream_error(error: msgspec.Raw) -> UpstreamError:
    """Return the meaning of a stream's `error` member. Never raises."""
    try:
        return error_of("error_event", decode_any(error))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return error_of("error_event", None)


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """Return an upstream's refusal; a body that is not Anthropic's error object is read as text. Never raises."""
    error: object
    try:
        value = decode_any(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        error = body[:16384].decode("utf-8", "replace")
    else:
        error = value
        if isinstance(value, dict):
            error = value.get("error") or value
    return error_of("status", error, status, headers, body)


def error_object(error: GatewayError, request_id: str) -> tuple[int, dict[str, Any]]:
    """Return the HTTP status and the error object."""
    status, error_type = anthropic_status_and_type(error)
    words = words_of(error.status)
    # The upstream's own type stays unless it speaks of something else than the status does: a refused
    # credential of the gateway's is a 502 here and must not look like the client's.
    # OpenAI says `invalid_request_error` for a missing model too, where Anthropic has a narrower word.
    fits = (error_type in _UPSTREAM_FAULTS) == (error.status >= 500) and error_type != "invalid_request_error"
    if error.code == "insufficient_quota" and error.status < 500:
        error_type = "billing_error"  # E402: OpenAI answers 429 where money has run out
    elif error.status not in TABLE or error_type not in ANTHROPIC_TYPES or not fits:
        error_type = words.anthropic
    inner: dict[str, Any] = {"type": error_type, "message": error.message}
    if error.provider is not None:
        inner["provider"] = error.provider
    return status, {"type": "error", "error": inner, "request_id": request_id}


def render_error(error: GatewayError, request_id: str) -> tuple[int, bytes]:
    """Return the status and body for a client; overload is 529, which Anthropic's clients key on."""
    status, wire = error_object(error, request_id)
    return status, encode(wire)


def render_error_event(error: GatewayError, request_id: str) -> bytes:
    """Return the `error` event that ends a stream without message_stop."""
    return sse(encode(error_object(error, request_id)[1]), "error")
