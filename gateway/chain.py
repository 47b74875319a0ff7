"""3 decide: the plugin onion, compiled once per route.

Which hooks a plugin overrides is found here, once; a plugin that overrides none of a hook costs that hook nothing.
The chain goes down in the file's order and back up in reverse.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from types import CodeType, FrameType, TracebackType
from typing import Any

from gateway.chat import Event
from gateway.errors import GatewayError, InternalError
from gateway.exchange import Attempt, ClientRequest, Exchange, Principal, Reply
from gateway.plugin import Log, Plugin

Handle = Callable[[Exchange], Awaitable[Reply]]
Try = Callable[[Attempt], Awaitable[Reply]]
HOOKS = ("identify", "handle", "attempt", "observe", "transform", "complete", "finish")
INSIDE = ("gateway.attempts", "gateway.relay", "gateway.server", "gateway.upstream")
"""Who works inside the innermost hook, or around the outermost."""


def overrides(plugin: Plugin, hook: str) -> bool:
    """Return whether `plugin`'s class has its own `hook`."""
    return getattr(type(plugin), hook) is not getattr(Plugin, hook)


class Chain:
    """The plugins of one route (or of the global chain), hooks already picked out."""

    def __init__(self, plugins: Sequence[Plugin], log: Log) -> None:
        self.plugins = tuple(plugins)
        self.log = log
        having = {hook: [plugin for plugin in plugins if overrides(plugin, hook)] for hook in HOOKS}
        self._handle = [plugin.handle for plugin in reversed(having["handle"])]
        self.handled = [plugin.name for plugin in having["handle"]]
        self._attempt = [plugin.attempt for plugin in reversed(having["attempt"])]
        self.identifiers = [plugin.identify for plugin in having["identify"]]
        self.observers = [(plugin.name, plugin.observe) for plugin in having["observe"]]
        self.transformers = [plugin.transform for plugin in reversed(having["transform"])]
        self.completers = [plugin.complete for plugin in having["complete"]]
        self.finishers = [(plugin.name, plugin.finish) for plugin in having["finish"]]
        self.needs_usage = any(plugin.needs_usage for plugin in plugins)
        self._names: dict[CodeType, str] = {}
        self._files: dict[str, str] = {}
        for hook, owners in having.items():
            for plugin in owners:
                code = getattr(type(plugin), hook).__code__
                self._names[code] = self._files[code.co_filename] = plugin.name

    def around(self, innermost: Handle, now: Callable[[], float] | None = None) -> Handle:
        """Return `innermost` wrapped in every `handle` of the chain. With a clock, `exchange.marks` gets the times at
        which each began: those of `handled`, outermost first, then `innermost`."""
        step = innermost
        at = len(self._handle)
        if now is not None and at:
            step = _marked(innermost, at, now)
        for handle in self._handle:
            at -= 1
            step = _bind(handle, step) if now is None else _timed(handle, step, at, now)
        return step

    def around_attempt(self, innermost: Try) -> Try:
        """Return `innermost` wrapped in every `attempt` of the chain."""
        step = innermost
        for attempt in self._attempt:
            step = _bind(attempt, step)
        return step

    async def identify(self, request: ClientRequest) -> Principal | None:
        """Return the first principal a plugin names. Raises: GatewayError, what a plugin refuses with."""
        for identify in self.identifiers:
            found = identify(request)
            principal = found if found is None or isinstance(found, Principal) else await found
            if principal is not None:
                return principal
        return None

    def transformed(self, exchange: Exchange, events: AsyncIterator[Event]) -> AsyncIterator[Event]:
        """Return `events` passed through every transform, innermost plugin first, the exchange's own before them."""
        for own in reversed(exchange.transforms):
            events = own(exchange, events)
        for transform in self.transformers:
            events = transform(exchange, events)
        return events

    def watcher(self, exchange: Exchange) -> Callable[[Event], None] | None:
        """Return one function that shows an event to every observer, None when there is none.

        What an observer raises is logged and passed over: who only watches may not break an answer.
        """
        watchers = [*((None, own) for own in exchange.observers), *self.observers]
        if not watchers:
            return None

        def show(event: Event) -> None:
            for name, watch in watchers:
                try:
                    watch(exchange, event)
                except Exception as error:  # a plugin's; see above
                    self.log.error(
                        "plugin_observe_failed",
                        request_id=exchange.id,
                        plugin=name or self.blame(error),
                        error=f"{type(error).__name__}: {error}",
                    )

        return show

    async def complete(self, exchange: Exchange) -> None:
        """Run every `complete`, innermost first."""
        for complete in reversed(self.completers):
            await complete(exchange)

    def blame(self, error: BaseException) -> str | None:
        """Return the name of the plugin in whose hook `error` was raised, None when in no plugin's.

        Read off the traceback, so that naming the culprit costs a request that succeeds nothing. What the gateway
        itself raised further in only passed through the hook.
        """
        name = None
        for frame in _frames(error.__traceback__):
            inside = str(frame.f_globals.get("__name__")).startswith(INSIDE)
            known = self._names.get(frame.f_code) or self._files.get(frame.f_code.co_filename)
            name = None if inside else known or name
        return name


def as_gateway_error(error: BaseException) -> GatewayError:
    """Return `error` itself when the client may see it, else an InternalError that says nothing of its cause."""
    return error if isinstance(error, GatewayError) else InternalError("the gateway failed to handle this request")


def _bind(hook: Callable[[Any, Any], Awaitable[Reply]], call_next: Any) -> Any:
    def step(subject: Any) -> Awaitable[Reply]:
        return hook(subject, call_next)

    return step


def _timed(
    hook: Callable[[Any, Any], Awaitable[Reply]], call_next: Any, at: int, now: Callable[[], float]
) -> Callable[[Exchange], Awaitable[Reply]]:
    """As `_bind`, for the step that is number `at`. Called again, for a second answer, it notes nothing."""

    def first(exchange: Exchange) -> Awaitable[Reply]:
        if exchange.marks is None:
            exchange.marks = [now()]
        return hook(exchange, call_next)

    def step(exchange: Exchange) -> Awaitable[Reply]:
        marks = exchange.marks
        if marks is not None and len(marks) == at:
            marks.append(now())
        return hook(exchange, call_next)

    return step if at else first


def _marked(step: Handle, at: int, now: Callable[[], float]) -> Handle:
    def marked(exchange: Exchange) -> Awaitable[Reply]:
        marks = exchange.marks
        if marks is not None and len(marks) == at:
            marks.append(now())
        return step(exchange)

    return marked


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next
