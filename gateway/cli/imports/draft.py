"""A configuration while it is gathered from another gateway's, in the words of gateway.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.runtime.known import KnownProvider

SAMPLING: Final = {
    "temperature",
    "top_p",
    "max_tokens",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "user",
    "n",
}
"""Request parameters every OpenAI-dialect server takes under the same name."""
_ANTHROPIC: Final = {"temperature", "top_p", "top_k", "max_tokens", "thinking", "stop_sequences"}


@dataclass(frozen=True, slots=True)
class Surface:
    """What this version can express: known providers, plugins found, balances accepted."""

    known: Mapping[str, KnownProvider]
    plugins: frozenset[str]
    balances: frozenset[str]


@dataclass(slots=True)
class Draft:
    """Providers, routes and plugins so far; `lost` are (path in the source, why), `variables` name the keys to set.

    `known` is for the home's own config/providers.yaml: further providers like one that is known already. `without` are
    plugins that a new home has and this one has not; `state` is where counts are shared.
    """

    surface: Surface
    providers: dict[str, dict[str, Any]] = field(default_factory=dict)
    known: dict[str, dict[str, Any]] = field(default_factory=dict)
    routes: list[dict[str, Any]] = field(default_factory=list)
    plugins: dict[str, dict[str, Any]] = field(default_factory=dict)
    without: set[str] = field(default_factory=set)
    state: str | None = None
    lost: list[tuple[str, str]] = field(default_factory=list)
    variables: dict[str, None] = field(default_factory=dict)
    _identities: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def lose(self, path: str, why: str) -> None:
        """Note that something could not be carried over, in text safe for a comment and a terminal."""
        self.lost.append((_visible(path), _visible(why)))

    def lose_rest(self, source: Mapping[str, Any], path: str, carried: Iterable[str] = ()) -> None:
        """Note every key of `source` but those `carried`; what is empty says nothing and is passed over."""
        for key, value in source.items():
            if key not in carried and value not in (None, {}, []):
                self.lose(f"{path}.{key}" if path else key, "has no counterpart here")

    def provider(self, kind: str, base_url: str, variable: str | None) -> str:
        """Return the name of a provider like `kind` at `base_url` ("" for the usual place) with that key variable.

        The first of a kind takes its name; others, at another place or with another key, get a number.
        """
        known = self.surface.known[kind]
        base_url = "" if base_url == (known.base_url or "") else base_url
        variable = variable or known.key_variable
        identity = (kind, base_url, variable or "")
        if identity not in self._identities:
            name, number = kind, 2
            while name in self.providers:
                name, number = f"{kind}-{number}", number + 1
            facts: dict[str, Any] = {"base_url": base_url} if base_url else {}
            if name != kind:
                self.known[name] = {"dialect": known.dialect, **({"base_url": known.base_url} if not base_url else {})}
                self.known[name] |= {"needs_key": known.needs_key, "free": known.free, "quirks": dict(known.quirks)}
            if variable and (known.needs_key or variable != known.key_variable):
                facts["api_key"] = f"${{{variable}:-}}"
                self.variables[variable] = None
            self.providers[name] = facts
            self._identities[identity] = name
        return self._identities[identity]

    def params(self, kind: str, given: Mapping[str, Any], path: str) -> dict[str, Any]:
        """Return those of `given` that a target of `kind` takes under the same name; the others are noted."""
        known = self.surface.known[kind]
        if known.dialect == "ollama":
            takes: set[str] = set()  # Ollama's stand inside `options`, one level deeper than params reach
        else:
            takes = _ANTHROPIC if known.dialect == "anthropic" else SAMPLING
        found: dict[str, Any] = {}
        for name, value in given.items():
            if name not in takes:
                self.lose(f"{path}.{name}", f"{kind} takes no top-level field of this name")
            elif not is_plain(str(value)):
                self.lose(f"{path}.{name}", "holds ${ or a control character, which gateway.yaml would not keep")
            else:
                renamed = known.quirks.get("max_tokens_field", name) if name == "max_tokens" else name
                found[str(renamed)] = value
        return found

    def balance(self, wanted: str, path: str) -> str | None:
        """Return `wanted` when this version has it; otherwise note it, and targets are tried in order."""
        if wanted in self.surface.balances:
            return wanted
        self.lose(path, f"this version has no balance: {wanted}; targets are tried in the order of the file")
        return None

    def plugin(self, name: str, options: Mapping[str, Any], path: str) -> bool:
        """Add options of a global plugin; noted, and False, when there is no such plugin."""
        if name not in self.surface.plugins:
            self.lose(path, f"there is no plugin {name} here")
            return False
        self.plugins.setdefault(name, {}).update(options)
        return True

    def route_name(self, wanted: str) -> str:
        """Return a name that no route has yet, of visible ASCII as a route's must be."""
        wanted = re.sub(r"[^!-~]", "_", wanted)[:90] or "route"
        taken = {route["name"] for route in self.routes}
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}-{number}", number + 1
        return name


def variable_of(key: Any, known: KnownProvider, draft: Draft, path: str) -> str | None:
    """Return the environment variable for a key as the source writes it: `os.environ/NAME`, a literal, or nothing.

    SECURITY: a literal is not copied into a file that is likely to be shared; the variable stands in its place.
    """
    if not isinstance(key, str) or not key:
        return known.key_variable
    found = re.fullmatch(r"os\.environ/([A-Za-z_][A-Za-z0-9_]*)|\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?", key)
    if found:
        return found[1] or found[2]
    if known.key_variable is not None and (
        known.needs_key or key.lower() not in ("none", "fake-key", "anything", "dummy")
    ):
        draft.lose(path, f"a credential is never copied; set {known.key_variable} in the environment")
    return known.key_variable


def shortest(target: Mapping[str, Any], *, weighted: bool) -> Any:
    """Return a target in its shortest form: its name alone when nothing else counts."""
    rest = {key: value for key, value in target.items() if key != "weight" or weighted}
    return rest["target"] if set(rest) == {"target"} else rest


def as_mapping(value: Any) -> dict[str, Any]:
    """Return `value` when it is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return `value` when it is a list, else an empty one."""
    return value if isinstance(value, list) else []


def seconds_of(value: Any) -> float | None:
    """Return a number of seconds that makes sense as a wait, a millisecond to four months; else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if 0.001 <= value <= 10_000_000 else None


def is_plain(text: str) -> bool:
    """Whether gateway.yaml would take `text` as it is: one line, and nothing that it would expand."""
    return text.isprintable() and "${" not in text


def _visible(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)
