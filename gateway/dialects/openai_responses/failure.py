"""How a Responses stream fails: `response.failed`, and reading it and the bare `error` event."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.dialects.json import encode
from gateway.dialects.openai_chat.failure import error_from
from gateway.dialects.sse import sse
from gateway.errors import GatewayError, UpstreamError


def failed_event(error: GatewayError, response: Mapping[str, Any], sequence_number: int) -> bytes:
    """Return `response.failed`; `response` holds what is known of the response so far."""
    body = {
        "created_at": 0,
        "object": "response",
        "model": "",
        "output": [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "metadata": {},
        "instructions": None,
        "temperature": None,
        "top_p": None,
        **response,
        "status": "failed",
        "incomplete_details": None,
        "error": {"code": error.code, "message": error.message},
    }
    event = {"type": "response.failed", "sequence_number": sequence_number, "response": body}
    return sse(encode(event), "response.failed")


def event_error(event: Mapping[str, Any]) -> UpstreamError:
    """Return what a `response.failed` or an `error` event says; the latter has its words at the top or in `error`."""
    response = event.get("response")
    if isinstance(response, dict):
        return error_from({"error": response.get("error") or "the response failed"}, "error_event")
    return error_from(event, "error_event")
