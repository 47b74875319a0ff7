"""What runs beside a route's attempts: a second one when the first is late, and shadows."""

from __future__ import annotations

from gateway.attempts.hedge import HedgeBudget, Hedging
from gateway.attempts.send import Sender
from gateway.attempts.shadow import Shadowing, Shadows
from gateway.chain import Chain
from gateway.errors import ConfigError
from gateway.plugin import Clock
from gateway.route import Route
from gateway.runtime.config import Config, ProviderConfig, RouteConfig
from gateway.runtime.rings import has_limits, new_ring, ring_name
from gateway.runtime.shared import Kept, shared
from gateway.telemetry import Logger
from gateway.upstream.health import TargetHealth
from gateway.upstream.keys import Keys, Resting


class Beside:
    """Makes them for one snapshot. Make it before the connection pools: what is made first is closed first."""

    def __init__(self, config: Config, lasting: Kept, log: Logger, clock: Clock) -> None:
        self._lasting, self._log, self._clock = lasting, log, clock
        self._providers = {each.name: each for each in config.providers}
        self._most_bytes = config.server.max_body_bytes
        self._holds = shared(config, lasting, clock, log).health.holds
        self.shadows: Shadows = lasting.get("shadows", Shadows)

    def hedging(self, route: Route) -> Hedging | None:
        """Return when `route` sends a second attempt; its budget outlives reloads."""
        hedge = route.hedge
        return None if hedge is None else Hedging(hedge, self._lasting.get(f"hedge {route.name}", HedgeBudget))

    def shadowing(self, route: Route, entry: RouteConfig, errors: list[ConfigError]) -> Shadowing | None:
        """Return what sends the shadows of `route`, None when it has none or their provider is disabled."""
        shadow, given = route.shadow, entry.shadow
        if shadow is None or given is None or not shadow.target.provider.enabled or not shadow.share:
            return None
        provider = self._providers[shadow.target.provider.name]
        if provider.auth == "passthrough":
            problem = f'provider "{provider.name}" has auth: passthrough, so that clients would pay for the copies'
            place, cure = given.target.place, "name a provider with a key of its own"
            at = {"file": place.file, "path": place.path}
            errors.append(ConfigError(problem, line=place.line, column=place.column, cure=cure, **at))
        rings = {provider.name: self._ring(provider)} if has_limits(provider) else {}
        sender = Sender(Chain((), self._log), rings, self._clock, self._log, self._most_bytes, wants_usage=True)
        health = TargetHealth(shadow.target.name, self._clock.monotonic, self._holds)
        return Shadowing(shadow, sender, health, self.shadows, self._log)

    def _ring(self, provider: ProviderConfig) -> Keys:
        """Return keys of the shadows' own: one that they wear out must not rest for those who wait."""
        monotonic = self._clock.monotonic
        ring: Keys = self._lasting.get(
            f"shadow {ring_name(provider)}", lambda: new_ring(provider, self._clock, Resting(monotonic))
        )
        return ring
