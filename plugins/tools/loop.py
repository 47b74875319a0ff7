"""The server-side loop: the model asks for our tools, they run, it is asked again, until it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from gateway.plugin import (
    ChatReply,
    ChatRequest,
    Child,
    Event,
    Exchange,
    GatewayError,
    Message,
    Part,
    Reply,
    Services,
    Stop,
    Text,
    ToolCall,
    ToolResult,
    UpstreamError,
    Usage,
    answer,
    fold,
)  # fmt: skip

from .arguments import BadArguments, read
from .calls import Called, call, note
from .offer import Offer
from .shown import Shown, told

_EMPTY = ChatReply(id="", model="", created_s=0, parts=())


@dataclass(frozen=True, slots=True)
class Limits:
    """`rounds` in which tools run, `calls` that run in one, `parallel` at the same time."""

    rounds: int
    calls: int
    parallel: int


class Loop:
    """One request. Each round is a child exchange through what stands inside the plugin.

    A round with a call to one of the client's own tools is the answer: the client gets its calls, ours of that round
    are not run and not shown. So the client can answer all it sees, and the model may ask for ours again.
    """

    def __init__(
        self,
        exchange: Exchange,
        call_next: Callable[[Exchange], Awaitable[Reply]],
        services: Services,
        offered: Offer,
        limits: Limits,
    ) -> None:
        self._exchange, self._call_next, self._services = exchange, call_next, services
        self._offer, self._limits = offered, limits
        self._messages = offered.chat.messages
        self._round = 0
        self._ids: set[str] = set()
        self._used: Usage | None = None
        noted = exchange.notes.get("session")
        context = noted.get("context") if isinstance(noted, Mapping) else None
        self._context: Mapping[str, Any] = context if isinstance(context, Mapping) else {}

    # --- plain -------------------------------------------------------------------------------------

    async def whole(self) -> Reply:
        """Return the answer to a plain request. Raises: GatewayError."""
        shown = Shown(self._offer)
        parts: list[Part] = []
        while True:
            reply = await self._ask()
            self._used = added(self._used, reply.usage)
            parts = shown.parts(parts, reply.parts)
            if not await self._goes_on(reply):
                break
        stop, extra = self._stop(reply, shown)
        final = replace(reply, parts=tuple(parts), stop=stop, usage=self._used, extra=extra)
        return answer(self._exchange, final, self._services.clock.time())

    async def _ask(self) -> ChatReply:
        try:
            async with self._child(self._chat()) as child:
                return await child.reply()
        except GatewayError as error:
            if not self._is_refusal_of_calls(error):
                raise
        async with self._child(self._offer.forbidden(self._messages)) as child:
            return await child.reply()

    # --- streamed ----------------------------------------------------------------------------------

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield the answer's events as they come. Raises: GatewayError."""
        shown = Shown(self._offer)
        while True:
            seen: list[Event] = []
            async with aclosing(self._round_events()) as events:  # closed now, not when it is collected
                async for event in events:
                    seen.append(event)
                    if isinstance(event, Usage):
                        event = added(self._used, event) or event
                    for out in shown.events(event, is_first=self._round == 0):
                        yield out
            reply = fold(_EMPTY, seen)
            self._used = added(self._used, reply.usage)
            goes_on = await self._goes_on(reply)
            for out in shown.end(goes_on):
                yield out
            if not goes_on:
                break
        if self._used is not None:
            yield self._used
        last = next((event for event in reversed(seen) if isinstance(event, Stop)), Stop("stop"))
        stop, _ = self._stop(reply, shown)
        yield last if stop == last.reason else Stop(stop)

    async def _round_events(self) -> AsyncGenerator[Event, None]:
        is_silent = True
        try:
            async with self._child(self._chat()) as child:
                async for event in child.events():
                    is_silent = False
                    yield event
                return
        except GatewayError as error:
            if not is_silent or not self._is_refusal_of_calls(error):
                raise
        async with self._child(self._offer.forbidden(self._messages)) as child:
            async for event in child.events():
                yield event

    # --- both --------------------------------------------------------------------------------------

    @property
    def _is_last(self) -> bool:
        return self._round >= self._limits.rounds

    def _chat(self) -> ChatRequest:
        if self._is_last:
            return self._offer.withdrawn(self._messages)
        return self._offer.asked(self._messages, first=self._round == 0)

    def _child(self, chat: ChatRequest) -> AbstractAsyncContextManager[Child]:
        step = f"round {self._round + 1}"
        return self._services.gateway.child(self._exchange, chat, step=step, through=self._call_next)

    def _is_refusal_of_calls(self, error: GatewayError) -> bool:
        """Return whether a provider may have refused the last round for calls whose tools it was not told: some do
        (Bedrock among them, November 2026). It is then asked once more, with the tools told and forbidden."""
        return self._is_last and isinstance(error, UpstreamError) and error.status == 400

    async def _goes_on(self, reply: ChatReply) -> bool:
        """Run what the model asked for, and return whether it is to be asked again. Raises: UpstreamError."""
        calls = [part for part in reply.parts if isinstance(part, ToolCall)]
        ours = [each for each in calls if not self._offer.is_clients(each.name)]
        if not ours:
            return False
        if self._is_last or len(ours) < len(calls) or reply.stop in ("length", "refusal"):
            now = self._exchange.deadline.now()
            for each in ours:
                note(self._exchange, each.name if each.name in self._offer.tools else "unknown", "withheld", now)
            self._services.log.debug("tool_calls_withheld", request_id=self._exchange.id, calls=len(ours))
            return False
        # Some servers give calls no id, or one twice; results are told apart by nothing else.
        named: dict[int, str] = {}
        for at, each in enumerate(ours):
            fresh = each.id and each.id not in self._ids
            named[id(each)] = each.id if fresh else f"call_{self._round}_{at}"
            self._ids.add(named[id(each)])
        results = await self._run(ours)
        if not self._exchange.deadline.remaining():  # a round that nobody waits for would still be paid for
            raise UpstreamError("timeout", "the tools took all the time that the request had")
        said = tuple(replace(part, id=named[id(part)]) if isinstance(part, ToolCall) else part for part in reply.parts)
        self._messages = (
            *self._messages,
            Message(role="assistant", parts=said),
            *(_result(named[id(each)], each.name, called) for each, called in zip(ours, results, strict=True)),
        )
        self._round += 1
        return True

    async def _run(self, calls: Sequence[ToolCall]) -> list[Called]:
        """Return how each call ended, in their order; all are ended with the task that waits for them."""
        free = asyncio.Semaphore(self._limits.parallel)

        async def one(at: int, asked: ToolCall) -> Called:
            tool = self._offer.tools.get(asked.name)
            if tool is None or at >= self._limits.calls:
                note(self._exchange, "unknown" if tool is None else asked.name,
                     "unknown" if tool is None else "refused", self._exchange.deadline.now())  # fmt: skip
                if tool is not None:
                    return Called("refused", error=f"at most {self._limits.calls} calls run at once; ask again")
                return Called("unknown", error=f"no such tool; there are: {', '.join(self._offer.tools)}")
            try:
                given: dict[str, Any] | BadArguments = read(asked.arguments)
            except BadArguments as error:
                given = error
            async with free:
                return await call(self._exchange, tool, given, self._context, self._services.log)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(at, asked)) for at, asked in enumerate(calls)]
        return [task.result() for task in tasks]

    def _stop(self, reply: ChatReply, shown: Shown) -> tuple[Any, dict[str, Any]]:
        """Return how the answer ends for the client, and what its own dialect says of that.

        Raises: UpstreamError when the model wanted tools to the last and said nothing.
        """
        if reply.stop != "tool_calls" or shown.has_calls:
            return reply.stop, reply.extra
        if not shown.has_words:
            raise UpstreamError("bad_response", "the model went on asking for tools and gave no answer")
        return "stop", {}


def _result(call_id: str, name: str, called: Called) -> Message:
    text = told(called)
    part = ToolResult(call_id=call_id, name=name, parts=(Text(text=text),), is_error=called.result is None)
    return Message(role="tool", parts=(part,))


def added(before: Usage | None, more: Usage | None) -> Usage | None:
    """Return the tokens of all rounds so far."""
    if before is None or more is None:
        return more or before
    return Usage(
        prompt_tokens=before.prompt_tokens + more.prompt_tokens,
        completion_tokens=before.completion_tokens + more.completion_tokens,
        cached_tokens=before.cached_tokens + more.cached_tokens,
        cache_write_tokens=before.cache_write_tokens + more.cache_write_tokens,
        cache_write_1h_tokens=before.cache_write_1h_tokens + more.cache_write_1h_tokens,
        reasoning_tokens=before.reasoning_tokens + more.reasoning_tokens,
        estimated=before.estimated or more.estimated,
    )
