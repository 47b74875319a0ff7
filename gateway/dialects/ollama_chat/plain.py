"""A plain Ollama answer, read only as far as its usage."""

from __future__ import annotations

from typing import Any

from gateway.chat import Usage
from gateway.dialects.json import decode_answer
from gateway.dialects.ollama_chat.counts import parse_usage
from gateway.dialects.ollama_chat.failure import error_of


def answer_members(body: bytes) -> dict[str, Any]:
    """Return an answer's members. Raises: UpstreamError(bad_response | error_event)."""
    wire = decode_answer(body)
    if wire.get("error"):
        raise error_of("error_event", wire["error"])
    return wire


def usage(body: bytes) -> Usage | None:
    """Return a plain answer's usage, None when it has none. Raises: UpstreamError(bad_response | error_event)."""
    return parse_usage(answer_members(body))
