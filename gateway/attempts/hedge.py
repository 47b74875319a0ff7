"""A second attempt beside the first when its first token is late; whichever has content first is the answer.

Only streams are hedged: a plain answer shows nothing until it is whole, so that nobody knows whether it is late.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol

from gateway.attempts.plan import Plan, kind_of
from gateway.attempts.told import tell
from gateway.errors import GatewayError, TargetSkipped, UpstreamError
from gateway.exchange import Attempt, Exchange, Reply
from gateway.route import Hedge
from gateway.upstream.balance.candidate import Candidate

LETTING_GO_S = 0.05
"""How long the loser's plugins may take to let go before the answer goes its way without them."""


class HedgeBudget:
    """Bounds what hedging costs: each streamed request earns the route's share of a second attempt.

    The first is free, so that a route with little traffic gets one too; what is saved up is bounded, so that a bad
    minute after a good day does not double the load of upstreams that are slow because they are full.
    """

    MOST = 10.0

    def __init__(self) -> None:
        self.saved = 1.0

    def earn(self, share: float) -> None:
        """Count a request that might be hedged."""
        self.saved = min(self.MOST, self.saved + share)

    def try_take(self) -> bool:
        """Take a second attempt out; False when there is none."""
        if self.saved < 1.0 - 1e-9:
            return False
        self.saved -= 1.0
        return True

    def give_back(self) -> None:
        """Return one taken: nothing was sent."""
        self.saved += 1.0


class Hedging:
    """When a route's streams are hedged."""

    def __init__(self, hedge: Hedge, budget: HedgeBudget) -> None:
        self._hedge, self.budget = hedge, budget

    def earn(self) -> None:
        """Count a request."""
        self.budget.earn(self._hedge.budget)

    def wait_s(self, candidate: Candidate) -> float | None:
        """Return how long the first token may take, None while too few have been seen to know."""
        hedge = self._hedge
        if hedge.quantile is None:
            return hedge.after_s
        return candidate.health.quantile_s(hedge.quantile)


class Tries(Protocol):
    """How one attempt is made; see `Attempts`."""

    def begin(self, exchange: Exchange, candidate: Candidate) -> Attempt: ...

    async def run_one(self, attempt: Attempt) -> Reply: ...

    def note(self, attempt: Attempt, error: UpstreamError) -> None: ...


class Runner(NamedTuple):
    attempt: Attempt
    candidate: Candidate


class Race:
    """One exchange's try at a target and, when that is late, at another one beside it.

    What one of them fails with is noted while the other goes on; what `run` raises is the last one's, which is then the
    last of `exchange.attempts` and of the plan. The winner is moved there too.
    """

    def __init__(self, tries: Tries, exchange: Exchange, plan: Plan, budget: HedgeBudget) -> None:
        self._tries, self._exchange, self.plan, self._budget = tries, exchange, plan, budget
        self._running: dict[asyncio.Task[Reply], Runner] = {}
        self._first: Attempt | None = None
        self._aborted: GatewayError | None = None
        self._first_dropped: tuple[tuple[str, ...], str | None] = ((), None)
        self.hedged = False
        """Whether a second attempt was made."""

    async def run(self, candidate: Candidate, wait_s: float) -> Reply:
        """Return the first answer. Raises: what `Attempts` would of a single try."""
        first = self._first = self._start(candidate)
        try:
            await asyncio.wait(self._running, timeout=wait_s)
            if not any(task.done() for task in self._running):
                self._start_beside()
            reply: Reply | None = None
            while reply is None:
                reply, attempt = await self._next()
        except asyncio.CancelledError:  # the client left
            await self._stop_the_others(None)
            raise
        except GatewayError as error:
            await self._stop_the_others(None, _lost(error.message))
            raise
        except BaseException:
            await self._stop_the_others(None)
            raise
        await self._stop_the_others(attempt, _lost("another target had content first"))
        if self.hedged:
            self._turn_to(attempt)
            if attempt is first:
                self._restore_dropped()
            fail = getattr(reply.body, "fail", None)  # the loser has let go of it
            if fail is not None:
                self._exchange.on_abort(fail)
        return reply

    async def _next(self) -> tuple[Reply | None, Attempt]:
        """Return the answer of an attempt that has one, or None with one whose failure leaves another running."""
        done, _ = await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
        task = min(done, key=lambda each: (each.cancelled() or each.exception() is not None, self._is_late(each)))
        attempt, candidate = self._running.pop(task)
        if task.cancelled():
            raise self._aborted or asyncio.CancelledError
        error = task.exception()
        if error is None:
            attempt.win()
            return task.result(), attempt
        goes_on = bool(self._running)
        if isinstance(error, TargetSkipped):
            if goes_on:
                self.plan.pass_over(candidate, error)
                tell(self._exchange, next(iter(self._running.values())).attempt)
                self._budget.give_back()
                self._start_beside()
                return None, attempt
        # What a second target refuses, the first may take: it knows the model, or has the longer context.
        elif isinstance(error, UpstreamError) and goes_on and (kind_of(error) or attempt is not self._first):
            self._turn_to(attempt)
            self._tries.note(attempt, error)
            self.plan.failed(candidate, error)
            (other,) = self._running.values()
            self._turn_to(other.attempt)
            self._exchange.on_abort(self._abort)  # the failed one's stream has let go of it
            return None, attempt
        self.plan.turn_to(candidate)
        if attempt in self._exchange.attempts:
            self._turn_to(attempt)
        raise error

    def _is_late(self, task: asyncio.Task[Reply]) -> bool:
        return self._running[task].attempt.lost

    def _start(self, candidate: Candidate) -> Attempt:
        attempt = self._tries.begin(self._exchange, candidate)
        task = asyncio.get_running_loop().create_task(self._tries.run_one(attempt))
        self._running[task] = Runner(attempt, candidate)
        return attempt

    def _start_beside(self) -> None:
        """Start an attempt at another target, where there is one and the budget allows it."""
        if len(self._running) != 1 or not self._budget.try_take():
            return
        (other,) = self._running.values()
        candidate = self.plan.beside(other.candidate)
        if candidate is None:
            self._budget.give_back()
            return
        exchange = self._exchange
        if not self.hedged:
            self._first_dropped = (exchange.dropped, exchange.headers.get("x-gateway-dropped"))
        self.hedged = True
        attempt = self._start(candidate)
        attempt.rival, other.attempt.rival = other.attempt, attempt

    def _turn_to(self, attempt: Attempt) -> None:
        """Make `attempt` the one that the exchange, and the answer's headers, name as its last."""
        attempts = self._exchange.attempts
        attempts.remove(attempt)
        attempts.append(attempt)
        tell(self._exchange, attempt)

    def _restore_dropped(self) -> None:
        exchange = self._exchange
        exchange.dropped, header = self._first_dropped
        exchange.headers.pop("x-gateway-dropped", None)
        if header is not None:
            exchange.headers["x-gateway-dropped"] = header

    async def _stop_the_others(self, winner: Attempt | None, why: GatewayError | None = None) -> None:
        """Cancel what still runs; its upstream connection is closed at once. `why` becomes its error."""
        others, self._running = self._running, {}
        if not others:
            return
        exchange = self._exchange
        for task, (attempt, _) in others.items():
            attempt.lost = True
            if why is not None and attempt.error is None:
                attempt.error = why
            if winner is not None and attempt.number < winner.number:
                # Else the slow ones would never be seen, and what counts as late would sink with every hedge.
                attempt.health.answered(exchange.deadline.now() - attempt.started_at_s, stream=True)
            task.cancel()
            task.add_done_callback(_look_at)
        await asyncio.wait(others, timeout=LETTING_GO_S)
        for task, (attempt, _) in others.items():
            attempt.end(exchange.deadline.now())
            if task.done() and not task.cancelled() and task.exception() is None:
                body = task.result().body  # had content in the same moment
                if not isinstance(body, bytes):
                    await body.close()

    def _abort(self, error: GatewayError) -> None:
        self._aborted = error
        for task in self._running:
            task.cancel()


def _lost(reason: str) -> GatewayError:
    return GatewayError(reason, code="hedge_lost")


def _look_at(task: asyncio.Task[Reply]) -> None:
    """Take note of an error that nobody waits for, so that asyncio does not complain of it."""
    if not task.cancelled():
        task.exception()
