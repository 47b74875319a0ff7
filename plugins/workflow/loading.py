"""Graphs of the operator's own: found by `use:`, looked at without running anything, loaded before they serve."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import itertools
import sys
import traceback
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gateway.plugin import ConfigError

from .files import Files

_serial = itertools.count(1)


def check(use: str, files: Files, where: str) -> None:
    """Refuse a `use:` that cannot be right. Nothing is run: LangGraph alone takes more than a second to import, and
    this happens on the loop of a gateway that is being reloaded. Raises: ConfigError."""
    module, _, name = use.rpartition(":")
    home = files.home
    if not module.endswith(".py"):
        top = module.partition(".")[0]
        if not (home / top).is_dir() and not (home / f"{top}.py").is_file() and importlib.util.find_spec(top) is None:
            raise ConfigError(
                f'{where}.use: there is no module "{top}"', cure="write file.py:graph for a file of the home"
            )
        return
    path = home / module
    files.seen.append(path)
    if not path.is_file():
        raise ConfigError(f'{where}.use: there is no file "{module}"', cure="the path starts at the home's folder")
    try:
        tree = ast.parse(path.read_bytes(), module)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None) or 0
        raise ConfigError(
            f"{where}.use: {module}:{line}: not valid Python: {error}", cure="correct this line"
        ) from error
    names = set(_bound(tree.body))
    if name not in names and "*" not in names:
        near = get_close_matches(name, names, n=1)
        cure = f'did you mean "{near[0]}"?' if near else f"{module} has: {', '.join(sorted(names)) or 'nothing'}"
        raise ConfigError(f'{where}.use: "{name}" is not in {module}', cure=cure)


def load(use: str, home: Path, where: str, modules: list[str]) -> Any:
    """Return what `use` names: a compiled graph, or one still to be compiled. Names of modules that are to be let go of
    with it are added to `modules`. Raises: ConfigError."""
    module, _, name = use.rpartition(":")
    try:
        found = getattr(_file(home / module, modules) if module.endswith(".py") else _package(module, home), name)
        # A function makes the graph anew for each snapshot.
        made = found() if callable(found) and not hasattr(found, "ainvoke") and not hasattr(found, "compile") else found
    except Exception as error:  # the operator's own code may raise anything
        problem = f'{where}.use: "{use}" cannot be loaded: {_place(error, module)}{type(error).__name__}: {error}'
        raise ConfigError(problem, cure="correct it") from error
    if not hasattr(made, "ainvoke") and not hasattr(made, "compile"):
        raise ConfigError(
            f'{where}.use: "{use}" is a {type(made).__name__}',
            cure="name a StateGraph, a compiled one, or a function that returns one",
        )
    return made


def _place(error: Exception, module: str) -> str:
    """Return the line of the operator's own file that raised, where it is one's fault."""
    frames = [each for each in traceback.extract_tb(error.__traceback__) if each.filename.endswith(f"/{module}")]
    return f"{module}:{frames[-1].lineno}: " if frames else ""


def let_go(modules: list[str]) -> None:
    """Forget what `load` has run."""
    for name in modules:
        sys.modules.pop(name, None)


def _file(path: Path, modules: list[str]) -> Any:
    """Run a file under a name nobody else has, so that a reload sees it as it is now."""
    name = f"workflow_graphs_{next(_serial)}_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where LangGraph looks up what a state's annotations mean
    modules.append(name)
    # Not by the loader: what it keeps compiled it takes for an edit of the same second and size.
    exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    return module


def _package(module: str, home: Path) -> Any:
    if str(home) not in sys.path:
        sys.path.append(str(home))
    return importlib.import_module(module)


def _bound(nodes: list[ast.stmt]) -> Iterator[str]:
    """Yield the names that the top level of a file defines, `*` when it may be any."""
    for node in nodes:
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(targets=targets):
                yield from (each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Import(names=names) | ast.ImportFrom(names=names):
                yield from ((each.asname or each.name).partition(".")[0] for each in names)
            case ast.If() | ast.Try() | ast.With():
                yield from (
                    name
                    for below in ast.iter_child_nodes(node)
                    if isinstance(below, ast.stmt)
                    for name in _bound([below])
                )
            case _:
                pass
