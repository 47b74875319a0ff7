"""What an exchange did besides its own attempts: work that plugins noted, and what its children used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from gateway.chat import ChatRequest, Usage

if TYPE_CHECKING:
    from gateway.exchange import Attempt, Exchange

NOTHING: Final = Usage()
"""What a try used that used nothing, told apart from a usage of zeros that an upstream stated."""


@dataclass(frozen=True, slots=True)
class Work:
    """Something a plugin did for an exchange, such as a tool's call. Times are those of `deadline.now()`; `facts` are
    JSON, small, and without prompts, answers and credentials: they stand in the ledger."""

    kind: str
    name: str
    started_at_s: float
    ended_at_s: float
    ok: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a child exchange comes from. `step` is what its parent calls it. `chat` is what was asked for, and `fields`
    the same as its dialect writes it: who edits them edits the request. `is_inside`: it went on from where its parent
    stood in the chain, on the parent's own route."""

    parent: Exchange
    step: str
    chat: ChatRequest
    fields: Mapping[str, Raw]
    is_inside: bool


class Offspring:
    """What the children of an exchange did that have ended. `cost_usd` None: the price of one is unknown."""

    __slots__ = ("attempts", "cost_usd", "usage")

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.cost_usd: Decimal | None = Decimal(0)
        self.attempts: list[Attempt] = []

    def add(self, child: Exchange) -> None:
        """Count one that has ended, and those that it had itself."""
        self.usage = summed((self.usage, child.usage))
        if self.cost_usd is not None:
            self.cost_usd = None if child.cost_usd is None else self.cost_usd + child.cost_usd
        self.attempts += child.all_attempts


def summed(usages: Iterable[Usage | None]) -> Usage | None:
    """Return what several tries used together, None when none of them is known."""
    known = [usage for usage in usages if usage is not None]
    used = [usage for usage in known if usage is not NOTHING]
    if len(used) <= 1:
        return used[0] if used else known[0] if known else None
    return Usage(
        prompt_tokens=sum(usage.prompt_tokens for usage in used),
        completion_tokens=sum(usage.completion_tokens for usage in used),
        cached_tokens=sum(usage.cached_tokens for usage in used),
        cache_write_tokens=sum(usage.cache_write_tokens for usage in used),
        cache_write_1h_tokens=sum(usage.cache_write_1h_tokens for usage in used),
        reasoning_tokens=sum(usage.reasoning_tokens for usage in used),
        estimated=any(usage.estimated for usage in used),
    )
