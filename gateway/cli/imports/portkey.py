"""Portkey's gateway config, a JSON object.

Facts from portkey.ai/docs (product/ai-gateway: configs, fallbacks, load-balancing, conditional-routing,
automatic-retries, request-timeouts; read November 2026): `strategy.mode` is single, fallback, loadbalance or
conditional; targets may hold strategies of their own; `retry.attempts` counts tries after the first, on 429, 500, 502,
503 and 504 unless `on_status_codes` says otherwise; a fallback without `on_status_codes` follows any answer that is
not 2xx; `request_timeout` is milliseconds; `override_params` replace the request's; a virtual key is a credential
kept at Portkey. Keys may be written in camelCase too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.cli.imports.draft import Draft, as_list, as_mapping, is_plain, seconds_of, shortest, variable_of
from gateway.runtime import written

PROVIDERS: Final = {
    "openai": "openai", "anthropic": "anthropic", "google": "gemini", "groq": "groq", "deepseek": "deepseek",
    "openrouter": "openrouter", "mistral-ai": "mistral", "together-ai": "together", "fireworks-ai": "fireworks",
    "x-ai": "xai", "perplexity-ai": "perplexity", "cerebras": "cerebras", "ollama": "ollama", "lmstudio": "lmstudio",
}  # fmt: skip
_TARGET_KEYS: Final = (
    "name", "provider", "api_key", "virtual_key", "custom_host", "weight", "override_params", "retry",
    "request_timeout", "strategy", "targets", "cache",
)  # fmt: skip
_OF_A_REQUEST: Final = ("retry", "request_timeout", "cache", "override_params")


def carry_over(source: Mapping[str, Any], draft: Draft) -> None:
    """Fill `draft` from a whole config: one route for every model, or one for each condition and a last one."""
    root = _snake(source)
    draft.lose_rest(root, "", _TARGET_KEYS)
    if root.get("virtual_key") and "targets" not in root and "provider" not in root:
        draft.lose("virtual_key", "names a credential and a provider that Portkey keeps")
    if as_mapping(root.get("strategy")).get("mode") == "conditional":
        _conditions(root, draft)
    else:
        _route(draft, "all", {}, root, "")
    _cache(root, draft)


def _snake(value: Any) -> Any:
    """Return the config with its own keys in snake_case; what is inside override_params and queries is the user's."""
    if isinstance(value, list):
        return [_snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    found = {}
    for key, item in value.items():
        name = re.sub(r"(?<=[a-z])([A-Z])", lambda letter: "_" + letter[1].lower(), str(key))
        found[name] = item if name in ("override_params", "query") else _snake(item)
    return found


def _route(draft: Draft, name: str, match: Mapping[str, Any], node: Mapping[str, Any], path: str) -> None:
    """Add a route for `node`, a target or a strategy with targets; none when no target is left."""
    strategy, targets = as_mapping(node.get("strategy")), _targets(node, path, draft, {})
    if not targets:
        draft.lose(path or "targets", "no target is left, so there is no route")
        return
    mode = str(strategy.get("mode") or "single")
    balance = (
        draft.balance("weighted", _at(path, "strategy.mode")) if mode == "loadbalance" and len(targets) > 1 else None
    )
    route: dict[str, Any] = {"name": draft.route_name(name if is_plain(name) else "route")}
    if match:
        route["match"] = dict(match)
    route["targets"] = [shortest(target, weighted=balance == "weighted") for target in targets]
    if balance:
        route["balance"] = balance
    retry = _retry(node, strategy, path, draft)
    if retry:
        route["retry"] = retry
    if (timeout := _timeout(node, path, draft)) is not None:
        route["plugins"] = [{"timeouts": {"total": timeout}}]
    draft.routes.append(route)


def _targets(node: Mapping[str, Any], path: str, draft: Draft, override: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the targets of `node` in order, nested ones in their parent's place."""
    override = {**override, **as_mapping(node.get("override_params"))}
    if "targets" not in node:
        target = _target(node, path, draft, override)
        return [target] if target else []
    found = []
    for number, inner in enumerate(as_list(node.get("targets"))):
        inner, where = as_mapping(inner), f"{_at(path, 'targets')}[{number}]"
        draft.lose_rest(inner, where, _TARGET_KEYS)
        if isinstance(inner.get("strategy"), dict) and "targets" in inner:
            draft.lose(f"{where}.strategy", "a strategy inside a strategy; its targets take its place, in order")
        for key in ("retry", "request_timeout", "cache"):
            if inner.get(key) is not None:
                draft.lose(f"{where}.{key}", "is the whole route's here, not one target's")
        found += _targets(inner, where, draft, override)
    return found


def _target(node: Mapping[str, Any], path: str, draft: Draft, override: Mapping[str, Any]) -> dict[str, Any] | None:
    named = str(node.get("provider") or "")
    kind = PROVIDERS.get(named)
    if kind is None:
        if named.startswith("@") or (not named and node.get("virtual_key")):
            draft.lose(
                _at(path, "provider" if named else "virtual_key"),
                "names a provider and a credential that Portkey keeps",
            )
        else:
            draft.lose(_at(path, "provider"), f'no provider here is like "{named}"' if named else "is missing")
        return None
    known = draft.surface.known[kind]
    if node.get("virtual_key"):
        draft.lose(_at(path, "virtual_key"), f"names a credential that Portkey keeps; set {known.key_variable}")
    base_url = node.get("custom_host") or ""
    if base_url and not re.fullmatch(r"https?://[^\s/${}]+[^\s${}]*", str(base_url)):
        draft.lose(_at(path, "custom_host"), "is no http address")
        return None
    base_url = str(base_url).rstrip("/")
    base_url = base_url.removesuffix("/v1") if known.dialect in ("anthropic", "ollama") else base_url
    model = override.get("model", "*")
    fits = isinstance(model, str) and is_plain(model) and re.fullmatch(r"\*|[!-)+-~]{1,256}", model)
    if not fits:
        draft.lose(_at(path, "override_params.model"), "is not a plain model name")
        return None
    variable = variable_of(node.get("api_key"), known, draft, _at(path, "api_key"))
    target: dict[str, Any] = {"target": f"{draft.provider(kind, base_url, variable)}/{model}"}
    others = {key: value for key, value in override.items() if key != "model"}
    fitting = draft.params(kind, others, _at(path, "override_params"))
    if fitting:
        target["override"] = fitting
    weight = node.get("weight")
    if isinstance(weight, (int, float)) and not isinstance(weight, bool) and weight <= 0:
        draft.lose(_at(path, "weight"), "is nothing: the target would never be chosen")
        return None
    # Portkey's weights are often fractions of 1, ours whole numbers.
    number = weight if isinstance(weight, (int, float)) and not isinstance(weight, bool) else 1
    target["weight"] = max(1, min(1_000_000, round(number * 1000)))
    return target


def _retry(node: Mapping[str, Any], strategy: Mapping[str, Any], path: str, draft: Draft) -> dict[str, Any]:
    retry = as_mapping(node.get("retry"))
    found: dict[str, Any] = {}
    draft.lose_rest(retry, _at(path, "retry"), ("attempts", "on_status_codes"))
    draft.lose_rest(strategy, _at(path, "strategy"), ("mode", "on_status_codes", "conditions", "default"))
    attempts = retry.get("attempts")
    if isinstance(attempts, int) and not isinstance(attempts, bool) and 0 <= attempts < 100:
        found["attempts"] = attempts + 1
    codes: list[Any] = []
    for at, given in (("retry.on_status_codes", retry), ("strategy.on_status_codes", strategy)):
        for code in as_list(given.get("on_status_codes")):
            codes.append(code)
            if code != 429 and not (isinstance(code, int) and 500 <= code < 600):
                draft.lose(_at(path, at), f"{code} is never tried again here")
            elif code != 429:
                draft.lose(_at(path, at), f"{code} alone cannot be named; 5xx stands for all of them")
    kinds: list[Any] = ["connect", "timeout", "broken"] + ([429] if 429 in codes else [])
    kinds += ["5xx"] if any(isinstance(code, int) and 500 <= code < 600 for code in codes) else []
    if codes:
        found["on"] = kinds
    elif strategy.get("mode") == "fallback":
        draft.lose(
            _at(path, "strategy.mode"), "a fallback follows connect, timeout, 429, 5xx and broken here, not every error"
        )
    return found


def _timeout(node: Mapping[str, Any], path: str, draft: Draft) -> str | None:
    given = node.get("request_timeout")
    if given is None:
        return None
    seconds = seconds_of(given / 1000) if isinstance(given, (int, float)) and not isinstance(given, bool) else None
    if seconds is None:
        draft.lose(_at(path, "request_timeout"), "is no time in milliseconds")
        return None
    if "timeouts" not in draft.surface.plugins:
        draft.lose(_at(path, "request_timeout"), "there is no plugin timeouts here")
        return None
    return written.duration(seconds)


def _conditions(root: Mapping[str, Any], draft: Draft) -> None:
    strategy = as_mapping(root["strategy"])
    shared = {key: root[key] for key in _OF_A_REQUEST if key in root}
    named: dict[str, tuple[Mapping[str, Any], str]] = {}
    for number, target in enumerate(as_list(root.get("targets"))):
        target, where = as_mapping(target), f"targets[{number}]"
        draft.lose_rest(target, where, _TARGET_KEYS)
        named[str(target.get("name"))] = ({**shared, **target}, where)
    used = set()
    for number, condition in enumerate(as_list(strategy.get("conditions"))):
        condition, path = as_mapping(condition), f"strategy.conditions[{number}]"
        match, then = _match(condition.get("query")), str(condition.get("then"))
        if match is None:
            draft.lose(
                f"{path}.query", "only params.model with $eq or $in, and url.pathname with $eq, have a counterpart"
            )
        elif then not in named:
            draft.lose(f"{path}.then", f'there is no target "{then}"')
        else:
            used.add(then)
            _route(draft, then, match, *named[then])
    default = strategy.get("default")
    if default is not None and str(default) in named:
        used.add(str(default))
        _route(draft, str(default), {}, *named[str(default)])
    elif default is not None:
        draft.lose("strategy.default", f'there is no target "{default}"')
    for name, (_, where) in named.items():
        if name not in used:
            draft.lose(where, "no condition that was carried over names it")


def _match(query: Any) -> dict[str, Any] | None:
    if not isinstance(query, dict) or len(query) != 1:
        return None
    subject, test = next(iter(query.items()))
    condition = {"params.model": "model", "url.pathname": "path"}.get(str(subject))
    if isinstance(test, str):
        test = {"$eq": test}
    if condition is None or not isinstance(test, dict) or len(test) != 1:
        return None
    operator, wanted = next(iter(test.items()))
    values = [wanted] if operator == "$eq" else wanted if operator == "$in" else None
    if (
        not isinstance(values, list)
        or not values
        or not all(isinstance(each, str) and each and is_plain(each) for each in values)
    ):
        return None
    literal = [re.sub(r"([*?\[])", r"[\1]", each) for each in values]
    return {condition: literal[0] if len(literal) == 1 else literal}


def _cache(root: Mapping[str, Any], draft: Draft) -> None:
    cache = as_mapping(root.get("cache"))
    if not cache:
        return
    if cache.get("mode") != "simple":
        draft.lose("cache.mode", f'a cache by meaning ("{cache.get("mode")}") has no counterpart')
        return
    draft.plugin("cache", {}, "cache")
    # Portkey's pages disagree on the unit of max_age, seconds or milliseconds, so it is not guessed.
    draft.lose_rest(cache, "cache", ("mode",))


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
