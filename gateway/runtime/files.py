"""The files of a configuration: read, expanded, included; each section checked against its schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.errors import ConfigError
from gateway.runtime.document import MAX_BYTES, Node, read_document
from gateway.runtime.expand import Expansion
from gateway.runtime.found import Found
from gateway.runtime.home import Home
from gateway.runtime.surface import INCLUDED, sections
from gateway.runtime.validate import Rules, check, suggest
from gateway.secret import Secret

_SECTIONS: Final = {name: Rules(schema) for name, schema in sections().items()}
_ITEMIZED: Final = ("plugins", "providers", "routes", "checks", "include")
"""Sections whose entries are checked one by one."""


class FileReader:
    """Reads a home's files. `read` are those read, for the watcher and the digest, `names` how messages call them,
    `texts` what stands in each of those,
    `patterns` the globs among the includes, each with the folder it starts at; `is_whole` is False once a file or a
    section is missing: what is not declared may then stand in it."""

    def __init__(self, home: Home, environ: Mapping[str, str], errors: Found) -> None:
        self.home, self.environ, self.errors = home, environ, errors
        self.read: dict[Path, bytes] = {}
        self.names: list[str] = []
        self.texts: dict[str, Secret] = {}
        self.secrets: list[Secret] = []
        self.patterns: list[tuple[Path, str]] = []
        self.is_whole = True

    def documents(self) -> list[Node]:
        """Return the home's own file and the included ones in order; none when its own cannot be read."""
        root = self._file(self.home.file)
        if root is None:
            return []
        self._sections(root, tuple(_SECTIONS))
        return [root, *self._includes(root)]

    def entries(self, named: Node, path: str) -> list[Node]:
        """Return the entries of the list in the file that an option at `path` names; relative to the home."""
        file = self.home.folder / str(named.value)
        if file in self.read:
            self.errors.append(named.error("this file is already read", path=path, cure="name a file of its own"))
            return []
        root = self._file(file, list)
        return root.value if root is not None else []

    def _file(self, path: Path, kind: type = dict) -> Node | None:
        """Return one file's tree, expanded; None when it cannot be read as a mapping (or a list) at all."""
        name = self.home.shown(path)
        self.names.append(name)
        try:
            with path.open("rb") as file:
                # One byte more than allowed is enough to know, whatever the file's size.
                content = file.read(MAX_BYTES + 1)
            self.read[path] = content
            root = read_document(content, name)
            self.texts[name] = Secret(content.decode("utf-8-sig"))
        except OSError as error:
            self.errors.append(
                ConfigError(
                    f"cannot be read: {error.strerror}",
                    file=name,
                    line=1,
                    column=1,
                    cure="check the name and the permissions",
                )
            )
            return None
        except ConfigError as error:
            self.errors.append(error)
            return None
        if not isinstance(root.value, kind):
            problem, cure = "must be a mapping", 'begin with "version: 1"'
            if kind is list:
                problem, cure = "must be a list", 'begin every entry with "- "; an empty list is []'
            self.errors.append(root.error(problem, cure=cure))
            return None
        expansion = Expansion(self.environ, path.parent)
        expansion.expand(root, self.errors)
        self.read.update(expansion.read)
        self.secrets.extend(expansion.secrets)
        return root

    def _sections(self, root: Node, allowed: tuple[str, ...]) -> None:
        """Check each section of a file against its schema; drop those that cannot be read further."""
        for key, node in list(root.value.items()):
            if key not in _SECTIONS:
                self.errors.append(root.key_error(key, f'unknown key "{key}"', cure=suggest(key, _SECTIONS)))
            elif key not in allowed:
                self.errors.append(
                    root.key_error(
                        key, f'an included file may not hold "{key}"', cure="it may hold " + ", ".join(INCLUDED)
                    )
                )
            elif (node.value is not None or key == "version") and self._is_usable(node, key):
                continue
            del root.value[key]

    def _is_usable(self, node: Node, key: str) -> bool:
        """Check one section; take out of a mapping the settings that are wrong, so that the others are still read."""
        found = check(node, _SECTIONS[key], key)
        self.errors.extend(found)
        if key in ("include", "providers") and (found or node.broken):
            self.is_whole = False
        if key not in ("server", "admin") or not isinstance(node.value, dict):
            return not found and not node.broken and (key in _ITEMIZED or not node.is_broken())
        wrong = {error.path.removeprefix(f"{key}.").partition(".")[0].partition("[")[0] for error in found}
        for name in list(node.value):
            if name in wrong or node.value[name].is_broken():
                del node.value[name]
        return True

    def _includes(self, root: Node) -> list[Node]:
        """Return the included files' trees in order."""
        found: list[Node] = []
        names = root.value.get("include")
        seen = {self.home.file.resolve()}
        for number, node in enumerate(names.value if names is not None else ()):
            if node.broken:
                self.is_whole = False
                continue
            path = f"include[{number}]"
            files = self._matching(node, str(node.value))
            if not files:
                self.is_whole = False
                what = "this include" if node.variables else f'"{node.value}"'
                self.errors.append(
                    node.error(
                        f"{what} matches no file", path=path, cure="a relative path starts at the file it stands in"
                    )
                )
            for file in files:
                if file.resolve() in seen:
                    self.errors.append(
                        node.error(
                            f"{'this file' if node.variables else self.home.shown(file)} is already read",
                            path=path,
                            cure="include each file once",
                        )
                    )
                    continue
                seen.add(file.resolve())
                included = self._file(file)
                if included is not None:
                    self._sections(included, INCLUDED)
                    found.append(included)
        self.is_whole = self.is_whole and len(found) == len(seen) - 1
        return found

    def _matching(self, node: Node, name: str) -> list[Path]:
        folder, pattern = self.home.file.parent, Path(name)
        if not any(character in name for character in "*?["):
            return [folder / name] if (folder / name).is_file() else []
        if pattern.is_absolute():
            folder, pattern = Path(pattern.anchor), pattern.relative_to(pattern.anchor)
        self.patterns.append((folder, str(pattern)))
        try:
            return sorted(file for file in folder.glob(str(pattern)) if file.is_file())
        except ValueError as error:
            self.errors.append(
                node.error(f"not a glob: {error}", path="include", cure='write for example "routes/*.yaml"')
            )
            return []
