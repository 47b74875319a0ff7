"""The entries of a plugin chain: names found, options checked against the plugin's own schema and converted."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gateway.errors import ConfigError
from gateway.runtime.config import Place, PluginConfig
from gateway.runtime.document import Node, path_text
from gateway.runtime.found import MOST, Found
from gateway.runtime.held import Held, held_options
from gateway.runtime.options import convert, lay_over
from gateway.runtime.schema import Catalog
from gateway.runtime.subschemas import settle
from gateway.runtime.validate import Rules, explain, suggest

_USE = re.compile(r"(?P<module>[^:]+):[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as written. `options` is None for a bare name; `off` marks `{name: off}`; `hidden` are words
    of it that came out of an expansion."""

    name: str
    use: str | None
    options: Node | None
    off: bool
    node: Node
    path: str
    hidden: tuple[str, ...] = ()


class EntryReader:
    """Reads chains; collects errors. `listed` returns the entries of the list in a file that an option names.

    `held` are the options that another plugin acts on.
    """

    def __init__(self, catalog: Catalog, errors: Found, listed: Callable[[Node, str], list[Node]]) -> None:
        self.catalog = catalog
        self._listed = listed
        self.names = frozenset(catalog.names())
        self.errors = errors
        self.held: list[Held] = []
        self._rules: dict[tuple[str, str | None], Rules | ConfigError] = {}
        self._places: dict[str, dict[str, tuple[Place, ...]]] = {}
        """Of each entry, by its path, where the entries stand of lists that go on in files."""

    def read_global(self, written: Sequence[tuple[Node, str]]) -> dict[str, tuple[PluginConfig, Entry]]:
        """Return the global chain in order, by name, each with its defaults filled in."""
        chain: dict[str, tuple[PluginConfig, Entry]] = {}
        first: dict[str, Entry] = {}
        for node, path in written:
            entry = self._entry(node, path)
            if entry is None or self._repeated(entry, first):
                continue
            if entry.off:
                self._complain(
                    entry,
                    f'"{entry.name}: off" stands in the global chain',
                    "leave the plugin out, or turn it off on a route",
                )
                continue
            rules = self._rules_of(entry)
            options = None if rules is None else self._options(entry, rules, {}, defaults=True)
            if options is not None:
                listed = self._places.get(entry.path, {})
                chain[entry.name] = (PluginConfig(entry.name, entry.use, options, _place(entry), listed), entry)
        return chain

    def read_route(
        self, written: Sequence[tuple[Node, str]], chain: Mapping[str, tuple[PluginConfig, Entry]]
    ) -> tuple[PluginConfig, ...]:
        """Return a route's own entries. One that is also global keeps only what it names, to be laid over that."""
        plugins: list[PluginConfig] = []
        first: dict[str, Entry] = {}
        for node, path in written:
            entry = self._entry(node, path)
            if entry is None or self._repeated(entry, first):
                continue
            below = chain.get(entry.name)
            if below is not None and entry.use is None:
                entry = replace(entry, use=below[1].use, hidden=entry.hidden + below[1].hidden)
            rules = self._rules_of(entry)
            if rules is None:
                continue
            if entry.off:
                plugins.append(PluginConfig(entry.name, entry.use, None, _place(entry)))
                continue
            under = below[1].options.plain() if below and below[1].options else {}
            options = self._options(entry, rules, under or {}, defaults=below is None)
            if options is not None:
                plugins.append(PluginConfig(entry.name, entry.use, options, _place(entry)))
        return tuple(plugins)

    def _entry(self, node: Node, path: str) -> Entry | None:
        """Return an entry in one form, whichever of the four it was written in; None when it is wrong."""
        if node.broken:
            return None
        if isinstance(node.value, str) and node.value:
            return Entry(node.value, None, None, False, node, path, _hidden(node))
        if not isinstance(node.value, dict) or not node.value:
            problem, cure = "must be the name of a plugin, or {name: options}", 'write for example "- request_id"'
            self.errors.append(node.error(problem, path=path, cure=cure))
            return None
        words = [node.value["use"]] if "use" in node.value else []
        use = self._use(words[0], path) if words else None
        if words and use is None:
            return None
        named = {key: below for key, below in node.value.items() if key != "use"}
        if use is not None and "name" in named and named.keys() <= {"name", "options"}:
            words.append(named["name"])
            named = {str(named["name"].value): named.get("options", _nothing(node))}
        elif use is not None and named.keys() <= {"options"}:
            # A plugin is called what its file is called, here as in plugins/.
            named = {_stem(use): named.get("options", _nothing(node))}
        if len(named) > 1:
            first, second = list(named)[:2]
            problem = f'an entry names one plugin, this one has "{first}" and "{second}"'
            cure = "indent options under the plugin's name"
            self.errors.append(node.key_error(second, problem, path=path, cure=cure))
            return None
        name, options = next(iter(named.items()))
        if use is None and isinstance(options.value, dict) and "use" in options.value and name not in self.names:
            words.append(options.value["use"])
            use = self._use(words[0], f"{path}.{name}")
            if use is None:
                return None
            options = _without_use(options)
        if options.broken:
            return None
        off = options.value == "off"
        if not isinstance(options.value, dict | None) and not off:
            cure = 'write "off"' if options.value is False else "write {option: value}"
            where = path_text(path, [name])
            self.errors.append(options.error("the options must be a mapping", path=where, cure=cure))
            return None
        return Entry(name, use, options if isinstance(options.value, dict) else None, off, node, path, _hidden(*words))

    def _use(self, node: Node, path: str) -> str | None:
        if isinstance(node.value, str) and _USE.fullmatch(node.value):
            return node.value
        if not node.broken:
            self.errors.append(
                node.error(
                    "this does not name a class", path=f"{path}.use", cure="write package.module:Class or file.py:Class"
                )
            )
        return None

    def _repeated(self, entry: Entry, first: dict[str, Entry]) -> bool:
        before = first.setdefault(entry.name, entry)
        if before is entry:
            return False
        self._complain(
            entry,
            f'plugin "{entry.name}" stands in this chain twice',
            f"keep one; the first is at {before.node.file}:{before.node.line}",
        )
        return True

    def _rules_of(self, entry: Entry) -> Rules | None:
        key = (entry.name, entry.use)
        if key not in self._rules:
            try:
                if entry.use is None and entry.name not in self.names:
                    raise ConfigError(
                        f'unknown plugin "{entry.name}"', cure=suggest(entry.name, self.names, otherwise="found")
                    )
                self._rules[key] = Rules(self.catalog.options_schema(entry.name, entry.use))
            except ConfigError as error:
                self._rules[key] = error
        found = self._rules[key]
        if isinstance(found, ConfigError):
            if not found.file:
                self._complain(entry, found.problem, found.cure)
            elif found not in self.errors:
                # The plugin's own file is wrong: told there, once, however many chains name it.
                self.errors.append(found)
            return None
        return found

    def _options(
        self, entry: Entry, rules: Rules, under: Mapping[str, Any], *, defaults: bool
    ) -> Mapping[str, Any] | None:
        """Return the entry's options converted, None when they are wrong.

        What is checked is what will run: the options laid over `under`.
        """
        node = entry.options or Node({}, entry.node.file, entry.node.line, entry.node.column)
        where = entry.path if entry.hidden else path_text(entry.path, [entry.name])
        node = self._with_files(node, rules.schema, where)
        self._places[entry.path] = _listed(node, rules.schema, where)
        settle(node, rules.schema)
        given = node.plain()
        errors: list[ConfigError] = []
        for error in itertools.islice(rules.errors(lay_over(under, given)), MOST + 1):
            steps = list(error.absolute_path)
            # What the global entry got wrong is told there, once.
            if not steps or steps[0] in given:
                errors.extend(explain(error, node, where))
        self.errors.extend(errors)
        if errors or node.is_broken():
            return None
        self.held.extend(held_options(node, rules.schema, where))
        return convert(given, rules.schema, defaults=defaults)

    def _with_files(self, node: Node, schema: Any, where: str) -> Node:
        """Return options with the entries of files appended to the lists whose schema names, as `x-file`, the option
        that names the file. They keep their own places."""
        for name, known in schema.get("properties", {}).items() if isinstance(schema, Mapping) else ():
            named = node.value.get(known.get("x-file")) if isinstance(known, Mapping) else None
            if named is None or named.broken or not isinstance(named.value, str) or not named.value:
                continue
            entries = self._listed(named, path_text(where, [known["x-file"]]))
            own = node.value.get(name)
            if own is not None and not isinstance(own.value, list):
                continue
            both = Node([*(own.value if own else ()), *entries], named.file, named.line, named.column)
            longer = Node({**node.value, name: both}, node.file, node.line, node.column)
            longer.keys = node.keys
            node = longer
        return node

    def _complain(self, entry: Entry, problem: str, cure: str) -> None:
        # SECURITY: a plugin's name or class out of an expansion may be anything, so it is not shown.
        for word in entry.hidden:
            problem, cure = problem.replace(word, "…"), cure.replace(word, "…")
        self.errors.append(entry.node.error(problem, path=entry.path, cure=cure))


def _listed(node: Node, schema: Any, where: str) -> dict[str, tuple[Place, ...]]:
    """Return where the entries stand of each list that may go on in a file."""
    known = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
    return {
        name: tuple(
            Place(one.file, one.line, one.column, path_text(where, [name, number]))
            for number, one in enumerate(node.value[name].value)
        )
        for name, option in known.items()
        if isinstance(option, Mapping) and "x-file" in option
        if name in node.value and isinstance(node.value[name].value, list)
    }


def _hidden(*words: Node) -> tuple[str, ...]:
    return tuple(word.text for word in words if word.variables and word.text)


def _nothing(node: Node) -> Node:
    return Node(None, node.file, node.line, node.column)


def _without_use(options: Node) -> Node:
    kept = {key: value for key, value in options.value.items() if key != "use"}
    inner = Node(kept, options.file, options.line, options.column)
    inner.keys = options.keys
    return inner


def _stem(use: str) -> str:
    module = use.partition(":")[0]
    if module.endswith(".py"):
        return module.rsplit("/", 1)[-1].removesuffix(".py")
    return module.rsplit(".", 1)[-1]


def _place(entry: Entry) -> Place:
    return Place(entry.node.file, entry.node.line, entry.node.column, entry.path)
