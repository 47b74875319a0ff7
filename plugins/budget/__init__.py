"""How much money may be spent, by whom, in a calendar period in UTC.

Never more is spent than the budget plus what running requests have reserved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import msgspec
from msgspec.structs import replace

from gateway.plugin import (
    Attempt,
    ConfigError,
    Exchange,
    MoneyRate,
    Plugin,
    Principal,
    Quota,
    QuotaSpent,
    Reply,
    Services,
    StateLost,
    StateStore,
    Taken,
    Target,
    TargetSkipped,
)  # fmt: skip

from .following import BYTES_PER_TOKEN, RESERVED_TOKENS, follow
from .money import Budget, Period, nano, period_of
from .remaining import over, remaining
from .reserved import Reserved, reserved_of, settle

UNBOUNDED_TOKENS = 1_000_000
"""What a request that does not say may have for an answer."""
REBUILDING_S = 30.0
"""How long another process is waited for that reads the ledger; then the next one does."""
LOOK_AGAIN_S = 0.02
MOST_REMEMBERED = 20_000
ZERO = Decimal(0)


class BudgetPlugin(Plugin):
    """Options:

    limits: a list of {per, cost}. per: key, user, team or tag:NAME; cost: money a calendar period in UTC, such as
    $10/day or $50/month. A caller without the tag is under no budget per that tag. Budgets beside a key in auth.keys
    hold too.
    when_price_is_unknown: deny (default: a target without a known price is passed over, and 402 when none is left) or
    allow (such requests count nothing).
    when_state_is_lost: deny (default, 503), allow, or local (every process counts for itself and spends its share).

    What a request may cost is reserved for each try and settled to what it did cost; a stream that outgrows what is
    left is ended with an error. With a ledger, what was spent before a restart counts.
    """

    options_schema = {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "limits": {
                "type": "array",
                "default": [],
                "description": "Who may spend how much.",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["per", "cost"],
                    "properties": {
                        "per": {"type": "string", "description": "key, user, team or tag:NAME."},
                        "cost": {"type": "string", "format": "money", "description": "Such as $10/day or $50/month."},
                    },
                },
            },
            "when_price_is_unknown": {
                "enum": ["deny", "allow"],
                "default": "deny",
                "description": "What to do with a target whose price nobody knows.",
            },
            "when_state_is_lost": {
                "enum": ["deny", "allow", "local"],
                "default": "deny",
                "description": "When the shared state is lost: 503, everybody, this process's share.",
            },
        },
    }
    needs_usage = True

    def __init__(self, options: Mapping[str, Any], services: Services) -> None:
        super().__init__(options, services)
        self._limits: list[tuple[str, MoneyRate]] = []
        for number, each in enumerate(options["limits"]):
            kind, _, name = each["per"].partition(":")
            if each["per"] not in ("key", "user", "team") and not (kind == "tag" and name):
                raise ConfigError(
                    f'limits[{number}]: no budget is kept per "{each["per"]}"',
                    cure="write key, user, team or tag:NAME",
                )
            self._limits.append((each["per"], each["cost"]))
        self._allows_unpriced = options["when_price_is_unknown"] == "allow"
        self._policy: str = options["when_state_is_lost"]
        self._rebuilt: set[str] = set()
        self._callers: dict[int, tuple[Principal | None, list[Budget]]] = {}
        self._stands = services.route, self._limits
        self._standing: list[tuple[str | None, list[tuple[str, MoneyRate]]]] = services.lasting("standing", list)
        """Every instance that has started and is not closed; of a route the last one is in force."""

    async def start(self) -> None:
        """Let the dashboard ask what remains."""
        self._standing.append(self._stands)
        services, standing = self.services, self._standing
        services.group.respond("remaining", lambda given: remaining(services, dict(standing), given))

    async def close(self) -> None:
        """No longer stand."""
        if self._stands in self._standing:
            self._standing.remove(self._stands)

    async def attempt(self, attempt: Attempt, call_next: Callable[[Attempt], Awaitable[Reply]]) -> Reply:
        """Reserve what the try may cost. Raises: TargetSkipped when it is too much, StateLost under `deny`."""
        exchange = attempt.exchange
        budgets = self._budgets(exchange)
        if not budgets:
            return await call_next(attempt)
        asked = exchange.request.answer_tokens(UNBOUNDED_TOKENS)
        most = self._bound(attempt.target, exchange, asked if asked < RESERVED_TOKENS else RESERVED_TOKENS)
        if most is None:
            if self._allows_unpriced:
                return await call_next(attempt)
            unpriced = QuotaSpent(
                f"the price of {attempt.target.provider.name}/{_model(attempt.target, exchange)} is not known, and a "
                "budget stands over this request; state it in config/prices.yaml",
                code="unknown_price",
            )
            raise TargetSkipped(unpriced.message, instead=unpriced)
        if not most:  # free: nothing to reserve, and no budget is too far spent for it
            return await call_next(attempt)
        before = reserved_of(exchange)
        left = await self._reserve(exchange, budgets, most)
        if exchange.request.stream and asked > RESERVED_TOKENS and left is not None:
            whole = self._bound(attempt.target, exchange, asked)
            if whole is None or whole - most > left:
                follow(
                    exchange,
                    most,
                    lambda tokens: self._bound(attempt.target, exchange, tokens),
                    lambda step: self._reserve(exchange, budgets, step),
                )
        try:
            return await call_next(attempt)
        except BaseException:
            if attempt.usage is None:  # it cost nothing; the next try may be another target
                await self._give_back(exchange, before)
            raise

    def finish(self, exchange: Exchange) -> Awaitable[None] | None:
        """Settle what was reserved to what was spent."""
        held: dict[str, Reserved] | None = exchange.notes.pop("budget", None)
        if not held:
            return None
        spent, now = nano(exchange.own_cost_usd or ZERO), self.services.clock.time()
        later: list[tuple[StateStore, Quota]] = []
        for each in held.values():
            if spent != each.nano_usd:
                correction = each.budget.quota(each.period, now, spent - each.nano_usd)
                if not each.store.settle_at_once([correction]):
                    later.append((each.store, correction))
        return settle(later) if later else None

    # --- who ---------------------------------------------------------------------------------------

    def _budgets(self, exchange: Exchange) -> list[Budget]:
        principal = exchange.principal
        known = self._callers.get(id(principal))
        if known is None:
            if len(self._callers) >= MOST_REMEMBERED:
                self._callers.clear()
            # With the principal, who is kept by that: no other can have its id meanwhile.
            known = self._callers[id(principal)] = principal, over(self._limits, principal)
        return known[1]

    def _bound(self, target: Target, exchange: Exchange, answer_tokens: int) -> int | None:
        prompt_tokens = -(-_prompt_bytes(exchange) // BYTES_PER_TOKEN)
        return self.services.pricing.bound_nano_usd(
            target.provider.name, _model(target, exchange), prompt_tokens, answer_tokens
        )

    # --- money -------------------------------------------------------------------------------------

    async def _reserve(self, exchange: Exchange, budgets: list[Budget], most: int) -> int | None:
        """Reserve `most`, in billionths of a dollar, of every budget; return what is left of the tightest, None where
        nothing is counted."""
        try:
            return await self._take(exchange, budgets, most, self.services.state, 1)
        except StateLost:
            if self._policy == "deny":
                raise
            if self._policy == "allow":
                return None
            return await self._take(exchange, budgets, most, self.services.local, self.services.workers)

    async def _take(
        self, exchange: Exchange, budgets: list[Budget], nano_usd: int, store: StateStore, share: int
    ) -> int:
        now = self.services.clock.time()
        periods: list[Period] = []
        quotas: list[Quota] = []
        for budget in budgets:
            periods.append(period := period_of(budget.money.period, now))
            quotas.append(budget.quota(period, now, nano_usd, share))
        may_be_forgotten = self.services.ledger is not None and store is self.services.state
        if may_be_forgotten:
            for budget, period, quota in zip(budgets, periods, quotas, strict=True):
                if quota.key not in self._rebuilt:
                    await self._rebuild(budget, period, quota)
        taken = store.take_at_once(quotas) or await store.take(quotas)
        left: Sequence[int] = taken.left
        if may_be_forgotten:
            for each_left, quota in zip(left, quotas, strict=True):
                if is_fresh(each_left, quota, taken):
                    left = await self._looked_again(taken, budgets, periods, quotas)
                    break
        tightest = left[0] if len(left) == 1 else min(left)
        if not taken.allowed or tightest < 0:
            refused = [*taken.refused, *(number for number, each in enumerate(left) if each < 0)]
            if taken.allowed and nano_usd:
                await store.settle([replace(quota, amount=-nano_usd) for quota in quotas])
            spent = budgets[refused[0]].refusal(periods[refused[0]])
            raise TargetSkipped(spent.message, instead=spent)
        held: dict[str, Reserved] = exchange.notes.setdefault("budget", {})
        for budget, period in zip(budgets, periods, strict=True):
            each = held.get(budget.sum)
            if each is None:
                each = held[budget.sum] = Reserved(budget, period, store)
            each.nano_usd += nano_usd
        return tightest

    async def _looked_again(
        self, taken: Taken, budgets: list[Budget], periods: list[Period], quotas: list[Quota]
    ) -> Sequence[int]:
        """Return what is left of each, the ledger asked again about a sum that is as nobody had ever taken from it."""
        left = list(taken.left)
        for number, (budget, period, quota) in enumerate(zip(budgets, periods, quotas, strict=True)):
            fresh = is_fresh(left[number], quota, taken)
            if fresh and quota.key in self._rebuilt and await self._rebuild(budget, period, quota):
                left[number] = (await self.services.state.take([replace(quota, amount=0)])).left[0]
        return left

    async def _rebuild(self, budget: Budget, period: Period, quota: Quota) -> bool:
        """Count what the ledger says was spent in this period, unless that has been done; return whether it was now.

        Asked for before the first request of a period, and when a sum is as nobody had ever taken from it: then the
        state may have forgotten it. One process reads the ledger and the others wait: admitting them meanwhile would
        spend the budget twice. Raises: StateLost.
        """
        ledger, state = self.services.ledger, self.services.state
        assert ledger is not None
        flag = quota.key + ":rebuilt"
        while not await state.put(flag, b"begun", REBUILDING_S, if_absent=True):
            if await state.get(flag) == b"done":
                self._remember(quota.key)
                return False
            await asyncio.sleep(LOOK_AGAIN_S)
        try:
            since = period.begin_s
            if budget.tag is None:
                spent = await ledger.spent(since=since, principal=budget.who)
            else:
                spent = await ledger.spent(since=since, tag=budget.tag)
        except BaseException as error:  # a database's, or the client left: fail closed, and the next one tries again
            await state.delete(flag)
            if isinstance(error, Exception):
                raise StateLost("what was spent cannot be read from the ledger") from error
            raise
        if spent:
            await state.settle([replace(quota, amount=nano(spent))])
        await state.put(flag, b"done", quota.lifetime_s)
        self._remember(quota.key)
        return True

    def _remember(self, key: str) -> None:
        if len(self._rebuilt) >= MOST_REMEMBERED:
            self._rebuilt.clear()
        self._rebuilt.add(key)

    async def _give_back(self, exchange: Exchange, before: Mapping[str, int]) -> None:
        now = self.services.clock.time()
        for name, each in exchange.notes.get("budget", {}).items():
            extra = each.nano_usd - before.get(name, 0)
            if extra:
                each.nano_usd -= extra
                try:
                    await each.store.settle([each.budget.quota(each.period, now, -extra)])
                except StateLost:
                    each.nano_usd += extra


def _model(target: Target, exchange: Exchange) -> str:
    return exchange.request.model if target.model == "*" else target.model


def _prompt_bytes(exchange: Exchange) -> int:
    """Return about how long what is forwarded is, the turns that a session put before it included."""
    return len(msgspec.json.encode(exchange.chat)) if exchange.chat_changed else len(exchange.request.body)


def is_fresh(left: int, quota: Quota, taken: Taken) -> bool:
    """Return whether a sum is as if nobody had taken from it before."""
    return left == quota.limit - (quota.amount if taken.allowed else 0)
