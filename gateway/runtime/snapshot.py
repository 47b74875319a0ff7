"""What runs: a configuration turned into plugins, providers and compiled routes. Built whole, then swapped in."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from aiohttp import web

from gateway.attempts import Attempts
from gateway.attempts.plan import Available
from gateway.attempts.send import Sender
from gateway.chain import HOOKS, Chain, Handle, overrides
from gateway.errors import ConfigError, ConfigErrors, NotFound
from gateway.exchange import Exchange, Reply
from gateway.plugin import Clock, Ledger, Plugin, Services
from gateway.pricing import Billed, Prices
from gateway.route import Match, Retry, Route, Shadow, Target
from gateway.router import Router
from gateway.runtime.asking import Asking, SnapshotChildren
from gateway.runtime.beside import Beside
from gateway.runtime.config import Config, Place, PluginConfig, RouteConfig, TargetConfig
from gateway.runtime.group import Colleagues, PluginGroup
from gateway.runtime.listen import parse_listen
from gateway.runtime.options import lay_over
from gateway.runtime.pointed import pointed
from gateway.runtime.pools import provider_of
from gateway.runtime.rings import has_limits, ring_of
from gateway.runtime.running import Running, running_of
from gateway.runtime.served import refuse_models, refuse_unserved, served_routes, unanswered
from gateway.runtime.shared import Kept, Shared, shared
from gateway.telemetry import Logger
from gateway.upstream.balance import BALANCES, Candidate, Means
from gateway.upstream.health import RepeatBudget
from gateway.upstream.keys import Resting
from gateway.upstream.provider import Provider


class Loader(Protocol):
    """Finds plugin classes; see `runtime.plugins.Catalog`."""

    def load(self, name: str, use: str | None) -> type[Plugin]: ...


@dataclass(frozen=True, slots=True)
class Owned:
    """A plugin's own HTTP paths, inside the global plugins that stand before it; `chain` says who is asking."""

    chain: Chain
    app: web.Application
    handle: Handle


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A configuration that runs. Immutable but for what its plugins keep to themselves."""

    digest: str
    config: Config
    router: Router[Running]
    routes: tuple[Running, ...]
    plugins: tuple[Plugin, ...]
    providers: Mapping[str, Provider]
    chain: Chain
    routeless: Handle
    owned: tuple[Owned, ...]
    pricing: Prices
    ledger: Ledger | None
    catalog: Loader
    """Kept for as long as its plugins run: their modules are let go of with it."""
    shared: Shared
    targets: frozenset[str]
    """The names of all targets and fallbacks that a route lists."""

    async def start(self) -> None:
        """Start every plugin. Raises: ConfigError; those started already are closed again."""
        if self.pricing.needs_loading:
            self.pricing.load_beside()
        started: list[Plugin] = []
        for plugin in self.plugins:
            try:
                await plugin.start()
            except BaseException as error:
                for done in reversed(started):
                    await done.close()
                if isinstance(error, ConfigError):
                    raise
                raise ConfigError(f'plugin "{plugin.name}" could not start: {type(error).__name__}: {error}') from error
            started.append(plugin)

    async def close(self, log: Logger) -> None:
        """Close every plugin; what one raises is logged and does not keep the others."""
        for plugin in reversed(self.plugins):
            try:
                await plugin.close()
            except Exception as error:  # a plugin's; the others still have to be closed
                log.error("plugin_close_failed", plugin=plugin.name, error=f"{type(error).__name__}: {error}")


def build(config: Config, catalog: Loader, lasting: Kept, log: Logger, clock: Clock) -> Snapshot:
    """Return a snapshot of `config`, not yet started. Raises: ConfigErrors, all that plugins refuse."""
    log.redactor.add(secret.reveal() for secret in config.secrets)
    beside = Beside(config, lasting, log, clock)
    providers = {provider.name: provider_of(provider, lasting) for provider in config.providers}
    resting: Resting = lasting.get("resting", lambda: Resting(clock.monotonic))
    keys = {each.name: ring_of(each, lasting, clock, resting) for each in config.providers if has_limits(each)}
    common = shared(config, lasting, clock, log)
    pricing = Prices(
        {each.name: Billed(base_url=each.base_url, free=each.free, enabled=each.enabled) for each in config.providers},
        config.prices,
        common.published,
        clock.time,
    )
    maker = _PluginMaker(config, catalog, lasting, common, pricing, log, clock)
    global_plugins = [made for entry in config.plugins if (made := maker.make(entry, entry.options)) is not None]
    chain = Chain(global_plugins, log)
    budget: RepeatBudget = lasting.get("repeats", lambda: RepeatBudget(lasting.get("live", set), clock.monotonic))

    def candidate(target: Target) -> Candidate:
        return Candidate(target, common.health.of(target.name), keys.get(target.provider.name))

    means = Means(clock.monotonic, pricing.bound, lasting.get)
    answered = served_routes([(each, maker.places[each]) for each in global_plugins], config.routes, maker.errors)
    config = replace(config, routes=(*answered, *config.routes))
    running: list[Running] = []
    for entry in config.routes:
        if entry.plugin:
            handle = chain.around(unanswered(entry.name, entry.plugin), common.measured)
            running.append(Running(_route(entry, providers, chain), handle))
            continue
        own = Chain(maker.of_route(entry, global_plugins), log) if entry.plugins else chain
        route = _route(entry, providers, own)
        available = Available(route, BALANCES[route.balance](route.name, means), candidate, resting)
        wants_usage = own.needs_usage or common.ledger is not None
        sender = Sender(own, keys, clock, log, config.server.max_body_bytes, wants_usage=wants_usage)
        hedging, shadowing = beside.hedging(route), beside.shadowing(route, entry, maker.errors)
        attempts = Attempts(route, available, own, sender, budget, log, hedging, shadowing)
        running.append(running_of(route, own, attempts, common.measured))
    maker.refuse_private(global_plugins, chain)
    if not maker.errors:
        refuse_unserved(maker.places.items(), config.routes, maker.errors)
    if maker.errors:
        raise ConfigErrors([pointed(error, config.home) for error in maker.errors])
    owned = tuple(
        Owned(_asked(plugin, chain, before := Chain(global_plugins[:at], log)), _app(plugin), before.around(_inner))
        for at, plugin in enumerate(global_plugins)
        if overrides(plugin, "http_routes")
    )
    maker.children.snapshot = snapshot = Snapshot(
        digest=config.digest,
        config=config,
        router=Router([(each.route.match, each) for each in running]),
        routes=tuple(running),
        plugins=tuple(maker.made),
        providers=providers,
        chain=chain,
        routeless=chain.around(_inner),
        owned=owned,
        pricing=pricing,
        ledger=common.ledger,
        catalog=catalog,
        shared=common,
        targets=frozenset(target.name for each in running for target in each.route.listed),
    )
    return snapshot


def _inner(exchange: Exchange) -> Awaitable[Reply]:
    if exchange.inner is None:
        raise NotFound("nothing answers here")
    return exchange.inner(exchange)


def _asked(plugin: Plugin, whole: Chain, before: Chain) -> Chain:
    """Return the chain that says who is asking for the plugin's paths."""
    if plugin.public is None:
        return before
    return whole if not plugin.public else Chain((), whole.log)


def _app(plugin: Plugin) -> web.Application:
    app = web.Application()
    app.add_routes(plugin.http_routes())
    app.freeze()
    return app


class _PluginMaker:
    """Makes plugin instances, collecting what they refuse instead of stopping at the first."""

    def __init__(
        self, config: Config, catalog: Loader, lasting: Kept, common: Shared, pricing: Prices, log: Logger, clock: Clock
    ) -> None:
        self._config, self._catalog, self._lasting, self._log, self._clock = config, catalog, lasting, log, clock
        self._common, self._pricing = common, pricing
        self.made: list[Plugin] = []
        self.places: dict[Plugin, Place] = {}
        self.children = SnapshotChildren(lasting.get("asking", Asking))
        self.errors: list[ConfigError] = []

    def make(self, entry: PluginConfig, options: Mapping[str, Any] | None, route: str | None = None) -> Plugin | None:
        """Return a new instance, on `route` alone or for all, None when it refuses (noted in `errors`) or is switched
        off."""
        if options is None:
            return None
        common = self._common
        services = Services(
            clock=self._clock,
            log=self._log,
            home=self._config.home,
            state=common.state.under(f"{entry.name}:"),
            local=common.local.under(f"{entry.name}:"),
            ledger=common.ledger,
            health=common.health,
            pricing=self._pricing,
            http=common.http,
            workers=common.workers,
            lasting=lambda name, factory: self._lasting.get(f"plugin {entry.name}: {name}", factory),
            group=PluginGroup(self._lasting.get("colleagues", Colleagues), entry.name),
            gateway=self.children,
            is_loopback=parse_listen(self._config.server.listen).is_loopback,
            route=route,
        )
        place = entry.place
        problem, cure = "", "correct its __init__, which refuses options with ConfigError alone"
        try:
            cls = self._catalog.load(entry.name, entry.use)
            plugin = cls(options, services)
        except ConfigError as error:
            if error.line:
                self.errors.append(error)
                return None
            problem, cure = error.problem, error.cure
        except Exception as error:  # a plugin's own fault: a configuration that may not run, told at its entry
            problem = f'plugin "{entry.name}" could not be made: {type(error).__name__}: {error}'
        if problem:
            self._refuse(place, problem, cure)
            return None
        plugin.name = entry.name
        self.made.append(plugin)
        self.places[plugin] = place
        return plugin

    def refuse_private(self, plugins: Sequence[Plugin], chain: Chain) -> None:
        """Note every plugin whose paths want a known caller where nobody finds out who is asking."""
        for entry in self._config.plugins:
            if not chain.identifiers and any(each.name == entry.name and each.public is False for each in plugins):
                problem = f'"{entry.name}" is not public, and no plugin says who is asking'
                self._refuse(entry.place, problem, "list auth, or make it public")

    def _refuse(self, place: Place, problem: str, cure: str) -> None:
        self.errors.append(
            ConfigError(problem, file=place.file, line=place.line, column=place.column, path=place.path, cure=cure)
        )

    def of_route(self, route: RouteConfig, global_plugins: Sequence[Plugin]) -> list[Plugin]:
        """Return a route's chain: global plugins in their places, replaced or out where it says so, then its own."""
        own = {entry.name: entry for entry in route.plugins}
        globally = {entry.name: entry for entry in self._config.plugins}
        chain: list[Plugin] = []
        for plugin in global_plugins:
            entry = own.pop(plugin.name, None)
            if entry is None:
                chain.append(plugin)
            elif entry.options is not None:
                given = globally[plugin.name]
                laid_over = lay_over(given.options or {}, entry.options)
                replaced = self.make(replace(entry, use=given.use), laid_over, route.name)
                if replaced is not None:
                    chain.append(replaced)
                    refuse_models(replaced, plugin, entry.place, self.errors)
                    if replaced.public != plugin.public:
                        problem = (
                            f'who may use the paths of "{plugin.name}" is not a route\'s business: they belong to none'
                        )
                        self._refuse(entry.place, problem, "say it where the plugin stands in the global chain")
        for entry in own.values():
            made = self.make(entry, entry.options, route.name)
            if made is not None:
                chain.append(made)
                refuse_models(made, None, entry.place, self.errors)
        for plugin in (*global_plugins, *chain):
            place = next((entry.place for entry in route.plugins if entry.name == plugin.name), None)
            if place is not None and [hook for hook in HOOKS if overrides(plugin, hook)] == ["identify"]:
                problem = f'"{plugin.name}" says who is asking before a route is found, so a route cannot change it'
                self._refuse(place, problem, "leave it in the global chain; models and routes of a key bound its use")
                break
        return chain


def _route(config: RouteConfig, providers: Mapping[str, Provider], chain: Chain) -> Route:
    shadow = config.shadow
    return Route(
        name=config.name,
        match=Match(model=config.model, path=config.path, header=config.header, key=config.key, tags=config.tags),
        targets=tuple(_target(target, providers) for target in config.targets),
        fallbacks={
            cause: tuple(_target(target, providers) for target in targets)
            for cause, targets in config.fallbacks.items()
        },
        balance=config.balance,
        retry=Retry(config.retry_attempts, config.retry_on, config.backoff_min_s, config.backoff_max_s),
        model_echo=config.model_echo,
        on_unsupported=config.on_unsupported,
        hedge=config.hedge,
        shadow=None if shadow is None else Shadow(_target(shadow.target, providers), shadow.share),
        chain=chain,
        plugin=config.plugin,
    )


def _target(config: TargetConfig, providers: Mapping[str, Provider]) -> Target:
    return Target(providers[config.provider], config.model, config.weight, config.params, config.override)
