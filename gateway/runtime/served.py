"""Models that plugins answer themselves: a route for each, and what makes a configuration with them contradictory."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Sequence
from difflib import get_close_matches
from typing import Final

from multidict import CIMultiDict

from gateway.attempts.elsewhere import COUNTS, SHOW, made_here
from gateway.chain import Handle
from gateway.errors import BadRequest, ConfigError, InternalError
from gateway.exchange import Exchange, Reply
from gateway.plugin import Plugin
from gateway.route import Match, Retry
from gateway.router import Router
from gateway.runtime.config import Place, RouteConfig

LONGEST_MODEL: Final = 256
ANSWERED_PATH: Final = "/v1/chat/completions"
_SPECIAL: Final = frozenset("*?[")
_RETRY: Final = Retry()


def served_routes(
    plugins: Iterable[tuple[Plugin, Place]], routes: Sequence[RouteConfig], errors: list[ConfigError]
) -> tuple[RouteConfig, ...]:
    """Return a route for each model that one of the global plugins answers; what is wrong goes to `errors`."""
    named = {route.name: route.place for route in routes}
    matched = {model: route for route in reversed(routes) for model in route.model or ()}
    found: dict[str, RouteConfig] = {}
    for plugin, place in plugins:
        for model in plugin.models:
            problem, cure = _wrong(plugin, model), "correct its options, or the plugin"
            if model in found:
                problem = f'the model "{model}" is also answered by {found[model].plugin}'
                cure = "give one of them another name"
            elif model in matched:
                at = matched[model].place
                problem = f'it answers the model "{model}", which the route "{matched[model].name}" names too'
                cure = f"take it out of one of them; the route is at {at.file}:{at.line}:{at.column}"
            elif model in named:
                at = named[model]
                problem = f'it answers the model "{model}", and a route has that name'
                cure = f"rename one of them; the route is at {at.file}:{at.line}:{at.column}"
            if problem:
                errors.append(_error(problem, cure, place))
            else:
                found[model] = _route(model, plugin.name, place)
    return tuple(found.values())


def refuse_models(plugin: Plugin, of_all: Plugin | None, place: Place, errors: list[ConfigError]) -> None:
    """Note a plugin of a route that answers models, others than the same plugin of the global chain does."""
    models = () if of_all is None else of_all.models
    if tuple(plugin.models) != tuple(models):
        problem = f'the models that "{plugin.name}" answers are not a route\'s business: each has a route of its own'
        errors.append(_error(problem, "name them where the plugin stands in the global chain", place))


def refuse_unserved(
    plugins: Iterable[tuple[Plugin, Place]], routes: Sequence[RouteConfig], errors: list[ConfigError]
) -> None:
    """Note every model that a plugin will ask for and no route takes. Conditions other than the model's are not judged:
    who will ask, and with which headers, nobody knows."""
    asking = [(model, where, place) for plugin, place in plugins for model, where in plugin.asks.items()]
    if not asking:
        return
    router = Router([(Match(model=route.model, path=route.path), route) for route in routes])
    literal = sorted({model for route in routes for model in route.model or () if not _SPECIAL & set(model)})
    for model, where, place in asking:
        taken = router.find(model=model, path=ANSWERED_PATH, headers=CIMultiDict(), principal_name=None, tags={})
        if taken is None:
            near = get_close_matches(model, literal, n=1)
            cure = f'add one, or did you mean "{near[0]}"?' if near else "add one, or name one of " + _listed(literal)
            errors.append(_error(f'{where}: no route serves the model "{model}"', cure, place))


def unanswered(model: str, plugin: str) -> Handle:
    """Return what stands where the attempts of another route would: it answers what is no chat."""

    def handle(exchange: Exchange) -> Awaitable[Reply]:
        return _handle(exchange, model, plugin)

    return handle


async def _handle(exchange: Exchange, model: str, plugin: str) -> Reply:
    endpoint = exchange.request.endpoint
    if endpoint is not None and (endpoint.name in COUNTS or endpoint.name == SHOW):
        return made_here(exchange)
    if endpoint is None or not endpoint.is_chat:
        raise BadRequest(f'the model "{model}" takes chats only', param="model")
    raise InternalError(f'the plugin "{plugin}" did not answer for its model "{model}"')


def _wrong(plugin: Plugin, model: object) -> str:
    if not isinstance(model, str) or not model or len(model) > LONGEST_MODEL:
        return f'"{plugin.name}" answers a model whose name is no text of 1 to {LONGEST_MODEL} characters'
    if not (model.isascii() and model.isprintable()) or _SPECIAL & set(model):
        return f'"{plugin.name}" answers "{model}", which is no model\'s name: printable ASCII, without * ? ['
    return ""


def _listed(models: Sequence[str]) -> str:
    return ", ".join(models[:10]) + (", …" if len(models) > 10 else "") if models else "those that a route takes"


def _route(model: str, plugin: str, place: Place) -> RouteConfig:
    return RouteConfig(
        name=model, model=(model,), path=None, header=None, key=None, tags=None, targets=(), fallbacks={},
        balance="ordered", retry_attempts=_RETRY.attempts, retry_on=_RETRY.on, backoff_min_s=_RETRY.backoff_min_s,
        backoff_max_s=_RETRY.backoff_max_s, plugins=(), model_echo=None, on_unsupported="drop", place=place,
        plugin=plugin,
    )  # fmt: skip


def _error(problem: str, cure: str, place: Place) -> ConfigError:
    return ConfigError(problem, file=place.file, line=place.line, column=place.column, path=place.path, cure=cure)
