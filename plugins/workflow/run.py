"""One request's way through a workflow: it asks models as the caller would, and adds up what that used."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from msgspec.structs import replace

from gateway.plugin import (
    ChatReply,
    ChatRequest,
    Child,
    Children,
    Clock,
    Event,
    Exchange,
    GatewayError,
    Log,
    Message,
    OutputFormat,
    Start,
    Stop,
    TextDelta,
    ToolCallDelta,
    UpstreamError,
    Usage,
)  # fmt: skip

from .gates import Unfit
from .prompts import is_refusal, words_of
from .steps import Step

DROPPED = "x-gateway-dropped"
CARRIED = (
    "max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "frequency_penalty",
    "presence_penalty", "output", "thinking", "user",
)  # fmt: skip
"""What the client sent that holds for the words it gets, where the step that writes them says nothing itself."""


class Run:
    """`name` is the workflow's; `thread` what its checkpoints are kept under, "" when none are; `forget` lets go of
    them, None while there are none."""

    def __init__(
        self, name: str, exchange: Exchange, children: Children, clock: Clock, log: Log, *, thread: str = ""
    ) -> None:
        self.name, self.exchange, self.thread = name, exchange, thread
        self.log = log
        self.forget: Callable[..., Awaitable[None]] | None = None
        self._children, self._clock = children, clock
        self.conversation = tuple(map(neutral, exchange.chat.messages))
        self._tell(left_out(exchange.chat))

    def start(self) -> Start:
        """Return the head of the answer."""
        return Start("", self.exchange.request.model, int(self._clock.time()))

    @property
    def usage(self) -> Usage:
        """What the steps of this request used; one that was done before an interruption is not among them."""
        return self.exchange.usage or Usage(estimated=True)

    # --- asking ------------------------------------------------------------------------------------

    async def ask(self, step: Step, messages: Sequence[Message]) -> str:
        """Return what `step` says, held to what its output must be. Raises: GatewayError naming the step."""
        return self._held(step, await self.reply(step, self._chat(step, messages)))

    async def reply(self, step: Step, chat: ChatRequest) -> ChatReply:
        """Return the whole answer to `chat`. Raises: GatewayError naming the step."""
        with _naming(step):
            async with self._child(step, chat) as child:
                return await child.reply()

    async def answer(self, step: Step, messages: Sequence[Message]) -> AsyncGenerator[Event, None]:
        """Yield the answer's events as `step`, the last, says them; whole at once where they have to be held to
        something.

        Raises: GatewayError naming the step.
        """
        yield self.start()
        if step.output is not None:
            yield TextDelta(await self.ask(step, messages))
            yield self.usage
            yield Stop("stop")
            return
        chat = self._last(step, messages)
        with _naming(step):
            stop = Stop("stop")
            async with self._child(step, chat) as child:
                async for event in child.events():
                    if isinstance(event, Stop):
                        stop = event
                    elif isinstance(event, Start):
                        self._tell_of(child)  # the answer's head has not gone out yet
                    elif not isinstance(event, Usage | ToolCallDelta):
                        yield event
        yield self.usage
        yield stop

    @asynccontextmanager
    async def _child(self, step: Step, chat: ChatRequest) -> AsyncIterator[Child]:
        async with self._children.child(self.exchange, chat, step=step.name, timeout_s=step.timeout_s) as child:
            yield child
            self._tell_of(child)

    def _tell_of(self, child: Child) -> None:
        dropped = child.exchange.headers.get(DROPPED)
        if dropped:
            self._tell(dropped.split(", "))

    def _tell(self, dropped: Iterable[str]) -> None:
        """Say in the answer's head what was left out of the request."""
        headers = self.exchange.headers
        known = headers[DROPPED].split(", ") if DROPPED in headers else []
        if names := list(dict.fromkeys([*known, *dropped])):
            headers[DROPPED] = ", ".join(names)

    def _chat(self, step: Step, messages: Sequence[Message], **more: Any) -> ChatRequest:
        output = None
        if step.output is not None:
            output = OutputFormat(
                kind="json_schema", name=step.name, schema=step.output.schema, strict=step.output.strict
            )
        given = {"output": output, "temperature": step.temperature, "max_tokens": step.max_tokens}
        return ChatRequest(
            # Whatever the client speaks: a step is the same question for all of them.
            dialect="openai_chat",
            model=step.model,
            messages=tuple(messages),
            **{**more, **{name: value for name, value in given.items() if value is not None}},
        )

    def _last(self, step: Step, messages: Sequence[Message]) -> ChatRequest:
        asked, stream = self.exchange.chat, self.exchange.request.stream
        return self._chat(step, messages, stream=stream, **{name: getattr(asked, name) for name in CARRIED})

    # --- what came of it ---------------------------------------------------------------------------

    def _held(self, step: Step, reply: ChatReply) -> str:
        words = words_of(reply)
        try:
            if is_refusal(reply):
                raise Unfit("", "the model refused")
            if step.output is not None:
                return step.output.read(words)
            if not words.strip():
                raise Unfit("", "the model said nothing")
        except Unfit as unfit:
            cut = f" (its answer was cut at {step.max_tokens or 'the most'} tokens)" if reply.stop == "length" else ""
            if not step.lenient:
                raise gate_failed(step.name, unfit, cut) from unfit
            self.warn("workflow_gate_failed", step=step.name, field=unfit.field, problem=unfit.problem + cut)
        else:
            if reply.stop == "length":
                self.warn("workflow_step_cut", step=step.name, max_tokens=step.max_tokens)
        return words

    def warn(self, event: str, **facts: Any) -> None:
        """Log what the client is not told."""
        self.log.warning(event, request_id=self.exchange.id, workflow=self.name, **facts)


def neutral(message: Message) -> Message:
    """Return a message without what only the client's own dialect knows."""
    parts = tuple(replace(part, extra={}) if getattr(part, "extra", None) else part for part in message.parts)
    return message if parts == message.parts and not message.extra else replace(message, parts=parts, extra={})


def left_out(asked: ChatRequest) -> Iterator[str]:
    """Yield what of the client's request no step is told."""
    named = {"metadata": asked.metadata, "service_tier": asked.service_tier}
    yield from (name for name, value in {**named, **asked.extra}.items() if asks_for_something(name, value))
    yield from asked.unread


def asks_for_something(name: str, value: Any) -> bool:
    """Return whether leaving this field out changes anything; names that begin with `@` are a dialect's own notes."""
    return value not in (None, False, [], {}) and not name.startswith("@")


def gate_failed(step: str, unfit: Unfit, more: str = "") -> UpstreamError:
    """Return the 502 that says which step's output was stopped, and why."""
    error = UpstreamError("bad_response", f'step "{step}" was stopped: {unfit}{more}', code="gate_failed")
    error.headers = {"x-should-retry": "false"}  # SDKs repeat a 502 by themselves, and would pay for every step again
    return error


@contextmanager
def _naming(step: Step) -> Iterator[None]:
    """Say in an error which step met it. The upstream's own body goes: the client asked a workflow, not that model."""
    try:
        yield
    except GatewayError as error:
        error.message = f'step "{step.name}": {error.message}'
        error.args = (error.message,)
        error.param = None
        if isinstance(error, UpstreamError):
            error.body = None
        raise
