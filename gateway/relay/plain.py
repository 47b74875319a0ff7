"""A plain answer seen as a short stream, so that a policy is written once for both."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable

from msgspec.structs import replace

from gateway.chain import Chain
from gateway.chat import ChatReply, Event
from gateway.exchange import LONG_BYTES, Attempt
from gateway.fold import events_of, fold
from gateway.relay.estimated import counted_reply


async def rewrite(chain: Chain, attempt: Attempt, reply: ChatReply) -> ChatReply:
    """Return `reply` passed through every transform, shown to every observer. Raises: what a transform raises.

    Without a transform it is returned as it came: taking it apart only to fold it again costs more than to read it.
    """
    exchange = attempt.exchange
    if reply.usage is None:
        long = len(exchange.request.body) > LONG_BYTES
        usage = await asyncio.to_thread(counted_reply, exchange, reply) if long else counted_reply(exchange, reply)
        reply = replace(reply, usage=usage)
        exchange.headers["x-gateway-estimated"] = "true"
    if not exchange.transforms and not chain.transformers:
        if exchange.observers or chain.observers:
            watch(chain, attempt, reply)
        return reply
    show = chain.watcher(exchange)
    out: list[Event] = []
    async for event in chain.transformed(exchange, _aiter(events_of(reply))):
        if show is not None:
            show(event)
        out.append(event)
    return fold(reply, out)


def watch(chain: Chain, attempt: Attempt, reply: ChatReply) -> None:
    """Show `reply` to every observer."""
    show = chain.watcher(attempt.exchange)
    if show is not None:
        for event in events_of(reply):
            show(event)


async def _aiter(events: Iterable[Event]) -> AsyncIterator[Event]:
    for event in events:
        yield event
