"""One YAML file as a tree of nodes that remember where they stand.

Built from PyYAML's C parser events rather than its composer: depth, size and aliases are checked
while reading, so a hostile file is refused before it costs memory, and no recursion follows its nesting.
Scalars follow the YAML 1.2 core schema: `on`, `off`, `yes` and dates are plain strings.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import yaml

from gateway.errors import ConfigError

MAX_BYTES: Final = 1024 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 100_000
_SHOWN_STEPS: Final = 8

_TAGS: Final = {"tag:yaml.org,2002:" + name: name for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_TYPES: Final[dict[str, tuple[type, ...]]] = {
    "str": (str,), "int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),),
}  # fmt: skip
_KINDS: Final = {
    yaml.ScalarEvent: "scalar", yaml.AliasEvent: "alias", yaml.MappingStartEvent: "mapping",
    yaml.SequenceStartEvent: "list", yaml.MappingEndEvent: "end", yaml.SequenceEndEvent: "end",
}  # fmt: skip
_INT = re.compile(r"[-+]?[0-9]{1,400}", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]{1,400}", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]{1,400}", re.ASCII)
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_INFINITY = re.compile(r"[-+]?\.(?:inf|Inf|INF)")
_WORDS: Final[dict[str, bool | None]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip

Scalar = str | int | float | bool | None
Key = str | int


def core_scalar(text: str) -> Scalar:
    """Return what a plain scalar means in the YAML 1.2 core schema (yaml.org/spec/1.2.2, section 10.3.2)."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "0123456789+-.":
        return text
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INFINITY.fullmatch(text):
        return -math.inf if text[0] == "-" else math.inf
    return math.nan if text in (".nan", ".NaN", ".NAN") else text


def path_text(prefix: str, steps: Iterable[Key]) -> str:
    """Return `routes[2].targets[0]` for a prefix and further steps."""
    text = prefix
    for step in steps:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


class Node:
    """A value and its place. `value` is a scalar, a list of nodes, or a dict of nodes by key.

    `keys` are the places (line, column) of a mapping's keys. `text` is a scalar as written, or as it
    came out of an expansion; then `variables` names where from, and the value is never shown. `size` counts
    the nodes here and below, `depth` the lists and mappings inside one another, aliases expanded.
    `broken` marks a value that could not be expanded: what would be said of it has been said.
    """

    __slots__ = ("broken", "column", "depth", "file", "keys", "line", "size", "text", "value", "variables")

    def __init__(self, value: Any, file: str, line: int, column: int, text: str = "") -> None:
        self.value, self.file, self.line, self.column, self.text = value, file, line, column, text
        self.keys: dict[str, tuple[int, int]] = {}
        self.size, self.depth = 1, 0
        self.variables: tuple[str, ...] = ()
        self.broken = False

    def plain(self) -> Any:
        """Return the value without places: dicts, lists and scalars."""
        value = self.value
        if isinstance(value, dict):
            return {key: node.plain() for key, node in value.items()}
        if isinstance(value, list):
            return [node.plain() for node in value]
        return value

    def find(self, path: Sequence[Key]) -> Node:
        """Return the deepest node there is along `path`; this one when the first step is missing."""
        node = self
        for step in path:
            value = node.value
            in_list = isinstance(value, list) and isinstance(step, int) and step < len(value)
            if in_list or (isinstance(value, dict) and step in value):
                node = value[step]
            else:
                break
        return node

    def walk(self) -> Iterator[Node]:
        """Yield every node below and including this one, in the order of the file."""
        waiting = [self]
        while waiting:
            node = waiting.pop()
            yield node
            value = node.value
            if isinstance(value, dict):
                waiting.extend(reversed(value.values()))
            elif isinstance(value, list):
                waiting.extend(reversed(value))

    def is_broken(self) -> bool:
        """Whether a value here or below could not be expanded."""
        return any(node.broken for node in self.walk())

    def error(self, problem: str, *, path: str = "", cure: str = "") -> ConfigError:
        """Return an error that stands here."""
        return ConfigError(problem, file=self.file, line=self.line, column=self.column, path=path, cure=cure)

    def key_error(self, key: str, problem: str, *, path: str = "", cure: str = "") -> ConfigError:
        """Return an error that stands at the key `key` of this mapping."""
        line, column = self.keys.get(key, (self.line, self.column))
        return ConfigError(problem, file=self.file, line=line, column=column, path=path, cure=cure)


def read_document(content: bytes, file: str) -> Node:
    """Return the tree of one YAML document. `file` is its name in messages.

    Refuses more than MAX_BYTES, MAX_DEPTH or MAX_NODES (aliases counted as what they expand to), anything but
    UTF-8, several documents, an empty one, duplicate keys, tags of one's own. Raises: ConfigError.
    """
    if len(content) > MAX_BYTES:
        raise ConfigError("larger than 1 MiB", file=file, line=1, column=1, cure="split it with include:")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        raise ConfigError("not UTF-8", file=file, line=line, column=column, cure="save the file as UTF-8") from None
    return _Builder(file).build(text)


def events(text: str) -> Iterator[tuple[str, Any]]:
    """Yield what the reader meets in a text, with its kind: scalar, alias, mapping, list, or the end of one of those.

    Raises: ValueError for what is no YAML.
    """
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if type(event) in _KINDS:
                yield _KINDS[type(event)], event
    except yaml.YAMLError as error:
        raise ValueError("not valid YAML") from error


class _Builder:
    """Turns parser events into nodes; one per document."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.anchors: dict[str, Node] = {}
        self.stack: list[Node] = []
        self.pending_keys: list[tuple[str, int, int] | None] = []
        self.pending_anchors: list[str | None] = []
        self.root: Node | None = None
        self.nodes = 0

    def build(self, text: str) -> Node:
        documents = 0
        try:
            for event in yaml.parse(text, Loader=yaml.CSafeLoader):
                if isinstance(event, yaml.ScalarEvent):
                    self.add(self.scalar(event), event)
                elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                    self.open(event)
                elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                    self.close()
                elif isinstance(event, yaml.AliasEvent):
                    self.alias(event)
                elif isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    if documents > 1:
                        raise self.problem(event, "a second YAML document", "keep one document a file, or use include:")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
            problem, cure = f"not valid YAML: {error.problem}", "look at brackets, quotes and indentation here"
            if error.context_mark is not None and error.context_mark.line + 1 != line:
                cure = f"look at what begins on line {error.context_mark.line + 1}"
            elif text.splitlines()[line - 1 : line] and "\t" in text.splitlines()[line - 1][:column]:
                cure = "indent with spaces, not tabs"
            raise ConfigError(problem, file=self.file, line=line, column=column, cure=cure) from None
        except yaml.reader.ReaderError as error:
            raise ConfigError(
                "not valid YAML: a control character", file=self.file, line=1, column=1, cure="remove it"
            ) from error
        if self.root is None or self.root.value is None:
            raise ConfigError("empty", file=self.file, line=1, column=1, cure='begin with "version: 1"')
        return self.root

    def problem(self, event: Any, problem: str, cure: str = "") -> ConfigError:
        mark = event.start_mark
        steps: list[Key] = []
        for node, key in zip(self.stack, self.pending_keys, strict=True):
            if isinstance(node.value, list):
                steps.append(len(node.value))
            elif key is not None:
                steps.append(key[0])
        path = path_text("", steps[:_SHOWN_STEPS]) + (" …" if len(steps) > _SHOWN_STEPS else "")
        line, column = mark.line + 1, mark.column + 1
        return ConfigError(problem, file=self.file, line=line, column=column, path=path, cure=cure)

    def scalar(self, event: Any) -> Node:
        mark = event.start_mark
        text: str = event.value
        tag = self.tag(event, tuple(_TYPES))
        quoted = event.style in ("'", '"', "|", ">")
        value: Scalar = text if tag == "str" or (tag is None and quoted) else core_scalar(text)
        if tag is not None and not isinstance(value, _TYPES[tag]):
            raise self.problem(event, f"this is no {tag}", "remove the tag")
        return Node(value, self.file, mark.line + 1, mark.column + 1, text)

    def tag(self, event: Any, allowed: tuple[str, ...]) -> str | None:
        if event.tag is None:
            return None
        name = "str" if event.tag == "!" else _TAGS.get(event.tag)
        if name not in allowed:
            raise self.problem(event, f'the tag "{event.tag}" is not read', "remove it: plain YAML values only")
        return name

    def open(self, event: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        self.tag(event, ("map",) if mapping else ("seq",))
        mark = event.start_mark
        node = Node({} if mapping else [], self.file, mark.line + 1, mark.column + 1)
        if self.stack and isinstance(self.stack[-1].value, dict) and self.pending_keys[-1] is None:
            raise self.problem(event, "a key that is not plain text", "use a plain word as the key")
        if len(self.stack) >= MAX_DEPTH:
            raise self.problem(event, f"nested more than {MAX_DEPTH} deep", "flatten it")
        self.count(1, event)
        node.depth = 1
        self.stack.append(node)
        self.pending_keys.append(None)
        self.pending_anchors.append(event.anchor)

    def close(self) -> None:
        node = self.stack.pop()
        self.pending_keys.pop()
        anchor = self.pending_anchors.pop()
        # Known only once it is complete, so an alias inside its own anchor finds nothing and nothing is ever cyclic.
        if anchor:
            self.anchors[anchor] = node
        self.attach(node)

    def add(self, node: Node, event: Any) -> None:
        if event.anchor:
            self.anchors[event.anchor] = node
        self.count(1, event)
        if not self.stack or isinstance(self.stack[-1].value, list) or self.pending_keys[-1] is not None:
            self.attach(node)
            return
        parent = self.stack[-1]
        if node.text in parent.value:
            line, _ = parent.keys[node.text]
            raise self.problem(event, f'"{node.text}" stands here twice', f"remove one; the first is on line {line}")
        self.pending_keys[-1] = (node.text, node.line, node.column)

    def alias(self, event: Any) -> None:
        node = self.anchors.get(event.anchor)
        if node is None:
            # SECURITY: unquoted, a password that begins with * is an alias, so its name is not shown.
            cure = "name one that does, or quote the text if it only begins with *"
            raise self.problem(event, "no anchor of that name stands before this alias", cure)
        if self.stack and isinstance(self.stack[-1].value, dict) and self.pending_keys[-1] is None:
            raise self.problem(event, "an alias as a key", "use a plain word as the key")
        if len(self.stack) + node.depth > MAX_DEPTH:
            raise self.problem(event, f"nested more than {MAX_DEPTH} deep once the alias is expanded", "flatten it")
        self.count(node.size, event)
        self.attach(node)

    def count(self, size: int, event: Any) -> None:
        self.nodes += size
        if self.nodes > MAX_NODES:
            raise self.problem(
                event, f"more than {MAX_NODES} values once aliases are expanded", "use fewer aliases or split the file"
            )

    def attach(self, node: Node) -> None:
        """Put a complete node where it belongs, and let the parent know how large and deep it is."""
        if not self.stack:
            self.root = node
            return
        parent = self.stack[-1]
        if isinstance(parent.value, list):
            parent.value.append(node)
        else:
            key, line, column = self.pending_keys[-1] or ("", 0, 0)
            parent.value[key] = node
            parent.keys[key] = (line, column)
            self.pending_keys[-1] = None
            parent.size += 1
        parent.size += node.size
        parent.depth = max(parent.depth, node.depth + 1)
