"""Routes and targets: plain facts, made from the configuration once per snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain as chain_of
from typing import TYPE_CHECKING, Any, Literal

from gateway.upstream.provider import Provider

if TYPE_CHECKING:
    from gateway.chain import Chain


@dataclass(frozen=True, slots=True)
class Target:
    """A provider and a model name there. `model` `*` keeps the client's.

    `params` fills top-level body keys the request lacks, `override` replaces them; both are in the
    target's dialect, values as JSON.
    """

    provider: Provider
    model: str
    weight: int = 1
    params: Mapping[str, Any] = field(default_factory=dict)
    override: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`provider/model`, as the configuration writes it."""
        return f"{self.provider.name}/{self.model}"


@dataclass(frozen=True, slots=True)
class Retry:
    """`attempts` caps tries in all; `on` are failure kinds; backoff is full jitter between the two, in seconds."""

    attempts: int = 3
    on: frozenset[str] = frozenset({"connect", "timeout", "429", "5xx", "broken"})
    backoff_min_s: float = 0.2
    backoff_max_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Hedge:
    """When a second attempt goes out beside a stream's first: after the `quantile` of the target's times to first
    token, or after `after_s` seconds where that is None. `budget` is the most extra attempts, as a share of requests.
    """

    quantile: float | None
    after_s: float
    budget: float


@dataclass(frozen=True, slots=True)
class Shadow:
    """Where a copy of a `share` (0 to 1) of the requests goes, its answer thrown away."""

    target: Target
    share: float


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions, ANDed; the values inside one are ORed. None means any."""

    model: tuple[str, ...] | None = None
    path: tuple[str, ...] | None = None
    header: Mapping[str, tuple[str, ...]] | None = None
    key: tuple[str, ...] | None = None
    tags: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A rule: what it takes, where it goes. `fallbacks` by cause: any, context_length, content_filter. One that a
    plugin made for a model that it answers itself has no target; `plugin` is its name."""

    name: str
    match: Match
    targets: tuple[Target, ...]
    fallbacks: Mapping[str, tuple[Target, ...]] = field(default_factory=dict)
    balance: str = "ordered"
    retry: Retry = field(default_factory=Retry)
    model_echo: Literal["requested", "upstream"] | None = None
    on_unsupported: Literal["drop", "warn", "error"] = "drop"
    hedge: Hedge | None = None
    shadow: Shadow | None = None
    chain: Chain | None = None
    plugin: str = ""

    @property
    def is_served(self) -> bool:
        """Whether a request may be answered: by an enabled target, or by the plugin."""
        return bool(self.plugin or self.available)

    @property
    def listed(self) -> Iterator[Target]:
        """Every target and fallback, of disabled providers too."""
        return chain_of(self.targets, *self.fallbacks.values())

    @property
    def available(self) -> tuple[Target, ...]:
        """What a request may be sent to, first to last: targets, then fallbacks for any cause, of enabled providers."""
        return tuple(target for target in (*self.targets, *self.fallbacks.get("any", ())) if target.provider.enabled)
