"""The `routes:` section: conditions, targets, fallbacks, retry."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from gateway.route import Retry
from gateway.runtime.config import Place, PluginConfig, RouteConfig, ShadowConfig, TargetConfig
from gateway.runtime.document import Node
from gateway.runtime.entries import Entry, EntryReader
from gateway.runtime.hedge import read_hedge
from gateway.runtime.surface import ROUTE
from gateway.runtime.text import duration_range
from gateway.runtime.validate import Rules, check, shown, suggest
from gateway.upstream.balance import WEIGHED

_RULES: Final = Rules(ROUTE)
_CAUSES: Final = ("any", "context_length", "content_filter")
_DEFAULT: Final = Retry()
_TARGET_MODEL = re.compile(r"[!-~]{1,256}")


class RouteReader:
    """Reads routes; collects errors and warnings. `providers` are the names declared, None when they are not
    all known; `known` are those that could be."""

    def __init__(
        self,
        providers: frozenset[str] | None,
        known: frozenset[str],
        entries: EntryReader,
        chain: Mapping[str, tuple[PluginConfig, Entry]],
    ) -> None:
        self.providers, self.known, self.entries, self.chain = providers, known, entries, chain
        self.errors = entries.errors
        self.warnings: list[str] = []

    def read(self, node: Node, path: str) -> RouteConfig | None:
        """Return the route, None when it is wrong; why is then in `errors`."""
        before = len(self.errors)
        self.errors.extend(check(node, _RULES, path))
        if not isinstance(node.value, dict):
            return None
        plugins_node = node.value.get("plugins")
        written = plugins_node.value if plugins_node is not None and isinstance(plugins_node.value, list) else []
        plugins = self.entries.read_route(
            [(one, f"{path}.plugins[{number}]") for number, one in enumerate(written)], self.chain
        )
        # What the schema refused is left alone below; the rest is still read, so that all errors show at once.
        match = self._match(node, f"{path}.match")
        targets = self._targets(node.value.get("targets"), f"{path}.targets")
        fallbacks = self._fallbacks(node.value.get("fallbacks"), f"{path}.fallbacks")
        listed = (*targets, *fallbacks.get("any", ())) if len(self.errors) == before else None
        hedge = read_hedge(node.value.get("hedge"), f"{path}.hedge", listed, self.errors)
        shadow = self._shadow(node.value.get("shadow"), f"{path}.shadow")
        if len(self.errors) > before or node.is_broken():
            return None
        plain: dict[str, Any] = {
            key: below.plain()
            for key, below in node.value.items()
            if key in ("name", "balance", "retry", "model_echo", "on_unsupported")
        }
        self._idle_weights(node, path, plain.get("balance", "ordered"))
        retry = plain.get("retry", {})
        low, high = (
            duration_range(retry["backoff"]) if "backoff" in retry else (_DEFAULT.backoff_min_s, _DEFAULT.backoff_max_s)
        )
        return RouteConfig(
            name=plain["name"],
            model=match.get("model"),
            path=match.get("path"),
            header=match.get("header"),
            key=match.get("key"),
            tags=match.get("tags"),
            targets=targets,
            fallbacks=fallbacks,
            balance=plain.get("balance", "ordered"),
            retry_attempts=int(retry.get("attempts", _DEFAULT.attempts)),
            retry_on=frozenset(str(kind) for kind in retry["on"]) if "on" in retry else _DEFAULT.on,
            backoff_min_s=low,
            backoff_max_s=high,
            plugins=plugins,
            model_echo=plain.get("model_echo"),
            on_unsupported=plain.get("on_unsupported", "drop"),
            place=_place(node, path),
            hedge=hedge,
            shadow=shadow,
        )

    def _shadow(self, node: Node | None, path: str) -> ShadowConfig | None:
        if node is None or not isinstance(node.value, dict) or node.is_broken():
            return None
        target, share = self._target(node, path), node.value.get("percent")
        if target is None:
            return None
        given = share.value if share is not None else 100
        return ShadowConfig(target, float(given) / 100 if isinstance(given, int | float) else 1.0)

    def _idle_weights(self, route: Node, path: str, balance: str) -> None:
        """Warn of every weight that changes nothing: the balance does not go by weights, or it is a fallback's."""
        listed = [] if balance in WEIGHED else [(route.value["targets"], f"{path}.targets", f"balance {balance}")]
        fallbacks = route.value.get("fallbacks")
        if fallbacks is not None and isinstance(fallbacks.value, dict):
            listed += [(node, f"{path}.fallbacks.{cause}", "fallbacks") for cause, node in fallbacks.value.items()]
        elif fallbacks is not None:
            listed.append((fallbacks, f"{path}.fallbacks", "fallbacks"))
        for targets, where, who in listed:
            for number, one in enumerate(targets.value):
                weight = one.value.get("weight") if isinstance(one.value, dict) else None
                if weight is None or weight.value == 1:
                    continue
                cure = f"remove it, or set balance to one that goes by weight: {', '.join(sorted(WEIGHED))}"
                if who == "fallbacks":
                    cure = "remove it: fallbacks are tried as they are listed"
                place = f"{where}[{number}].weight"
                self.warnings.append(str(weight.error(f"weight has no meaning under {who}", path=place, cure=cure)))

    def _match(self, route: Node, path: str) -> dict[str, Any]:
        node = route.value.get("match")
        if node is None or not isinstance(node.value, dict):
            return {}
        found: dict[str, Any] = {}
        for condition, value in node.value.items():
            where = f"{path}.{condition}"
            if condition in ("header", "tags") and isinstance(value.value, dict):
                found[condition] = {
                    (name.lower() if condition == "header" else name): self._globs(globs, f"{where}.{name}", condition)
                    for name, globs in value.value.items()
                }
            elif condition in ("model", "path", "key"):
                found[condition] = self._globs(value, where, condition)
        return found

    def _globs(self, node: Node, path: str, condition: str) -> tuple[str, ...]:
        globs: list[str] = []
        for one in node.value if isinstance(node.value, list) else [node]:
            if isinstance(one.value, str):
                problem, cure = _glob_problem(one, condition)
                if problem:
                    self.errors.append(one.error(problem, path=path, cure=cure))
                globs.append(one.value)
        return tuple(globs)

    def _targets(self, node: Node | None, path: str) -> tuple[TargetConfig, ...]:
        if node is None or not isinstance(node.value, list):
            return ()
        read = [self._target(one, f"{path}[{number}]") for number, one in enumerate(node.value)]
        return tuple(target for target in read if target is not None)

    def _fallbacks(self, node: Node | None, path: str) -> dict[str, tuple[TargetConfig, ...]]:
        if node is None:
            return {}
        if isinstance(node.value, list):
            return {"any": self._targets(node, path)} if node.value else {}
        if not isinstance(node.value, dict):
            return {}
        return {cause: self._targets(node.value[cause], f"{path}.{cause}") for cause in _CAUSES if cause in node.value}

    def _target(self, node: Node, path: str) -> TargetConfig | None:
        facts = node.value if isinstance(node.value, dict) else {}
        name = facts.get("target") if facts else node
        if name is None or not isinstance(name.value, str) or name.broken:
            return None
        provider, slash, model = name.value.partition("/")
        said = shown(name, "")
        if not slash or not provider or not model:
            self.errors.append(
                name.error(
                    f"{said} is not provider/model",
                    path=path,
                    cure="write for example openai/gpt-5, or openai/* to keep the client's model",
                )
            )
            return None
        if model != "*" and ("*" in model or not _TARGET_MODEL.fullmatch(model)):
            self.errors.append(
                name.error(
                    f"the model of {said} is not one name",
                    path=path,
                    cure="name one model, or * alone to keep the client's",
                )
            )
            return None
        if self.providers is not None and provider not in self.providers:
            called = "of this target" if name.variables else f'"{provider}"'
            if provider in self.known:
                problem, cure = f"provider {called} is known but not declared", f"add {provider}: {{}} under providers:"
            else:
                problem, cure = f"unknown provider {called}", suggest(provider, self.providers, otherwise="declared")
            self.errors.append(name.error(problem, path=path, cure=cure))
            return None
        for key in ("params", "override"):
            for below in facts[key].walk() if key in facts else ():
                if isinstance(below.value, float) and not math.isfinite(below.value):
                    problem = f"{key} holds a number that JSON does not have"
                    self.errors.append(below.error(problem, path=f"{path}.{key}", cure="write a finite number"))
        weight = facts["weight"].value if "weight" in facts else 1
        return TargetConfig(
            provider=provider,
            model=model,
            weight=int(weight) if isinstance(weight, (int, float)) else 1,
            params=_object(facts.get("params")),
            override=_object(facts.get("override")),
            place=_place(node, path),
        )


def _object(node: Node | None) -> dict[str, Any]:
    value = node.plain() if node is not None else {}
    return value if isinstance(value, dict) else {}


def _place(node: Node, path: str) -> Place:
    return Place(node.file, node.line, node.column, path)


def _glob_problem(node: Node, condition: str) -> tuple[str, str]:
    """Return what is wrong with a glob and the cure; both empty when nothing is."""
    glob: str = node.value
    said = shown(node, "")
    if any(not character.isprintable() for character in glob):
        return "this glob holds a control character", "remove it"
    if condition == "path" and not glob.startswith(("/", "*")):
        return f"the path {said} does not begin with /", "write for example /openai/**"
    rest = glob
    while (start := rest.find("[")) >= 0:
        # As in a shell, a ] right after [ or [! stands for itself.
        skip = start + 2 + rest[start + 1 :].startswith("!")
        end = rest.find("]", skip)
        if end < 0:
            return f"the glob {said} has a [ without its ]", "close it, or write [[] for the character itself"
        rest = rest[end + 1 :]
    return "", ""
