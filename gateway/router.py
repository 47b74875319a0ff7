"""Which rule takes a request: the first whose conditions all hold.

Conditions of a `Match` are ANDed, the globs inside one ORed; everything is case-sensitive except header names.
`*`, `?` and `[...]` (`[!...]` negates) mean what they mean in a shell; in a path `*`, `?` and `[...]` stop at `/`
and `**` does not. Two rules keep model requests and other paths apart: a rule without a path condition takes only
requests to a model endpoint that name a model; a rule with a path condition and no model condition takes any.

The order of the file decides, and looking costs no more for a thousand rules than for ten: every rule is filed
under one literal clue (an exact name, or the fixed start or end of a glob) of its rarest condition, so that a
request meets only the rules that share a clue with it. Rules without any clue (`model: "*"`) are met by all.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import lru_cache
from itertools import chain
from typing import Generic, TypeVar

from multidict import MultiMapping

from gateway.route import Match

T = TypeVar("T")
_SPECIAL = re.compile(r"[*?\[]")
_PATH_TOKEN = re.compile(r"/\*\*\Z|\*\*+|\*|\?|\[[!^]?\]?[^\]]*\]|.", re.DOTALL)


@lru_cache(maxsize=4096)
def glob(pattern: str) -> re.Pattern[str]:
    """Return `pattern` compiled for whole model names, keys, tags or header values: `*` takes anything."""
    return re.compile(translate(pattern))


@lru_cache(maxsize=4096)
def path_glob(pattern: str) -> re.Pattern[str]:
    """Return `pattern` compiled for whole paths; each `**` is a group. `/x/**` takes `/x` itself too."""
    parts = []
    for token in _PATH_TOKEN.findall(_trimmed(pattern)):
        if token == "/**":
            parts.append("(?:/(.*))?")
        elif token.startswith("**"):
            parts.append("(.*)")
        elif token == "*":
            parts.append("[^/]*")
        elif token == "?":
            parts.append("[^/]")
        elif len(token) > 1:
            parts.append("(?!/)" + translate(token)[4:-3])  # without fnmatch's (?s:…) and end
        else:
            parts.append(re.escape(token))
    return re.compile("(?s:" + "".join(parts) + r")\Z")


def rest(match: Match, path: str) -> str | None:
    """Return what `**` took of `path`, without a leading slash: what a provider's base URL is extended with.

    None when the match has no path glob with `**` that takes this path. With several `**` the first counts.
    """
    for pattern in match.path or ():
        found = path_glob(pattern).match(_trimmed(path)) if "**" in pattern else None
        if found is not None and found.re.groups:
            return (found[1] or "").lstrip("/")
    return None


def _trimmed(path: str) -> str:
    return path.rstrip("/") or "/"


@dataclass(slots=True)
class _Asked:
    """What a request shows to conditions."""

    model: str
    path: str
    headers: MultiMapping[str]
    principal_name: str | None
    tags: Mapping[str, str]
    is_endpoint: bool

    def values(self, kind: str, name: str) -> Sequence[str]:
        """Return the values a condition looks at; none when the request has nothing of the kind."""
        if kind == "model":
            return (self.model,) if self.model else ()
        if kind == "path":
            return (self.path,)
        if kind == "key":
            return (self.principal_name,) if self.principal_name else ()
        if kind == "tag":
            value = self.tags.get(name)
            return () if value is None else (value,)
        return self.headers.getall(name, ())


class _Condition:
    """One condition: the globs of one thing, ORed. `clues` has None for a glob with no fixed start or end."""

    __slots__ = ("clues", "exact", "kind", "name", "patterns", "regex")

    def __init__(self, kind: str, patterns: Iterable[str], name: str = "") -> None:
        self.kind, self.name = kind, name
        self.patterns = tuple(map(_trimmed, patterns)) if kind == "path" else tuple(patterns)
        self.exact = frozenset(pattern for pattern in self.patterns if not _SPECIAL.search(pattern))
        globs = [pattern for pattern in self.patterns if pattern not in self.exact]
        compiled = path_glob if kind == "path" else glob
        self.regex = re.compile("|".join(compiled(pattern).pattern for pattern in globs)) if globs else None
        self.clues = tuple(_clue(pattern, kind == "path") for pattern in self.patterns)

    def takes(self, values: Sequence[str]) -> bool:
        for value in values:  # noqa: SIM110 — per request, and a generator costs more than the loop
            if value in self.exact or (self.regex is not None and self.regex.match(value)):
                return True
        return False

    def words(self, values: Sequence[str], *, holds: bool) -> str:
        """Return why this condition holds, or does not, for someone who reads the configuration."""
        wanted = self.patterns[0] if len(self.patterns) == 1 else "one of " + ", ".join(self.patterns)
        subject = {"tag": f"tag {self.name}", "header": f"header {self.name}"}.get(self.kind, self.kind)
        if not values:
            missing = {"model": "the request names no model", "key": "the caller is not known by a key"}
            return f"{missing.get(self.kind, f'{subject} is absent')}, the route wants {wanted}"
        shown = values[0] if len(values) == 1 else ", ".join(values)
        if holds:
            return f"{subject} {shown} is {wanted}" if shown in self.exact else f"{subject} {shown} fits {wanted}"
        return f"{subject} {shown} is not {wanted}"


def _clue(pattern: str, is_path: bool) -> tuple[str, str] | None:
    """Return the literal by which `pattern` can be found, with how to compare it."""
    first = _SPECIAL.search(pattern)
    if first is None:
        return "exact", pattern
    # "/x/**" takes "/x" as well, so the slash before the glob is no part of what every path begins with.
    start = pattern[: first.start()].rstrip("/") if is_path else pattern[: first.start()]
    end = pattern[max(pattern.rfind(mark) for mark in "*?]") + 1 :]
    if not start and not end:
        return None
    return ("end", end) if len(end) > len(start) else ("start", start)


class _Rule(Generic[T]):
    """A match with its conditions compiled, in the order in which they are explained."""

    __slots__ = ("conditions", "has_path", "value")

    def __init__(self, match: Match, value: T) -> None:
        self.value = value
        self.has_path = match.path is not None
        conditions = [
            _Condition(kind, patterns)
            for kind, patterns in (("model", match.model), ("path", match.path), ("key", match.key))
            if patterns is not None
        ]
        conditions += [_Condition("tag", patterns, name) for name, patterns in (match.tags or {}).items()]
        conditions += [_Condition("header", patterns, name) for name, patterns in (match.header or {}).items()]
        self.conditions = tuple(conditions)

    def takes(self, asked: _Asked) -> bool:
        if not self.has_path and not (asked.model and asked.is_endpoint):
            return False
        for condition in self.conditions:  # noqa: SIM110 — as above
            if not condition.takes(asked.values(condition.kind, condition.name)):
                return False
        return True

    def reason(self, asked: _Asked) -> str:
        """Return why the rule does not take the request, or all that holds when it does."""
        if not self.has_path and not asked.model:
            return "the request names no model and the route has no path condition"
        if not self.has_path and not asked.is_endpoint:
            return f"{asked.path} is no model endpoint and the route has no path condition"
        seen = [(condition, asked.values(condition.kind, condition.name)) for condition in self.conditions]
        for condition, values in seen:
            if not condition.takes(values):
                return condition.words(values, holds=False)
        return "; ".join(condition.words(values, holds=True) for condition, values in seen) or "it has no conditions"


class _Index:
    """The rules filed under clues of one thing, by how a clue is compared; starts and ends by their length."""

    __slots__ = ("ends", "exact", "starts")

    def __init__(self) -> None:
        self.exact: dict[str, list[int]] = {}
        self.starts: dict[int, dict[str, list[int]]] = {}
        self.ends: dict[int, dict[str, list[int]]] = {}

    def add(self, clue: tuple[str, str], number: int) -> None:
        how, text = clue
        if how == "exact":
            table = self.exact
        else:
            table = (self.starts if how == "start" else self.ends).setdefault(len(text), {})
        table.setdefault(text, []).append(number)

    def find(self, value: str, into: list[list[int]]) -> None:
        """Add to `into` the numbers of every rule filed under a clue that `value` shows."""
        if found := self.exact.get(value):
            into.append(found)
        for length, table in self.starts.items():
            if found := table.get(value[:length]):
                into.append(found)
        for length, table in self.ends.items():
            if found := table.get(value[-length:]):
                into.append(found)


@dataclass(frozen=True, slots=True)
class Verdict(Generic[T]):
    """What one rule says to a request, and why in a sentence."""

    value: T
    taken: bool
    reason: str


MOST_REMEMBERED = 4096
"""Models whose route is remembered when nothing but the model decides; clients choose the names, so it is bounded."""


class Router(Generic[T]):
    """Rules in the order of the file, each with what it selects. Immutable; safe to share."""

    def __init__(self, rules: Sequence[tuple[Match, T]]) -> None:
        self._by_model_alone = all(
            match.path is None and match.header is None and match.key is None and match.tags is None
            for match, _ in rules
        )
        self._remembered: dict[str, T | None] = {}
        self._rules = [_Rule(match, value) for match, value in rules]
        self._always: list[int] = []
        self._indexes: dict[tuple[str, str], _Index] = {}
        crowd = Counter(
            (condition.kind, condition.name, clue)
            for rule in self._rules
            for condition in rule.conditions
            for clue in set(condition.clues)
        )
        for number, rule in enumerate(self._rules):
            usable = [condition for condition in rule.conditions if None not in condition.clues]
            rarest = min(usable, key=lambda each: _crowding(each, crowd), default=None)
            if rarest is None:
                self._always.append(number)
                continue
            index = self._indexes.setdefault((rarest.kind, rarest.name), _Index())
            for clue in set(rarest.clues):
                if clue is not None:
                    index.add(clue, number)

    def find(
        self,
        *,
        model: str,
        path: str,
        headers: MultiMapping[str],
        principal_name: str | None,
        tags: Mapping[str, str],
        is_endpoint: bool = True,
    ) -> T | None:
        """Return what the first rule that takes the request selects, None when none does.

        `model` is "" when the request names none; `path` has no trailing slash; `headers` compares names without
        case. `is_endpoint` False keeps a path that is no model endpoint from rules without a path condition.
        """
        if self._by_model_alone and is_endpoint:
            try:
                return self._remembered[model]
            except KeyError:
                if len(self._remembered) >= MOST_REMEMBERED:
                    self._remembered.clear()
                value = self._remembered[model] = self._search(
                    _Asked(model, path, headers, principal_name, tags, is_endpoint)
                )
                return value
        return self._search(_Asked(model, path, headers, principal_name, tags, is_endpoint))

    def _search(self, asked: _Asked) -> T | None:
        found: list[list[int]] = [self._always] if self._always else []
        for (kind, name), index in self._indexes.items():
            for value in asked.values(kind, name):
                index.find(value, found)
        if not found:
            return None
        # A rule may come up twice, by two clues; looking at it again is cheaper than a set.
        for number in found[0] if len(found) == 1 else sorted(chain.from_iterable(found)):
            rule = self._rules[number]
            if rule.takes(asked):
                return rule.value
        return None

    def explain(
        self,
        *,
        model: str,
        path: str,
        headers: MultiMapping[str],
        principal_name: str | None,
        tags: Mapping[str, str],
        is_endpoint: bool = True,
    ) -> list[Verdict[T]]:
        """Return the verdict of every rule up to the first that takes the request; of all when none does."""
        asked = _Asked(model, path, headers, principal_name, tags, is_endpoint)
        verdicts = []
        for rule in self._rules:
            taken = rule.takes(asked)
            verdicts.append(Verdict(rule.value, taken, rule.reason(asked)))
            if taken:
                break
        return verdicts


def _crowding(condition: _Condition, crowd: Counter[tuple[str, str, tuple[str, str] | None]]) -> int:
    """Return how many rules share the condition's most common clue."""
    return max((crowd[condition.kind, condition.name, clue] for clue in condition.clues), default=0)
