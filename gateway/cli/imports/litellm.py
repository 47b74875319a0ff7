"""LiteLLM proxy's config.yaml.

Facts from docs.litellm.ai (proxy/configs, proxy/config_settings, routing; updated October and November 2026):
entries of `model_list` with one `model_name` form a group; `litellm_params.model` is `provider/model`, bare names are
OpenAI's or Anthropic's; `os.environ/NAME` reads a variable; `simple-shuffle`, the default strategy, picks at random
by `weight`, else by `rpm`, else by `tpm`; `num_retries` counts tries after the first; a fallback names another
group; `model_group_alias` gives a group a second name; times are seconds. A parameter in litellm_params is a
default that the request may replace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.cli.imports.draft import Draft, as_list, as_mapping, is_plain, shortest, variable_of
from gateway.cli.imports.litellm_router import REDIS, numbers, state

PROVIDERS: Final = {
    "openai": "openai", "anthropic": "anthropic", "gemini": "gemini", "groq": "groq", "deepseek": "deepseek",
    "openrouter": "openrouter", "mistral": "mistral", "together_ai": "together", "fireworks_ai": "fireworks",
    "xai": "xai", "perplexity": "perplexity", "cerebras": "cerebras", "azure": "azure", "ollama": "ollama",
    "ollama_chat": "ollama", "hosted_vllm": "vllm", "lm_studio": "lmstudio", "text-completion-openai": "openai",
}  # fmt: skip
STRATEGIES: Final = {
    "simple-shuffle": "weighted",
    "least-busy": "least_busy",
    "latency-based-routing": "fastest",
    "cost-based-routing": "cheapest",
}
_PLACE: Final = ("model", "api_key", "api_base", "base_url", "custom_llm_provider")
_OPENAI_NAME = re.compile(r"(gpt-|o[0-9]|chatgpt-|text-embedding-|dall-e|whisper|tts-|omni-moderation)")
_CAUSES: Final = {
    "fallbacks": "any",
    "context_window_fallbacks": "context_length",
    "content_policy_fallbacks": "content_filter",
}


def carry_over(source: Mapping[str, Any], draft: Draft) -> None:
    """Fill `draft` from a whole config.yaml."""
    groups = _groups(source, draft)
    router = as_mapping(source.get("router_settings"))
    settings = as_mapping(source.get("litellm_settings"))
    aliases = _aliases(router, groups, draft)
    _routes(groups, aliases, router, draft)
    for section, name in ((router, "router_settings"), (settings, "litellm_settings")):
        _fallbacks(section, name, groups, draft)
        numbers(section, name, draft)
    _default_fallbacks(settings, groups, draft)
    _unsupported(settings, draft)
    state(router, draft)
    for route in draft.routes:
        if set(route.get("fallbacks", ())) == {"any"}:
            route["fallbacks"] = route["fallbacks"]["any"]
    carried = {"fallbacks", "context_window_fallbacks", "content_policy_fallbacks", "default_fallbacks", "drop_params",
               "num_retries", "timeout", "request_timeout", "allowed_fails", "cooldown_time",
               "disable_cooldowns"}  # fmt: skip
    draft.lose_rest(
        router,
        "router_settings",
        carried - {"default_fallbacks", "drop_params"} | {"routing_strategy", "model_group_alias", *REDIS},
    )
    if settings.get("cache"):
        draft.lose("litellm_settings.cache", "the plugin cache keeps answers for one caller each; add it by hand")
    draft.lose_rest(settings, "litellm_settings", {*carried, "cache"})
    general = as_mapping(source.get("general_settings"))
    if general.get("master_key"):
        # SECURITY: a gateway that asked for a key is not turned into one that lets everybody in.
        draft.plugin("auth", {"anonymous": "never"}, "general_settings.master_key")
        why = "is never copied; nobody gets in until `gateway keys new NAME --save` has made a key"
        draft.lose("general_settings.master_key", why)
    draft.lose_rest(general, "general_settings", ("master_key",))
    draft.lose_rest(source, "", ("model_list", "router_settings", "litellm_settings", "general_settings"))


class _Group:
    """The deployments of one model_name."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.targets: list[dict[str, Any]] = []
        self.paths: list[str] = []
        self.route: dict[str, Any] | None = None


def _groups(source: Mapping[str, Any], draft: Draft) -> dict[str, _Group]:
    groups: dict[str, _Group] = {}
    for number, entry in enumerate(as_list(source.get("model_list"))):
        path = f"model_list[{number}]"
        entry = as_mapping(entry)
        name, params = entry.get("model_name"), as_mapping(entry.get("litellm_params"))
        if not isinstance(name, str) or not name or not isinstance(params.get("model"), str):
            draft.lose(path, "has no model_name or no litellm_params.model")
            continue
        if not is_plain(name):
            draft.lose(f"{path}.model_name", "holds ${ or a control character")
            continue
        draft.lose_rest(entry, path, ("model_name", "litellm_params"))
        target = _target(name, params, f"{path}.litellm_params", draft)
        if target is not None:
            group = groups.setdefault(name, _Group(name))
            group.targets.append(target)
            group.paths.append(path)
    return groups


def _target(group: str, params: Mapping[str, Any], path: str, draft: Draft) -> dict[str, Any] | None:
    kind, model = _provider_and_model(params)
    if kind is None:
        draft.lose(f"{path}.model", f'no provider here is like that of "{params["model"]}"')
        return None
    if "*" in model:
        # Ours keeps the client's whole name, which is what LiteLLM sends when nothing is cut off in front.
        if group not in ("*", model):
            draft.lose(f"{path}.model", f'"{group}" to "{params["model"]}" changes the name by a pattern')
            return None
        model = "*"
    if not re.fullmatch(r"[!-~]{1,256}", model) or not is_plain(model):
        draft.lose(f"{path}.model", "is not a plain model name")
        return None
    known = draft.surface.known[kind]
    variable = variable_of(params.get("api_key"), known, draft, f"{path}.api_key")
    base_url = _base_url(kind, params.get("api_base") or params.get("base_url"), path, draft)
    if base_url == "" and not known.base_url:
        draft.lose(path, f"{kind} has no usual address, and none is given in api_base")
    if base_url is None or not (base_url or known.base_url):
        return None
    limits = {"rpm", "tpm", "weight"}
    given = {
        key: value for key, value in params.items() if key not in _PLACE and key not in limits and value is not None
    }
    target: dict[str, Any] = {"target": f"{draft.provider(kind, base_url, variable)}/{model}"}
    if kind == "azure" and given.pop("api_version", None) is not None:
        draft.lose(f"{path}.api_version", "Azure's v1 address, used here, takes none")
    fitting = draft.params(kind, given, path)
    if fitting:
        target["params"] = fitting
    for limit in ("rpm", "tpm"):
        if params.get(limit) is not None:
            draft.lose(
                f"{path}.{limit}", "is a weight at most: there is no limit per target, only rate_limit's on a route"
            )
    weights = (params.get(each) for each in ("weight", "rpm", "tpm"))
    target["weight"] = next((each for each in weights if isinstance(each, int) and 0 < each <= 1_000_000), 1)
    return target


def _provider_and_model(params: Mapping[str, Any]) -> tuple[str | None, str]:
    text = str(params["model"])
    prefix, slash, rest = text.partition("/")
    named = params.get("custom_llm_provider")
    if isinstance(named, str) and named:
        return PROVIDERS.get(named), rest if slash and prefix == named else text
    if slash:
        return PROVIDERS.get(prefix), rest
    if _OPENAI_NAME.match(text):
        return "openai", text
    return ("anthropic" if text.startswith("claude-") else None), text


def _base_url(kind: str, given: Any, path: str, draft: Draft) -> str | None:
    """Return an address in our form, "" for the usual one, None when it cannot be used."""
    if not given:
        return ""
    if not isinstance(given, str) or not re.fullmatch(r"https?://[^\s/${}]+[^\s${}]*", given):
        from_environment = isinstance(given, str) and re.fullmatch(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)", given)
        why = f"write ${{{from_environment[1]}}} as base_url by hand" if from_environment else "is no http address"
        draft.lose(f"{path}.api_base", why)
        return None
    url = given.rstrip("/")
    if kind == "azure" and not url.endswith("/openai/v1"):
        return url + "/openai/v1"
    if kind == "anthropic":
        return url.removesuffix("/v1/messages").removesuffix("/v1")
    return url.removesuffix("/chat/completions")


def _aliases(router: Mapping[str, Any], groups: Mapping[str, _Group], draft: Draft) -> dict[str, list[str]]:
    """Return further names by group."""
    found: dict[str, list[str]] = {}
    for alias, meant in as_mapping(router.get("model_group_alias")).items():
        group = str(meant.get("model") if isinstance(meant, dict) else meant)
        path = f"router_settings.model_group_alias.{alias}"
        if group not in groups or not is_plain(str(alias)):
            draft.lose(
                path, f'there is no group "{group}"' if group not in groups else "holds ${ or a control character"
            )
            continue
        found.setdefault(group, []).append(str(alias))
        if isinstance(meant, dict):
            draft.lose_rest(meant, path, ("model",))
    return found


def _routes(
    groups: Mapping[str, _Group], aliases: Mapping[str, list[str]], router: Mapping[str, Any], draft: Draft
) -> None:
    strategy = router.get("routing_strategy") or "simple-shuffle"
    wanted = STRATEGIES.get(str(strategy))
    if wanted is None:
        draft.lose("router_settings.routing_strategy", f'nothing here is like "{strategy}"; targets are tried in order')
    # First match wins here, whatever is more exact: exact names go before patterns, `*` goes last.
    for group in sorted(groups.values(), key=lambda group: ("*" in group.pattern, group.pattern == "*")):
        # Of our patterns LiteLLM's names know only `*`.
        models = [re.sub(r"([?\[])", r"[\1]", name) for name in (group.pattern, *aliases.get(group.pattern, ()))]
        route: dict[str, Any] = {
            "name": draft.route_name(group.pattern),
            "match": {"model": models[0] if len(models) == 1 else models},
        }
        balance = None
        if len(group.targets) > 1 and wanted is not None:
            path = f"router_settings.routing_strategy ({strategy}, for {group.pattern})"
            balance = draft.balance(wanted, path)
        route["targets"] = [shortest(target, weighted=balance == "weighted") for target in group.targets]
        if balance:
            route["balance"] = balance
        group.route = route
        draft.routes.append(route)


def _fallbacks(section: Mapping[str, Any], name: str, groups: Mapping[str, _Group], draft: Draft) -> None:
    for key, cause in _CAUSES.items():
        for number, entry in enumerate(as_list(section.get(key))):
            for group, others in as_mapping(entry).items():
                path = f"{name}.{key}[{number}].{group}"
                owners = list(groups) if group == "*" else [group]
                for owner in owners:
                    _fall_back(groups, owner, as_list(others), cause, path, draft)


def _default_fallbacks(settings: Mapping[str, Any], groups: Mapping[str, _Group], draft: Draft) -> None:
    others = as_list(settings.get("default_fallbacks"))
    for owner, group in groups.items():
        if others and group.route is not None and "any" not in group.route.get("fallbacks", {}):
            _fall_back(
                groups,
                owner,
                [each for each in others if each != owner],
                "any",
                "litellm_settings.default_fallbacks",
                draft,
            )


def _fall_back(
    groups: Mapping[str, _Group], owner: str, others: list[Any], cause: str, path: str, draft: Draft
) -> None:
    group = groups.get(owner)
    if group is None or group.route is None:
        draft.lose(path, f'there is no group "{owner}"')
        return
    for other in others:
        found = groups.get(str(other))
        if found is None or found.route is None:
            draft.lose(path, f'there is no group "{other}"')
            continue
        targets = [shortest(target, weighted=False) for target in found.targets]
        if "*" in owner or not any("/*" in str(target) for target in targets):
            group.route.setdefault("fallbacks", {}).setdefault(cause, []).extend(targets)
        else:
            draft.lose(path, f"\"{other}\" keeps the client's model name, which is another model's")


def _unsupported(settings: Mapping[str, Any], draft: Draft) -> None:
    if isinstance(settings.get("drop_params"), bool):
        for route in draft.routes:
            route["on_unsupported"] = "drop" if settings["drop_params"] else "error"
