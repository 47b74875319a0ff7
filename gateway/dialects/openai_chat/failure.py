"""OpenAI's errors: the object that chat, Responses and every other OpenAI path share, read and written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.dialects.errors import openai_type, upstream_error
from gateway.dialects.json import decode_any, encode
from gateway.dialects.sse import sse
from gateway.errors import GatewayError, UpstreamError, UpstreamKind

_WORTH_READING_BYTES = 256 * 1024


def parse_error(status: int, headers: Mapping[str, str], body: bytes) -> UpstreamError:
    """Return what an upstream's refusal means, whatever its body is: OpenAI's object, a relative's, text, HTML."""
    try:
        value = decode_any(body[:_WORTH_READING_BYTES])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = body[:_WORTH_READING_BYTES].decode("utf-8", "replace")
    return error_from(value, "status", status, headers, body)


def error_in(value: Mapping[str, Any], name: str = "") -> UpstreamError | None:
    """Return the error that an object under a 200, or an event called `name`, stands for; None for an answer."""
    if value.get("error") or name == "error" or value.get("object") == "error" or value.get("type") == "error":
        return error_from(value, "error_event")
    return None


def error_from(
    value: Any,
    kind: UpstreamKind,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> UpstreamError:
    """Return the error a decoded body states, in OpenAI's form or a relative's: `{"error": "…"}`, `{"detail": …}`."""
    if isinstance(value, list) and value:  # Gemini answers with a list of one
        value = value[0]
    found: Any = value
    if isinstance(value, dict):
        found = value.get("error") or value
        if isinstance(found, str):
            found = {**value, "message": found}
    fields: Mapping[str, Any] = found if isinstance(found, dict) else {}
    message = fields.get("message") or fields.get("detail") or fields.get("error")
    if isinstance(message, list) and message and isinstance(message[0], dict):  # FastAPI's validation errors
        message = f"{'.'.join(str(part) for part in message[0].get('loc') or ())}: {message[0].get('msg') or ''}"
    if not isinstance(message, str):
        message = found if isinstance(found, str) else ""
    error_type = fields.get("type")
    return upstream_error(
        kind,
        status,
        message,
        headers=headers,
        error_type=error_type if isinstance(error_type, str) else None,
        code=fields.get("code"),
        param=fields.get("param"),
        body=body,
    )


def error_object(error: GatewayError) -> dict[str, Any]:
    """Return the members of OpenAI's error object."""
    members = {"message": error.message, "type": openai_type(error), "param": error.param, "code": error.code}
    if error.provider:
        members["provider"] = error.provider
    return members


def render_error(error: GatewayError) -> tuple[int, bytes]:
    """Return status and body."""
    return error.status, encode({"error": error_object(error)})


def render_error_event(error: GatewayError) -> bytes:
    """Return the event that ends a chat stream without `[DONE]`."""
    return sse(encode({"error": error_object(error)}))
