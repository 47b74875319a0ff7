"""4 try: targets in order, retry and fallback until the commit point.

Only this package retries. An attempt ends with a Reply whose head is known (a stream's first content has come),
or with an UpstreamError; the plan says what follows. A streamed exchange tries in a task of its own, so that after
15 s of silence the client can be given the head and a keep-alive while fallback is still allowed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from copy import copy
from typing import Any

from aiohttp import hdrs, web
from multidict import CIMultiDict

from gateway.attempts.asked import as_edited
from gateway.attempts.hedge import Hedging, Race
from gateway.attempts.plan import Available, Plan
from gateway.attempts.send import Sender
from gateway.attempts.shadow import Shadowing
from gateway.attempts.told import tell, tell_to_stop
from gateway.chain import Chain, as_gateway_error
from gateway.errors import GatewayError, InternalError, TargetSkipped, Unavailable, UpstreamError
from gateway.exchange import Attempt, Exchange, Reply, Whole
from gateway.plugin import Log
from gateway.relay import Pumped
from gateway.relay.client import ClientStream
from gateway.relay.stream import KEEP_ALIVE_S
from gateway.route import Route
from gateway.upstream.balance import Candidate
from gateway.upstream.health import RepeatBudget


class Attempts:
    """The attempts of one route: the innermost step of its chain."""

    def __init__(
        self,
        route: Route,
        available: Available,
        chain: Chain,
        sender: Sender,
        budget: RepeatBudget,
        log: Log,
        hedging: Hedging | None = None,
        shadow: Shadowing | None = None,
    ) -> None:
        self._route = route
        self._available = available
        self._hedging, self._shadow = hedging, shadow
        self._try = chain.around_attempt(sender.send)
        self._budget = budget
        self._log = log

    def run(self, exchange: Exchange) -> Awaitable[Reply]:
        """Return the first answer that may reach the client. Raises: UpstreamError, the last attempt's."""
        if self._available.is_empty:
            names = ", ".join(sorted({target.provider.name for target in self._route.targets}))
            raise Unavailable(
                f'every target of route "{self._route.name}" is disabled: no key is set for {names}',
                code="provider_disabled",
            )
        exchange.headers["x-gateway-route"] = self._route.name
        if exchange.origin is not None:
            return self._go(as_edited(exchange, exchange.origin))
        if self._shadow is not None:
            self._shadow.cast(exchange)
        if exchange.request.stream:
            return self._go_with_keep_alive(exchange)
        candidate = self._available.only_one()
        return self._go(exchange) if candidate is None else self._once(exchange, candidate)

    def only(self, target: str) -> Attempts | None:
        """Return the attempts of the same route at one of its targets alone, without hedge and shadow; None when that
        is not available."""
        available = self._available.only(target)
        if available is None:
            return None
        alone = copy(self)
        alone._available, alone._hedging, alone._shadow = available, None, None
        return alone

    async def _once(self, exchange: Exchange, candidate: Candidate) -> Reply:
        """Try the one candidate there is: a plain request, which nobody hedges. What follows a failure is `_go`'s."""
        attempt = self.begin(exchange, candidate)
        try:
            reply = await self._try(attempt)
        except (TargetSkipped, UpstreamError) as error:
            self._failed(attempt, error)
            return await self._go(exchange, error)
        except BaseException as error:
            self._failed(attempt, error)
            raise
        now = exchange.deadline.now()
        if type(reply.body) is bytes:
            attempt.end(now)
        attempt.health.answered(now - attempt.started_at_s, stream=False)
        return reply

    async def _go(self, exchange: Exchange, failed: TargetSkipped | UpstreamError | None = None) -> Reply:
        """Try until one answers. `failed` is what a first try of the only candidate has ended with already."""
        order = self._available.order(exchange) if failed is None else self._available.listed
        candidate = order[0]
        plan: Plan | None = None
        repeated = False
        hedging = self._hedging
        if hedging is not None:
            if is_streamed_chat(exchange):
                hedging.earn()
            else:
                hedging = None
        while True:
            race: Race | None = None
            try:
                if failed is not None:
                    error, failed = failed, None
                    raise error
                if hedging is None or (wait_s := hedging.wait_s(candidate)) is None:
                    reply = await self.run_one(self.begin(exchange, candidate))
                else:
                    plan = plan or Plan(order, self._available, exchange.deadline.now)
                    race = Race(self, exchange, plan, hedging.budget)
                    reply = await race.run(candidate, wait_s)
                if repeated:
                    self._budget.answered()
                return reply
            except TargetSkipped as skipped:
                plan = plan or Plan(order, self._available, exchange.deadline.now)
                following = plan.skip(skipped, exchange.deadline.remaining())
                if following is None or not await self._may_go_on(exchange, plan, first=not repeated):
                    refusal = plan.refusal(skipped)
                    tell_to_stop(refusal)
                    raise refusal from None
            except UpstreamError as error:
                self.note(exchange.attempts[-1], error)
                plan = plan or Plan(order, self._available, exchange.deadline.now)
                following = plan.next(error, exchange.deadline.remaining())
                if following is None or not await self._may_go_on(exchange, plan, first=not repeated):
                    tell_to_stop(plan.refusal(error))
                    raise
            finally:
                if repeated:
                    self._budget.give_back()
            if race is not None and race.hedged:
                hedging = None
            candidate = following
            repeated = plan.repeats

    def begin(self, exchange: Exchange, candidate: Candidate) -> Attempt:
        """Return a new attempt of `exchange`, nothing sent yet."""
        now, health = exchange.deadline.now(), candidate.health
        attempt = Attempt(exchange, candidate.target, len(exchange.attempts) + 1, now, health)
        exchange.attempts.append(attempt)
        health.attempts += 1
        tell(exchange, attempt)
        return attempt

    async def run_one(self, attempt: Attempt) -> Reply:
        """Make one attempt. Raises: TargetSkipped, UpstreamError and what else may end an exchange."""
        exchange = attempt.exchange
        try:
            reply = await self._try(attempt)
        except BaseException as error:
            self._failed(attempt, error)
            raise
        now = exchange.deadline.now()
        if isinstance(reply.body, bytes | Whole):
            attempt.end(now)
        attempt.health.answered(now - attempt.started_at_s, stream=exchange.request.stream)
        return reply

    def _failed(self, attempt: Attempt, error: BaseException) -> None:
        """Note how an attempt ended that has no answer to relay."""
        exchange, health = attempt.exchange, attempt.health
        attempt.end(exchange.deadline.now())
        if isinstance(error, TargetSkipped):  # no try: nothing was sent
            health.attempts -= 1
            exchange.attempts.remove(attempt)
            tell(exchange, exchange.attempts[-1] if exchange.attempts else None)
        elif isinstance(error, GatewayError):
            attempt.error = error
            health.failures += isinstance(error, UpstreamError)

    async def _may_go_on(self, exchange: Exchange, plan: Plan, *, first: bool) -> bool:
        """Wait as a repetition must, the exchange's `first` or a further one; False when time or the budget do not
        allow it."""
        if not plan.repeats:
            return exchange.deadline.remaining() > 0
        if not self._budget.try_take(first=first):
            return False
        try:
            await asyncio.sleep(plan.pause_s)
        except asyncio.CancelledError:
            self._budget.give_back()
            raise
        return True

    def note(self, attempt: Attempt, error: UpstreamError) -> None:
        """Log a failed attempt."""
        self._log.warning(
            "attempt_failed",
            request_id=attempt.exchange.id,
            route=self._route.name,
            target=attempt.exchange.headers["x-gateway-target"],
            attempt=attempt.number,
            kind=error.kind,
            upstream_status=error.upstream_status,
            error=error.message,
        )

    async def _go_with_keep_alive(self, exchange: Exchange) -> Reply:
        loop = asyncio.get_running_loop()
        task = loop.create_task(self._go(exchange))
        settled: asyncio.Future[None] = loop.create_future()

        def wake(_: Any = None) -> None:
            if not settled.done():
                settled.set_result(None)

        timer = loop.call_later(KEEP_ALIVE_S, wake)
        task.add_done_callback(wake)
        try:
            await settled
        except asyncio.CancelledError:
            await give_up(task)
            raise
        finally:
            timer.cancel()
        if task.done():
            return task.result()
        waiting = Waiting(exchange, task)
        exchange.sources.append(waiting)
        return Reply(200, {hdrs.CONTENT_TYPE: exchange.dialect.stream_type}, waiting)


class Waiting:
    """A stream whose head has gone out before any target answered: keep-alives until one does."""

    def __init__(self, exchange: Exchange, task: asyncio.Task[Reply]) -> None:
        self.exchange, self._task = exchange, task
        self.error: GatewayError | None = None
        self._source: Pumped | None = None

    async def pump(self, client: ClientStream, status: int, headers: CIMultiDict[str]) -> web.StreamResponse:
        """Send head and keep-alives, then relay the answer, or end with the error event."""
        keep_alive = self.exchange.dialect.keep_alive
        self.exchange.on_abort(self._abort)
        await client.open(status, headers, keep_alive)
        while not self._task.done():
            await asyncio.wait([self._task], timeout=KEEP_ALIVE_S)
            if not self._task.done() and keep_alive:
                client.write(keep_alive)
        try:
            if self.error is not None and self._task.cancelled():
                raise self.error
            reply = self._task.result()
            if isinstance(reply.body, bytes) and not self._fits(reply):
                raise InternalError("the answer came in a form that a stream under way cannot take")
        except Exception as error:  # a plugin's among them: the head is out, so that only an error event can tell
            failure = self.error = as_gateway_error(error)
            if failure is not error:
                failure.__cause__ = error
            return await client.close(self.exchange.dialect.render_error_event(failure, self.exchange.id))
        self.exchange.first_token_at_s = self.exchange.first_token_at_s or self.exchange.deadline.now()
        if isinstance(reply.body, bytes):  # a plugin's `attempt` answered with a whole stream
            return await client.close(reply.body)
        self._source = reply.body  # type: ignore[assignment]  # every source the gateway makes is one
        assert self._source is not None
        try:
            return await self._source.pump(client, status, headers)
        finally:
            self.error = self._source.error

    def _fits(self, reply: Reply) -> bool:
        """Return whether a finished body may stand in the stream whose head is out."""
        kind = reply.headers.get(hdrs.CONTENT_TYPE, "")
        return reply.status < 400 and kind.partition(";")[0] == self.exchange.dialect.stream_type.partition(";")[0]

    def _abort(self, error: GatewayError) -> None:
        """End with `error`: the head is out, so an error event must say it."""
        self.error = error
        self._task.cancel()

    async def close(self) -> None:
        """Give up what is still being tried, or the source that was found."""
        if self._source is not None:
            await self._source.close()
        else:
            await give_up(self._task)


def is_streamed_chat(exchange: Exchange) -> bool:
    """Return whether a hedge makes sense for `exchange`."""
    endpoint = exchange.request.endpoint
    return exchange.request.stream and endpoint is not None and endpoint.is_chat


async def give_up(task: asyncio.Task[Reply]) -> None:
    """Cancel the attempts; an answer that arrived in the same moment is closed."""
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if task.cancelled() or task.exception() is not None:
        return
    body = task.result().body
    if not isinstance(body, bytes):
        await body.close()
