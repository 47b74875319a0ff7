"""The text of a configuration with its secrets taken out, line for line as it was.

Three nets, because each alone has holes: what stands where a credential stands (by the names on the way to it), every
secret that is known, wherever it stands, and what looks like a credential. `${VAR}` stays as written, for it says
where a secret comes from and not what it is.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Protocol

from gateway.plugin import Plugin
from gateway.runtime.config import Config, PluginConfig
from gateway.runtime.document import events
from gateway.runtime.written import HIDDEN
from gateway.secret import Secret

Clean = Callable[[bytes], bytes]
"""The log's redactor: knows every secret that this process ever had."""
_NAMES: Final = r"secret|passw|passphrase|credential|hash|authorization|cookie|signature|private|keys?$|token$"
_HELD = re.compile(_NAMES, re.IGNORECASE)
_ALL_BELOW = re.compile(r"secret|passw|credential|^headers$|authorization|cookie", re.IGNORECASE)
_HARMLESS: Final = frozenset({"first_token"})
_REFERENCE = re.compile(r"\$\{[^{}]*\}")
_DEFAULT = re.compile(r"(\$\{[A-Za-z_][A-Za-z0-9_]*:-)[^{}]+\}")
_NAMED = re.compile(
    r"(?i)([\w.-]{0,60}(?:secret|passw|passphrase|credential|hash|authorization|cookie|signature|private|keys?|token)[\w-]{0,60}"
    r"[\"']?\s*[:=]\s*)((?:Bearer |Basic )?(?:\"[^\"]*\"|'[^']*'|[^\s,}\]]+))"
)
_USERINFO = re.compile(r"(?<=://)[^/@\s\"']+(?=@)")
_LONG_WORD = re.compile(r"[A-Za-z0-9+/_=-]{20,}")
_COMMENT = re.compile(r"(?:^|(?<=\s))#.*$", re.MULTILINE)
_BREAK = re.compile("\r\n|[\r\x85\u2028\u2029]")
_LEAST: Final = 6
"""Values below it are too common to be looked for everywhere."""

Key = str | int
Span = tuple[int, int]


class Loader(Protocol):
    """Finds plugin classes; see `runtime.plugins.Catalog`."""

    def load(self, name: str, use: str | None) -> type[Plugin]: ...


def veil(text: str, known: Iterable[Secret], clean: Clean) -> str:
    """Return `text` with `***` for every secret, as many lines as before. `known` are secrets to be taken out."""
    text = _BREAK.sub("\n", text)  # as the YAML reader counts lines
    try:
        spans = sorted(set(_spans(text)))
    except ValueError:
        shown = _by_line(text)
    else:
        parts, at = [], 0
        for start, end in spans:
            parts += [text[at:start], _masked(text[start:end])]
            at = end
        shown = "".join([*parts, text[at:]])
        shown = _COMMENT.sub(lambda found: _NAMED.sub(_value_out, found[0]), shown)
    for secret in sorted(_pieces(known), key=len, reverse=True):
        shown = shown.replace(secret, HIDDEN)
    shown = _USERINFO.sub(lambda found: _masked(found[0]), shown)
    return "\n".join(_cleaned(line, clean) for line in shown.split("\n"))


def secrets_of(config: Config, catalog: Loader) -> frozenset[Secret]:
    """Return every secret that a configuration is known to hold: keys, tokens, and what plugins mark as secret."""
    found = set(config.secrets)
    for plugin in (*config.plugins, *(own for route in config.routes for own in route.plugins)):
        found.update(_marked(plugin, catalog))
    return frozenset(found)


def _marked(plugin: PluginConfig, catalog: Loader) -> Iterator[Secret]:
    schema = catalog.load(plugin.name, plugin.use).options_schema
    waiting: list[tuple[Any, Mapping[str, Any]]] = [(plugin.options or {}, schema)]
    while waiting:
        raw, schema = waiting.pop()
        if isinstance(raw, Secret):
            yield raw
        elif isinstance(raw, str) and schema.get("writeOnly"):
            yield Secret(raw)
        elif isinstance(raw, Mapping):
            known, other = schema.get("properties", {}), schema.get("additionalProperties")
            rest = other if isinstance(other, Mapping) else {}
            waiting += [(item, known.get(name, rest)) for name, item in raw.items()]
        elif isinstance(raw, (list, tuple)):
            items = schema.get("items")
            waiting += [(item, items if isinstance(items, Mapping) else {}) for item in raw]


def _cleaned(line: str, clean: Clean) -> str:
    """Return a line without what looks like a credential; a reference and what stands around it, each by itself."""
    found = _REFERENCE.findall(line)
    between = [clean(part.encode("utf-8", "replace")).decode() for part in _REFERENCE.split(line)]
    inside = [clean(part.encode("utf-8", "replace")).decode() for part in found]
    return "".join(itertools.chain(*zip(between, [*inside, ""], strict=True)))


def _pieces(known: Iterable[Secret]) -> set[str]:
    """Return secrets as they may stand in a text: one of several lines is indented there, each line for itself."""
    found = {piece.strip() for secret in known for piece in secret.reveal().splitlines()}
    return {piece for piece in found if len(piece) >= _LEAST}


def _spans(text: str) -> Iterator[Span]:
    """Yield where a value stands that may be a credential, by the names on the way to it. Raises: ValueError."""
    steps: list[Key | None] = []
    anchors: dict[str, list[Span]] = {}
    open_anchors: list[tuple[str, list[Span]]] = []
    seen: list[tuple[int, str]] = []
    offsets = [0, *(found.end() for found in re.finditer("\n", text)), len(text)]

    def span_of(event: Any) -> Span:
        start, end = event.start_mark, event.end_mark
        return offsets[start.line] + start.column, offsets[end.line] + end.column

    def next_value() -> None:
        """A value is complete: the next in a list has the next number, a mapping waits for a key again."""
        if steps:
            steps[-1] = steps[-1] + 1 if isinstance(steps[-1], int) else None

    for kind, event in events(text):
        if kind in ("mapping", "list"):
            seen.append((len(open_anchors), event.anchor or ""))
            if event.anchor:
                open_anchors.append((event.anchor, []))
            steps.append(None if kind == "mapping" else 0)
        elif kind == "end":
            steps.pop()
            count, anchor = seen.pop()
            if anchor:
                name, inside = open_anchors.pop(count)
                anchors[name] = inside
            next_value()
        elif kind == "scalar":
            if steps and steps[-1] is None:
                steps[-1] = event.value
                continue
            span = span_of(event)
            for _, inside in open_anchors:
                inside.append(span)
            if event.anchor:
                anchors[event.anchor] = [span]
            if _holds_secret(steps):
                yield span
            next_value()
        else:
            if _holds_secret(steps):
                # A password that begins with * reads as an alias of an anchor that there is not.
                yield from anchors.get(str(event.anchor), [span_of(event)])
            next_value()


def _holds_secret(steps: list[Key | None]) -> bool:
    """Return whether a value at the end of this way may be a credential."""
    names = [step for step in steps if isinstance(step, str)]
    if not names or names[-1] in _HARMLESS:
        return False
    if names[:2] in (["routes", "match"], ["checks", "given"]) and names[2:] == ["key"]:
        return False  # globs of names, not a key
    if names == ["server", "timeouts", "headers"]:
        return False
    # The names of providers and plugins are the operator's own: one may be called private-cloud.
    inner = names[2:] if names[0] in ("providers", "plugins") else names
    return bool(inner) and (_HELD.search(inner[-1]) is not None or any(map(_ALL_BELOW.search, inner)))


def _masked(source: str) -> str:
    """Return `source` with `***` for all of it that is no `${…}`, line for line."""
    return "\n".join(_masked_line(line) for line in source.split("\n"))


def _masked_line(line: str) -> str:
    references = _REFERENCE.findall(line)
    literal = _REFERENCE.sub("", line).strip().strip("\"':")
    shown = _DEFAULT.sub(rf"\1{HIDDEN}}}", line)
    if not literal:
        return shown
    return HIDDEN + "".join(_DEFAULT.sub(rf"\1{HIDDEN}}}", each) for each in references)


def _value_out(found: re.Match[str]) -> str:
    value = found[2]
    harmless = any(found[1].startswith(name) for name in _HARMLESS) or (len(value) < _LEAST and value[0] not in "\"'")
    return found[0] if harmless else found[1] + _masked(value)


def _random_out(found: re.Match[str]) -> str:
    word = found[0]
    is_random = any(each.isdigit() for each in word) and any(each.isalpha() for each in word)
    return HIDDEN if is_random else word


def _by_line(text: str) -> str:
    """Return a text that is not YAML, so that only its lines can be judged: rather too much is hidden than too little.

    What is indented below a line that names a secret goes with it.
    """
    lines = []
    below: int | None = None
    for line in text.split("\n"):
        indent = len(line) - len(line.lstrip())
        if below is not None and line.strip() and indent > below:
            lines.append(line[:indent] + HIDDEN)
            continue
        below = None
        name, colon, rest = line.partition(":")
        if colon and _HELD.search(name.strip().strip("\"'- ")) and name.strip().strip("- ") not in _HARMLESS:
            below = indent
            line = f"{name}: {_masked(rest.strip())}".rstrip()
        line = _NAMED.sub(_value_out, line)
        lines.append(_LONG_WORD.sub(_random_out, line))
    return "\n".join(lines)
