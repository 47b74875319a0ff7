"""What a caller may use: the models and routes that stand beside its key."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.errors import PermissionDenied
from gateway.exchange import Principal
from gateway.plugin import Plugin
from gateway.route import Route
from gateway.router import glob


def refuse_foreign(principal: Principal, model: str, route: str) -> None:
    """Raises: PermissionDenied when the caller may not use this model, or this route.

    A request that names no model that the gateway reads (a path route, a multipart body without one) is refused to
    who is bound to models: nobody knows which one it would use.
    """
    if not is_allowed(principal.routes, route):
        raise PermissionDenied(f'this key may not use the route "{route}"')
    if not is_allowed(principal.models, model):
        what = f'the model "{model[:200]}"' if model else "a request that names no model"
        raise PermissionDenied(f"this key may not use {what}", param="model")


def is_configured(plugins: Iterable[Plugin], route: Route | None, model: str) -> bool:
    """Return whether the configuration says that the plugin which answers on `route` asks for `model`: then its caller,
    who never names the model, needs no permission but for the route."""
    return route is not None and any(each.name == route.plugin and model in each.asks for each in plugins)


def is_allowed(patterns: tuple[str, ...] | None, name: str) -> bool:
    """Return whether one of `patterns` takes `name`; None takes every name."""
    return patterns is None or (bool(name) and any(glob(pattern).match(name) for pattern in patterns))
