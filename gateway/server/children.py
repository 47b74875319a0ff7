"""Child exchanges: what plugins ask models on behalf of a request, in process.

A child is routed, tried and accounted for like a client's request, but answered in neutral words, to the plugin that
asked. It runs in that plugin's task, ends once, leaves its row, and never outlives its parent.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, TypeVar

from gateway.chain import Chain, as_gateway_error
from gateway.chat import ChatReply, ChatRequest, Event, Failure, Start, Stop
from gateway.dialects.endpoints import Endpoint
from gateway.dialects.table import DIALECTS
from gateway.errors import ClientLeft, GatewayError, InternalError, ModelNotFound, UpstreamError
from gateway.exchange import Deadline, Exchange, Reply
from gateway.fold import events_of, fold
from gateway.plugin import Clock
from gateway.runtime.allowed import is_configured, refuse_foreign
from gateway.runtime.asking import Asking, Through
from gateway.runtime.gateway import Gateway
from gateway.runtime.snapshot import Snapshot
from gateway.server import ending
from gateway.server.account import Accounts
from gateway.server.asked import Listed, answer_in, endpoint_of, request_for
from gateway.waited import tries_so_far
from gateway.work import Offspring, Origin

T = TypeVar("T")
DEEPEST: Final = 8
"""How many exchanges may stand above one another: a circle of models that ask for one another ends here."""
LATE_S: Final = 0.1
"""How long after its deadline a child is ended that has no head yet: what it waits for has the same deadline, and says
more."""
LETTING_GO_S: Final = 1.0
"""How long a plugin may take to let go of a child whose parent has ended."""
LAST_PATIENCE_S: Final = 0.2
"""How long a child that ends too late, or while the gateway stops, waits for prices."""
TOLD: Final = ("x-gateway-estimated",)
TOLD_INSIDE: Final = (*TOLD, "x-gateway-target", "x-gateway-dropped")
"""What the head of its parent's answer says of a child: of one on the parent's own route, where the answer is from."""


class ChildRoom:
    """Where the children of one process run."""

    def __init__(self, gateway: Gateway, accounts: Accounts, clock: Clock) -> None:
        self.gateway, self.accounts, self.clock = gateway, accounts, clock
        asking: Asking = gateway.lasting.get("asking", Asking)
        asking.open = self.open

    def open(
        self,
        snapshot: Snapshot,
        parent: Exchange,
        chat: ChatRequest,
        step: str,
        timeout_s: float | None,
        through: Through | None,
    ) -> RunningChild:
        """Return a child of `parent`, nothing asked yet. Raises: InternalError."""
        if parent.outcome is not None:
            raise InternalError("an exchange that has ended asks nothing any more")
        depth, above = 1, parent
        while (higher := above.parent) is not None:
            depth, above = depth + 1, higher
        if depth > DEEPEST:
            raise InternalError(f'the model "{chat.model[:200]}" asks itself: {DEEPEST} requests stand above this one')
        return RunningChild(self, snapshot, parent, chat, endpoint_of(chat), step, timeout_s, through)

    async def finish(self, exchange: Exchange, snapshot: Snapshot, leave: Callable[[], None]) -> None:
        """Account for a child that has ended, and tell every plugin."""
        gateway = self.gateway
        patience_s = LAST_PATIENCE_S  # for prices that are still being loaded: who asked has a deadline
        if gateway.phase == "serving":
            patience_s = max(patience_s, exchange.deadline.remaining())
        await ending.finish(exchange, snapshot, self.accounts, self.clock, gateway.log, leave, at_most_s=patience_s)


class RunningChild:
    """One child exchange; iterating over it are its events. See `plugin.Child`."""

    def __init__(
        self,
        room: ChildRoom,
        snapshot: Snapshot,
        parent: Exchange,
        chat: ChatRequest,
        endpoint: Endpoint,
        step: str,
        timeout_s: float | None,
        through: Through | None,
    ) -> None:
        self._room, self._snapshot, self._parent, self._through = room, snapshot, parent, through
        self._chat, self._endpoint, self._step, self._timeout_s = chat, endpoint, step, timeout_s
        self._is_asked = self._is_whole = self._is_complete = False
        self._source: AsyncIterator[Event] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.exchange: Exchange = parent

    # --- its block ---------------------------------------------------------------------------------

    async def __aenter__(self) -> RunningChild:
        parent = self._parent
        request = await request_for(self._parent, self._chat, self._endpoint)
        now, is_inside = parent.deadline.now(), self._through is not None
        if is_inside and self._timeout_s is None:
            # A round of the same request: what a plugin further in says of the total holds for all rounds together.
            deadline = parent.deadline
        else:
            deadline = Deadline(now, parent.timeouts.total_s, parent.deadline.now)
            deadline.shorten(parent.deadline.at)
            if self._timeout_s is not None:
                deadline.shorten(now + self._timeout_s)
        dialect = DIALECTS[self._endpoint.dialect]
        exchange = Exchange(parent.id, request, dialect, deadline, now, parent.digest, parent.row_id)
        exchange.origin = Origin(parent, self._step, self._chat, dict(request.fields or {}), is_inside)
        exchange.chat = self._chat
        exchange.principal = parent.principal
        exchange.timeouts = parent.timeouts
        if is_inside:
            exchange.route = parent.route
            exchange.transforms = [*parent.transforms]  # plugins further out did that; they do not see this one
        self.exchange = exchange
        if parent.offspring is None:
            parent.offspring = Offspring()
        parent.sources.append(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None and self._is_whole:
                await self._complete()
        finally:
            await self.close()

    async def close(self) -> None:
        """End it, whatever it is at; the second time only wait for that."""
        if self._ending is None:
            self._ending = self._room.gateway.spawn(self._end())
        await asyncio.shield(self._ending)

    # --- its answer --------------------------------------------------------------------------------

    async def reply(self) -> ChatReply:
        """Return the whole answer. Raises: GatewayError."""
        self._ask()
        body = await self._run(self._head())
        if isinstance(body, ChatReply):
            reply = body
        else:
            self._source = body
            seen = [event async for event in self]
            start = next((event for event in seen if isinstance(event, Start)), Start())
            reply = fold(ChatReply(id=start.id, model=start.model, created_s=start.created_s, parts=()), seen)
        self._is_whole = True
        await self._complete()
        return reply

    def events(self) -> AsyncIterator[Event]:
        """Return the events of the answer. The iteration raises: GatewayError."""
        self._ask()
        return self

    def __aiter__(self) -> RunningChild:
        return self

    async def __anext__(self) -> Event:
        if self._source is None:
            body = await self._run(self._head())
            self._source = Listed(events_of(body)) if isinstance(body, ChatReply) else body
        event = await self._run(anext(self._source, None))
        if event is None:
            if not self._is_whole:
                raise self._note(UpstreamError("truncated", "the answer ended before its finish"))
            await self._complete()
            raise StopAsyncIteration
        if isinstance(event, Failure):
            raise self._note(UpstreamError("error_event", event.message, code=event.code, status=event.status))
        self._is_whole = self._is_whole or isinstance(event, Stop)
        return event

    def _ask(self) -> None:
        if self._is_asked or self._ending is not None or self.exchange is self._parent:
            raise RuntimeError("a child is asked for its answer once, inside its block")
        self._is_asked = self.exchange.admitted = True

    async def _run(self, work: Awaitable[T]) -> T:
        """Wait for `work`, which `exchange.abort` may end. Raises: GatewayError; what it was is noted."""
        exchange = self.exchange
        task = exchange.task = asyncio.current_task()
        self._idle.clear()
        try:
            return await work
        except asyncio.CancelledError:
            if exchange.aborted is None or task is None or task.uncancel() > 0:
                raise
            raise self._note(exchange.aborted) from None
        except Exception as error:  # whatever it was, a plugin's fault included: who asked gets what a client would
            failure = self._note(error)
            if failure is error:
                raise
            raise failure from error
        finally:
            exchange.task = None
            self._idle.set()

    async def _head(self) -> ChatReply | AsyncIterator[Event]:
        """Return the answer, or where its events come from. Raises: what kept it from coming."""
        exchange = self.exchange
        handle = self._through or self._route()
        is_shared = exchange.deadline is self._parent.deadline  # which the chain may still move
        timeout = asyncio.timeout(None if is_shared else exchange.deadline.remaining() + LATE_S)
        try:
            async with timeout:
                reply = await handle(exchange)
        except TimeoutError:
            if timeout.expired():
                raise UpstreamError("timeout", "the answer did not come in time") from None
            raise
        exchange.status = reply.status
        self._tell()
        return answer_in(exchange, reply)

    def _route(self) -> Callable[[Exchange], Awaitable[Reply]]:
        """Find the route. Raises: ModelNotFound, PermissionDenied."""
        exchange = self.exchange
        request, principal = exchange.request, exchange.principal
        running = self._snapshot.router.find(
            model=request.model,
            path=request.path,
            headers=request.headers,
            principal_name=principal.name if principal is not None else None,
            tags=principal.tags if principal is not None else {},
        )
        if running is None:
            raise ModelNotFound(f'no route takes the model "{request.model}"', param="model")
        if principal is not None and not is_configured(self._snapshot.plugins, self._parent.route, request.model):
            refuse_foreign(principal, request.model, running.route.name)
        exchange.route = running.route
        return running.handle

    async def _complete(self) -> None:
        """Run `complete` before who asked gets the end. Raises: GatewayError."""
        if self._is_complete or self.exchange.error is not None:
            return
        self._is_complete = True
        chain = self._chain()
        if chain.completers:
            await self._run(chain.complete(self.exchange))

    # --- its end -----------------------------------------------------------------------------------

    async def _end(self) -> None:
        exchange = self.exchange
        if not self._is_asked:
            exchange.outcome = "disconnected"
            self._leave()
            return
        parent = self._parent
        if not self._idle.is_set():  # it runs in a task of the plugin's that nobody waits for: its parent has ended
            exchange.abort(ClientLeft("the exchange that asked has ended"))
            with suppress(TimeoutError):
                await asyncio.wait_for(self._idle.wait(), LETTING_GO_S)
        if not self._is_whole and exchange.error is None:
            exchange.error = parent.aborted or parent.error
        if exchange.error is not None and not isinstance(exchange.error, ClientLeft):
            exchange.outcome = "failed"
            if self._source is None:  # else its head had come, as a client would have got it
                exchange.status = exchange.error.status
        elif self._is_whole and exchange.error is None:
            exchange.outcome = "completed"
        else:
            exchange.outcome, exchange.status = "disconnected", 499
        await self._room.finish(exchange, self._snapshot, self._leave)

    def _leave(self) -> None:
        parent = self._parent
        if self._is_asked:
            parent.take_in(self.exchange)
        if self in parent.sources:
            parent.sources.remove(self)
        self._tell()

    def _note(self, error: Exception) -> GatewayError:
        failure = as_gateway_error(error)
        if failure is not error:
            failure.__cause__ = error
        self.exchange.error = failure
        return failure

    def _chain(self) -> Chain:
        return ending.chain_of(self.exchange, self._snapshot)

    def _tell(self) -> None:
        """Let the head of the parent's answer say what its children did so far."""
        parent, own = self._parent, self.exchange.headers
        if parent.route is None:
            return
        headers = parent.headers
        headers["x-gateway-route"] = parent.route.name
        headers["x-gateway-attempts"] = str(len(tries_so_far(parent)))
        for name in TOLD_INSIDE if self._through is not None else TOLD:
            if name in own:
                headers[name] = own[name]
