"""Where in the file an option stands that a plugin refused.

A plugin sees options, not the file: it says `limits[0].per: …`, and its refusal is placed at its entry. Only then the
file is read once more for the option's own line; nobody has to keep every place of every option for as long as it runs.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError
from gateway.runtime.document import Node, path_text, read_document

_ENTRY: Final = re.compile(r"(routes\[\d+\]\.)?plugins\[\d+\]")
_NUMBER: Final = re.compile(r"\[(\d{1,6})\]")
_UNWRITTEN: Final = re.compile(r"(?:\.\w+|\[\d+\])*(?=: )")


def pointed(error: ConfigError, home: Path) -> ConfigError:
    """Return `error` at the option that its problem begins with; as it is where that cannot be found."""
    if not _ENTRY.fullmatch(error.path):
        return error
    try:
        document = read_document((home / error.file).read_bytes(), error.file)
    except (OSError, ConfigError):  # it was read a moment ago, and has been changed since
        return error
    place = error.line, error.column
    entry = next((node for node in document.walk() if (node.line, node.column) == place), None)
    found = _options(entry) if entry is not None else None
    if found is None:
        return error
    name, options = found
    node, length = _follow(options, error.problem)
    unwritten = _UNWRITTEN.match(error.problem, length)
    if not length or unwritten is None:
        return error
    path = path_text(error.path, [*name, error.problem[: unwritten.end()]])
    return node.error(error.problem[unwritten.end() + 2 :], path=path, cure=error.cure)


def _options(entry: Node) -> tuple[list[str], Node] | None:
    """Return an entry's options, and the name that stands before them."""
    if not isinstance(entry.value, dict):
        return None
    if "options" in entry.value:
        return [], entry.value["options"]
    return next((([name], node) for name, node in entry.value.items() if name != "use"), None)


def _follow(node: Node, text: str) -> tuple[Node, int]:
    """Return the deepest node along the path that `text` begins with, and how much of it that is."""
    at = 0
    while True:
        step: tuple[Node, int] | None = None
        if isinstance(node.value, dict) and (not at or text.startswith(".", at)):
            start = at + 1 if at else 0
            for key in sorted(node.value, key=len, reverse=True):  # a key may have dots in it
                if text.startswith(key, start) and text[start + len(key) : start + len(key) + 1] in (".", "[", ":"):
                    step = node.value[key], start + len(key)
                    break
        elif isinstance(node.value, list) and (found := _NUMBER.match(text, at)) and int(found[1]) < len(node.value):
            step = node.value[int(found[1])], found.end()
        if step is None:
            return node, at
        node, at = step
