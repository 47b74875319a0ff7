"""Ollama's error, read and written: `{"error":"text"}`, as a body and as a line of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.dialects.errors import upstream_error
from gateway.dialects.json import decode_any, encode
from gateway.errors import GatewayError, UpstreamError, UpstreamKind


def error_of(
    kind: UpstreamKind,
    error: object,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> UpstreamError:
    """Return what an `error` member means: text as Ollama writes it, or an object as its cloud and others do."""
    message, error_type, code = "", None, None
    if isinstance(error, str):
        message = error
    elif isinstance(error, dict):
        text = error.get("message") or error.get("error") or ""
        message = text if isinstance(text, str) else encode(text).decode()
        error_type, code = error.get("type"), error.get("code")
    error_type = error_type if isinstance(error_type, str) else None
    return upstream_error(kind, status, message, headers=headers, error_type=error_type, code=code, body=body)


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """Return an upstream's refusal; a body that is not Ollama's error object is read as text. Never raises."""
    error: object
    try:
        value = decode_any(body)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        error = body[:16384].decode("utf-8", "replace")
    else:
        error = (value.get("error") or value) if isinstance(value, dict) else value
    return error_of("status", error, status, headers, body)


def render_error(error: GatewayError, request_id: str) -> tuple[int, bytes]:
    """Return the status and body for a client; `ollama` shows `error` as it stands, so it is text."""
    wire: dict[str, Any] = {"error": error.message}
    if error.provider is not None:
        wire["provider"] = error.provider
    return error.status, encode(wire)


def render_error_event(error: GatewayError, request_id: str) -> bytes:
    """Return the line that ends a stream without `done`: the ollama packages raise on its `error`."""
    return render_error(error, request_id)[1] + b"\n"
