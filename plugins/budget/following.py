"""Streams that outgrow what was reserved for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from gateway.plugin import Event, Exchange, ReasoningDelta, StateLost, TargetSkipped, TextDelta, ToolCallDelta

BYTES_PER_TOKEN = 4
RESERVED_TOKENS = 1000
"""What is reserved for an answer, unless the request allows less; a longer one reserves as much again as it grows."""


def follow(
    exchange: Exchange,
    most: int,
    bound: Callable[[int], int | None],
    reserve: Callable[[int], Awaitable[object]],
) -> None:
    """Reserve more as the answer of `exchange` grows; end it when nothing is left.

    `most` has been reserved; `bound` says what an answer of so many tokens may cost in all, `reserve` takes more: all
    in billionths of a dollar.
    """
    seen_bytes = 0
    reserved_tokens = RESERVED_TOKENS
    reserving: asyncio.Task[None] | None = None

    async def more() -> None:
        nonlocal most
        whole = bound(reserved_tokens) or most
        step, most = whole - most, whole
        try:
            await reserve(step)
        except TargetSkipped as spent:
            exchange.abort(spent.instead or spent)
        except StateLost as lost:
            exchange.abort(lost)

    def watch(_: Exchange, event: Event) -> None:
        nonlocal seen_bytes, reserved_tokens, reserving
        if isinstance(event, TextDelta | ReasoningDelta):
            seen_bytes += len(event.text.encode())
        elif isinstance(event, ToolCallDelta):
            seen_bytes += len(event.arguments.encode())
        if seen_bytes // BYTES_PER_TOKEN >= reserved_tokens and (reserving is None or reserving.done()):
            reserved_tokens += RESERVED_TOKENS
            reserving = asyncio.get_running_loop().create_task(more())

    exchange.observe(watch)
