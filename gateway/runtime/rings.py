"""The credentials of a provider as one ring, which outlives reloads."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.plugin import Clock
from gateway.runtime.config import Config, ProviderConfig
from gateway.runtime.shared import Kept
from gateway.upstream.keys import Keys, Resting


def has_limits(config: ProviderConfig) -> bool:
    """Return whether what an upstream says of limits concerns the gateway: not those of the client's own key."""
    return config.auth != "passthrough" and config.dialect != "echo"


def ring_of(config: ProviderConfig, lasting: Kept, clock: Clock, resting: Resting) -> Keys:
    """Return the ring of a provider's keys, the same one as long as they are the same."""
    kept: Keys = lasting.get(ring_name(config), lambda: new_ring(config, clock, resting))
    return kept


def resting_targets(config: Config, lasting: Kept, targets: Iterable[str]) -> dict[str, float]:
    """Return, of `targets` by name, those whose provider's keys all rest, each with the seconds until one wakes."""
    limited = {each.name: each for each in config.providers if has_limits(each)}
    found = {}
    for name in targets:
        provider, _, model = name.partition("/")
        if provider in limited:
            # It is there: the snapshot in force was built with it.
            ring: Keys = lasting.get(ring_name(limited[provider]), lambda: None)
            if (rest_s := ring.rest_s(model)) > 0:
                found[name] = round(rest_s, 3)
    return found


def ring_name(config: ProviderConfig) -> str:
    """Name a ring after all that makes two differ."""
    return f"keys {config.name} {config.dialect} {hash(tuple(secret.reveal() for secret in config.credentials))}"


def new_ring(config: ProviderConfig, clock: Clock, resting: Resting) -> Keys:
    """Return a ring in which no key rests."""
    return Keys(config.credentials, clock.monotonic, clock.time, config.dialect, resting)
