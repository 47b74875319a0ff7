"""Read who imports whom out of the source, without importing anything."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Import:
    """One import statement's one name. `module` is absolute; `name` is what `from module import name` takes."""

    module: str
    name: str | None
    line: int

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


def module_name(path: Path, root: Path = ROOT) -> str:
    """Return the dotted name of a file; a package's is its folder's."""
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files(*folders: str, root: Path = ROOT) -> list[Path]:
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def imports_in(source: str, package: str) -> list[Import]:
    """Return every import that runs: in functions too, under TYPE_CHECKING not. `package` resolves relative ones."""
    return list(_found(ast.parse(source).body, package.split(".")))


def _found(nodes: Iterable[ast.AST], package: list[str]) -> Iterator[Import]:
    for node in nodes:
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, None, node.lineno) for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = package[: len(package) - level + 1] if level else []
                absolute = ".".join([*base, *([module] if module else [])])
                yield from (Import(absolute, alias.name, node.lineno) for alias in names)
            case ast.If(test=test, orelse=orelse) if _is_type_checking(test):
                yield from _found(orelse, package)
            case _:
                yield from _found(ast.iter_child_nodes(node), package)


def _is_type_checking(test: ast.expr) -> bool:
    match test:
        case ast.Name(id="TYPE_CHECKING") | ast.Attribute(attr="TYPE_CHECKING"):
            return True
    return False


def imports_of(path: Path, root: Path = ROOT) -> list[Import]:
    name = module_name(path, root)
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    return imports_in(path.read_text("utf-8"), package)


def edges(paths: Iterable[Path], root: Path = ROOT) -> dict[str, set[str]]:
    """Return module → modules of the same set that it imports; `from package import module` is the module."""
    files = {module_name(path, root): path for path in paths}
    graph: dict[str, set[str]] = {name: set() for name in files}
    for name, path in files.items():
        for found in imports_of(path, root):
            inner = f"{found.module}.{found.name}"
            target = inner if found.name and inner in files else found.module
            if target in files and target != name:
                graph[name].add(target)
    return graph


def cycle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Return one cycle as the names along it, or nothing."""
    done: set[str] = set()
    path: list[str] = []

    def visit(name: str) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        path.append(name)
        for following in sorted(graph[name]):
            if found := visit(following):
                return found
        done.add(path.pop())
        return []

    for name in sorted(graph):
        if found := visit(name):
            return found
    return []
