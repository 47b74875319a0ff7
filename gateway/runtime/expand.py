"""`${VAR}`, `${VAR:-default}` and `${file:/run/secrets/x}` in the strings of a document.

What comes out is remembered as such (`Node.variables`), so that no message ever shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from gateway.runtime.document import Node, core_scalar, path_text
from gateway.runtime.found import Found
from gateway.secret import Secret

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_VARIABLE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL | re.ASCII)
_SECRET_PATH = re.compile(r"key|token|secret|passw|credential|hash|headers?\.|authorization", re.IGNORECASE)
_MAX_SECRET_BYTES: Final = 64 * 1024


def holds_secret(path: str) -> bool:
    """Return whether what stands at this path may be a credential, judged by the names on the way."""
    return _SECRET_PATH.search(path) is not None


class _Unset(Exception):
    """One reference that has no value: problem and cure."""


@dataclass(slots=True)
class Expansion:
    """Expands one file's strings. `read` collects the files taken in, for the watcher and the digest, `secrets`
    what came out where a credential stands."""

    environ: Mapping[str, str]
    folder: Path
    read: dict[Path, bytes] = field(default_factory=dict)
    secrets: list[Secret] = field(default_factory=list)

    def expand(self, root: Node, errors: Found) -> None:
        """Expand every string below `root` in place; add what could not be to `errors`.

        A scalar that is wholly one reference is typed again: `${PORT}` may become a number. An empty variable
        takes its default only with `:-`, as in a shell.
        """
        seen: set[int] = set()
        waiting: list[tuple[Node, tuple[str | int, ...]]] = [(root, ())]
        while waiting:
            node, path = waiting.pop()
            if isinstance(node.value, dict):
                waiting.extend((below, (*path, key)) for key, below in reversed(node.value.items()))
            elif isinstance(node.value, list):
                waiting.extend(reversed([(below, (*path, number)) for number, below in enumerate(node.value)]))
            # An aliased node is met more than once, and what came out of an expansion is not expanded again.
            elif isinstance(node.value, str) and "${" in node.value and id(node) not in seen:
                seen.add(id(node))
                self._expand(node, path_text("", path), errors)

    def _expand(self, node: Node, path: str, errors: Found) -> None:
        source: str = node.value
        names: list[str] = []
        problems: list[tuple[str, str]] = []

        def value_of(found: re.Match[str]) -> str:
            try:
                return self._value(found[1], names)
            except _Unset as unset:
                problems.append((unset.args[0], unset.args[1]))
                return ""

        node.text = _REFERENCE.sub(value_of, source)
        node.variables = tuple(names)
        if "${" in _REFERENCE.sub("", source):
            problems.append(("a ${ without its }", "write ${NAME}, ${NAME:-default} or ${file:PATH}"))
        whole = _REFERENCE.fullmatch(source) is not None
        node.value = core_scalar(node.text) if whole else node.text
        node.broken = bool(problems)
        if holds_secret(path):
            self.secrets.append(Secret(node.text))
        errors.extend(node.error(problem, path=path, cure=cure) for problem, cure in problems)

    def _value(self, reference: str, names: list[str]) -> str:
        if reference.startswith("file:"):
            names.append(reference)
            return self._file(reference[5:].strip())
        found = _VARIABLE.fullmatch(reference)
        if found is None:
            # SECURITY: not shown, for it may be the secret itself put between the braces.
            raise _Unset("this ${…} is no reference", "write ${NAME}, ${NAME:-default} or ${file:PATH}")
        name, default = found[1], found[2]
        names.append(name)
        value = self.environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            raise _Unset(f"the environment variable {name} is not set", f"set it, or give a default: ${{{name}:-…}}")
        return value

    def _file(self, name: str) -> str:
        path = self.folder / name
        try:
            if path.is_file() and path.stat().st_size > _MAX_SECRET_BYTES:
                raise _Unset(f'the file "{name}" is larger than 64 KiB', "name a file that holds one value")
            content = path.read_bytes()
            self.read[path] = content
            text = content.decode()
        except UnicodeDecodeError:
            raise _Unset(f'the file "{name}" is not UTF-8', "name a text file that holds one value") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "a bad path"
            raise _Unset(
                f'cannot read the file "{name}": {reason}', "a relative path starts at the file it stands in"
            ) from None
        return text.removesuffix("\n").removesuffix("\r")
