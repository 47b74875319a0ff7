"""What would happen to a request: the route that takes it and its targets in order. Pure; nothing is sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from multidict import CIMultiDict

from gateway.dialects.endpoints import find
from gateway.route import Match
from gateway.router import Router, Verdict
from gateway.runtime.config import Config, ProviderConfig, RouteConfig, TargetConfig
from gateway.upstream.balance import DRAWN

DEFAULT_PATH = "/v1/chat/completions"
State = Literal["enabled", "disabled", "down", "open", "resting", "drained"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a person describes it. `tags` None means: those of the key named `key`.

    `live` is what a running gateway knows of its targets by name, where it keeps them from being tried: the state, and
    why. The file alone knows nothing of it.
    """

    model: str = ""
    path: str = DEFAULT_PATH
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    tags: Mapping[str, str] | None = None
    down: frozenset[str] = frozenset()
    live: Mapping[str, tuple[State, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """A target at its place in the order. `cause` is `target`, or which failure a fallback is for; `model` is the
    one that would be sent: the request's own where the target keeps it."""

    target: TargetConfig
    cause: str
    model: str
    state: State
    why: str

    @property
    def names(self) -> tuple[str, str]:
        """The target as written, and as it would be sent."""
        return f"{self.target.provider}/{self.target.model}", f"{self.target.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Decision:
    """The route (None: no route takes the request), what each rule said, and the targets in order."""

    route: RouteConfig | None
    verdicts: tuple[Verdict[RouteConfig], ...]
    steps: tuple[Step, ...]

    @property
    def why(self) -> str:
        """Why the route took the request."""
        return self.verdicts[-1].reason if self.route else ""

    def first(self, *, with_disabled: bool) -> Step | None:
        """Return the step that would be tried first; a disabled provider counts only `with_disabled`. None when no
        step could be, or when the balance chooses among several: see `candidates`."""
        found = self.candidates(with_disabled=with_disabled)
        return found[0] if len(found) == 1 else None

    def candidates(self, *, with_disabled: bool) -> tuple[Step, ...]:
        """Return the steps of which one would be tried first: several where the balance goes by more than the file."""
        usable = ("enabled", "disabled") if with_disabled else ("enabled",)
        steps = [step for step in self.steps if step.state in usable]
        targets = [step for step in steps if step.cause == "target"]
        if self.is_drawn and targets:
            return tuple(targets)
        # A rest puts a target behind all others and never takes the last one out.
        asleep = [step for step in self.steps if step.state == "resting" and step.cause in ("target", "any")]
        return tuple((targets or [step for step in steps if step.cause == "any"] or asleep)[:1])

    @property
    def is_drawn(self) -> bool:
        """Whether the route's balance chooses among its targets by more than the file says."""
        return self.route is not None and self.route.balance in DRAWN


def router_of(config: Config) -> Router[RouteConfig]:
    """Return a router over the file's routes, to be shared by many decisions."""
    return Router([(match_of(route), route) for route in config.routes])


def decide(config: Config, asked: Asked, router: Router[RouteConfig] | None = None) -> Decision:
    """Return what the configuration does with a request; `router` spares making one for each."""
    path = asked.path.partition("?")[0].rstrip("/") or "/"
    verdicts = (router or router_of(config)).explain(
        model=asked.model,
        path=path,
        headers=CIMultiDict(asked.headers),
        principal_name=asked.key,
        tags=tags_of(config, asked.key) if asked.tags is None else asked.tags,
        is_endpoint=find(path) is not None,
    )
    route = verdicts[-1].value if verdicts and verdicts[-1].taken else None
    return Decision(route, tuple(verdicts), tuple(_steps(config, route, asked)) if route else ())


def match_of(route: RouteConfig) -> Match:
    """Return a route's conditions."""
    return Match(model=route.model, path=route.path, header=route.header, key=route.key, tags=route.tags)


def tags_of(config: Config, key: str | None) -> Mapping[str, str]:
    """Return the tags that the file gives the key of that name; none for a key it does not know."""
    return dict(key_of(config, key).get("tags") or {})


def key_of(config: Config, name: str | None) -> Mapping[str, Any]:
    """Return what stands beside the key of that name in the file; nothing for one that the file does not know."""
    for plugin in config.plugins:
        for entry in (plugin.options or {}).get("keys", ()) if plugin.name == "auth" and name else ():
            if isinstance(entry, Mapping) and entry.get("name") == name:
                return entry
    return {}


def state_of(provider: ProviderConfig | None, down: Iterable[str] = ()) -> tuple[State, str]:
    """Return whether a provider can be used, and why not."""
    if provider is not None and provider.name in down:
        return "down", "taken as down"
    if provider is not None and not provider.enabled:
        variable = f": set {provider.key_variable}" if provider.key_variable else ""
        return "disabled", f"no key{variable}"
    return "enabled", ""


def _steps(config: Config, route: RouteConfig, asked: Asked) -> Iterable[Step]:
    providers = {provider.name: provider for provider in config.providers}
    groups: list[tuple[str, Any]] = [("target", route.targets), *route.fallbacks.items()]
    for cause, targets in groups:
        for target in targets:
            state, why = state_of(providers.get(target.provider), asked.down)
            if state == "enabled":
                state, why = asked.live.get(f"{target.provider}/{target.model}", (state, why))
            model = target.model if target.model != "*" else asked.model or "*"
            yield Step(target, cause, model, state, why)
