"""Plugins that ask models, as an operator would write them, and what tests look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.plugin import Row
from gateway.testing import RunningGateway
from tests.accounting.endings import rows_of

ONCE = """
    from gateway.plugin import Plugin, answer, answer_events

    class Once(Plugin):
        '''Ask what the client asked, once: along the whole chain of its route, or with `inside` from here on.'''

        options_schema = {
            "type": "object",
            "additionalProperties": False,
            "properties": {"inside": {"type": "boolean", "default": False}},
        }

        async def handle(self, exchange, call_next):
            if exchange.route is None or exchange.parent is not None or not exchange.request.endpoint.is_chat:
                return await call_next(exchange)
            through = call_next if self.options["inside"] else None
            child = self.services.gateway.child(exchange, exchange.chat, step="once", through=through)
            now = self.services.clock.time()
            if exchange.request.stream:
                return await answer_events(exchange, self.events(child), now)
            async with child:
                reply = await child.reply()
            return answer(exchange, reply, now)

        async def events(self, opening):
            async with opening as child:
                async for event in child.events():
                    yield event
"""
"""For clients' own models: every request becomes a parent with one child."""

FLOW = """
    import asyncio
    from msgspec.structs import replace
    from gateway.plugin import ChatRequest, Plugin, Stop, Usage, answer_events

    class Flow(Plugin):
        '''Serve the model `flow`: every model of the header x-ask is asked, `+` at the same time, `,` one after the
        other; the last one's events are the answer, with the usage of all.'''

        models = ("flow",)

        async def handle(self, exchange, call_next):
            if exchange.route is None or exchange.route.name != "flow" or not exchange.request.endpoint.is_chat:
                return await call_next(exchange)
            return await answer_events(exchange, self.events(exchange), self.services.clock.time())

        def ask(self, exchange, model, stream):
            chat = ChatRequest(
                dialect="openai_chat", model=model, messages=exchange.chat.messages, stream=stream, max_tokens=50
            )
            timeout = exchange.request.headers.get("x-step-timeout")
            timeout_s = None if timeout is None else float(timeout)
            return self.services.gateway.child(exchange, chat, step="asks " + model, timeout_s=timeout_s)

        async def whole(self, exchange, model):
            async with self.ask(exchange, model, False) as child:
                return await child.reply()

        async def events(self, exchange):
            *steps, last = exchange.request.headers["x-ask"].split(",")
            for step in steps:
                await asyncio.gather(*(self.whole(exchange, model) for model in step.split("+")))
            async with self.ask(exchange, last, exchange.request.stream) as child:
                async for event in child.events():
                    if isinstance(event, Usage):
                        before = exchange.usage or Usage()
                        event = replace(
                            event,
                            prompt_tokens=event.prompt_tokens + before.prompt_tokens,
                            completion_tokens=event.completion_tokens + before.completion_tokens,
                        )
                    yield event
"""
"""A workflow in miniature."""

CHAT = "/v1/chat/completions"
ASKED = {"model": "flow", "messages": [{"role": "user", "content": "Say hello to the world."}]}


async def family(gateway: RunningGateway) -> tuple[Row, Sequence[Row]]:
    """Return the one parent's row, and its children's in the order in which they began."""
    rows = await rows_of(gateway)
    [parent] = [row for row in rows if row.parent_id is None]
    children = sorted((row for row in rows if row.parent_id is not None), key=lambda row: row.ts)
    assert {row.parent_id for row in children} <= {row.exchange_id for row in rows}
    return parent, children


def steps_of(row: Row) -> list[Any]:
    """Return what a row's tries say besides attempts."""
    return [each for each in row.tries if each.get("kind") == "step"]
