"""Usage for an answer whose upstream stated none (U09): counted here and marked, so that it is never taken for free.

The prompt is the bound that count_tokens gives; the answer is a token for every four bytes, as limits reserve them.
"""

from __future__ import annotations

from gateway.chat import (
    ChatReply,
    Event,
    Reasoning,
    ReasoningDelta,
    Refusal,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)  # fmt: skip
from gateway.dialects.estimate import input_tokens
from gateway.exchange import Exchange

BYTES_PER_TOKEN = 4


def said_bytes(said: Event | Text | Refusal | Reasoning | ToolCall) -> int:
    """Return how many bytes of an answer's words an event or a part holds."""
    match said:
        case TextDelta() | ReasoningDelta() | Text() | Refusal() | Reasoning():
            return _bytes(said.text)
        case ToolCallDelta() | ToolCall():
            return _bytes(said.name) + _bytes(said.arguments)
    return 0


def estimated_usage(exchange: Exchange, answer_bytes: int) -> Usage:
    """Return the estimate for an answer of so many bytes to this exchange's request."""
    return Usage(
        prompt_tokens=input_tokens(exchange.chat),
        completion_tokens=-(-answer_bytes // BYTES_PER_TOKEN),
        estimated=True,
    )


def counted_reply(exchange: Exchange, reply: ChatReply) -> Usage:
    """Return the estimate for a plain answer: the same as for the stream of it."""
    spoken = (part for part in reply.parts if isinstance(part, Text | Refusal | Reasoning | ToolCall))
    return estimated_usage(exchange, sum(map(said_bytes, spoken)))


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
