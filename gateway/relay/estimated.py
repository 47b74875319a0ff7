"""Usage for an answer whose upstream stated none (U09): counted here and marked, so that it is never taken for free.

The prompt is the bound that count_tokens gives; the answer is a token for every four bytes, as limits reserve them.
"""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

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
from gateway.dialects.protocol import Dialect
from gateway.errors import GatewayError
from gateway.exchange import LONG_BYTES, Exchange

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
        prompt_tokens=prompt_tokens(exchange),
        completion_tokens=-(-answer_bytes // BYTES_PER_TOKEN),
        estimated=True,
    )


def used_so_far(stated: Usage | None, said_bytes: int, *, is_whole: bool) -> Usage | None:
    """Return what an answer used as far as it came: what its upstream stated goes before what was counted, but
    Anthropic states one token when it begins, and the rest at the end."""
    if stated is None or is_whole:
        return stated
    counted = -(-said_bytes // BYTES_PER_TOKEN)
    if counted <= stated.completion_tokens:
        return stated
    return replace(stated, completion_tokens=counted, estimated=True)


def counted_reply(exchange: Exchange, reply: ChatReply) -> Usage:
    """Return the estimate for a plain answer: the same as for the stream of it."""
    spoken = (part for part in reply.parts if isinstance(part, Text | Refusal | Reasoning | ToolCall))
    return estimated_usage(exchange, sum(map(said_bytes, spoken)))


async def counted_body(exchange: Exchange, dialect: Dialect, body: bytes) -> Usage | None:
    """Return the estimate for a plain answer that passes as it is, and tell the client; None when it is no chat's."""
    endpoint = exchange.request.endpoint
    if endpoint is None or not endpoint.is_chat:
        return None
    try:
        reply = dialect.parse_reply(body)
        long = len(exchange.request.body) > LONG_BYTES
        usage = await asyncio.to_thread(counted_reply, exchange, reply) if long else counted_reply(exchange, reply)
    except GatewayError:
        return None  # what only client and upstream understand
    exchange.headers["x-gateway-estimated"] = "true"
    return usage


def prompt_tokens(exchange: Exchange) -> int:
    """Return how many tokens the request is at most; of one that is no chat, a token for every four bytes."""
    endpoint = exchange.request.endpoint
    try:
        if endpoint is not None and endpoint.is_chat:
            return input_tokens(exchange.chat)
    except GatewayError:
        pass
    return -(-len(exchange.request.body) // BYTES_PER_TOKEN)


def _bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))
