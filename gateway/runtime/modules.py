"""Operators' Python, run as modules of their own: by file under private names, by package from the home.

Every `Modules` runs its files anew, under names nobody else uses (`gateway_plugins.<home>_<n>.<file>`). A file that
fails leaves nothing in Python's table of modules, and tells its own line. The names of a collected `Modules` are given
up when the next is made; until then annotations, dataclasses and imports inside functions find what they look for.
"""

from __future__ import annotations

import hashlib
import importlib
import itertools
import sys
import traceback
import weakref
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, ModuleType
from typing import Final

from gateway.errors import ConfigError
from gateway.runtime.home import Home

EXTRAS: Final = {
    "openai": "sdk",
    "anthropic": "sdk",
    "langgraph": "workflow",
    "langchain_core": "workflow",
    "asyncpg": "postgres",
    "opentelemetry": "otel",
}
"""Top-level packages of the optional extras, so that a missing one is answered with what to install."""

_PRIVATE: Final = "gateway_plugins"
_serial = itertools.count(1)
_given_up: list[str] = []
"""Packages whose `Modules` was collected. The collector may run in the midst of anybody's walk over sys.modules, so
what it calls only notes the name."""
_compiled: dict[str, tuple[bytes, CodeType]] = {}
"""Every file that was loaded, as it was and compiled: a reload compiles what was edited, not all of it."""


class Modules:
    """The modules of one home at one moment, each run at most once."""

    def __init__(self, home: Home) -> None:
        while _given_up:
            _forget(_given_up.pop())
        self._home = home
        digest = hashlib.sha256(str(home.folder).encode()).hexdigest()[:8]
        self._package = f"{_PRIVATE}.{digest}_{next(_serial)}"
        self._files: dict[Path, ModuleType] = {}
        self._reread: set[str] = set()
        for package in (_PRIVATE, self._package):  # `from . import` in a folder asks for all its parents
            if package not in sys.modules:
                sys.modules[package] = ModuleType(package)
                sys.modules[package].__path__ = []
        if _FINDER not in sys.meta_path:
            sys.meta_path.insert(0, _FINDER)
        weakref.finalize(self, _given_up.append, self._package).atexit = False

    def of_file(self, path: Path) -> ModuleType:
        """Return the module of a file, or of a folder with `__init__.py`. Raises: ConfigError."""
        if path not in self._files:
            taken = {module.__name__ for module in self._files.values()}
            plain = "".join(letter if letter.isalnum() else "_" for letter in path.stem)
            names = (f"{self._package}.{plain}{'_' * extra}" for extra in itertools.count())
            name = next(each for each in names if each not in taken)
            self._files[path] = self._run(_spec(name, path), path)
        return self._files[path]

    def of_package(self, name: str) -> ModuleType:
        """Import `package.module` with the home importable; the home's own packages are run anew.

        Raises: ConfigError; the modules that were there before are then back.
        """
        folder = self._home.folder
        if str(folder) not in sys.path:
            sys.path.append(str(folder))
        importlib.invalidate_caches()
        top = name.partition(".")[0]
        # Only a package that lies in the home itself: what is installed is not run again, nor is the gateway, which
        # lies in a home when it runs from a checkout.
        own = (folder / top, folder / f"{top}.py")
        is_own = top != "gateway" and any(each.exists() for each in own)
        anew = is_own and top not in self._reread
        before = _below(top, own) if anew else {}
        for key in before:
            sys.modules.pop(key, None)
        writes_none = sys.dont_write_bytecode
        sys.dont_write_bytecode = writes_none or is_own  # it would be taken for an edit's of the same second and size
        try:
            module = importlib.import_module(name)
        except (Exception, SystemExit) as error:  # as in _run
            for key in _below(top, own) if anew else ():
                sys.modules.pop(key, None)
            sys.modules.update(before)
            raise self._explained(error, own) from error
        finally:
            sys.dont_write_bytecode = writes_none
        self._reread.add(top)
        return module

    def _run(self, spec: ModuleSpec, path: Path) -> ModuleType:
        module = module_from_spec(spec)
        sys.modules[spec.name] = module
        try:
            assert spec.loader is not None
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:  # the file's own code may raise anything; the operator gets its line
            _forget(spec.name)
            raise self._explained(error, (path,)) from error
        return module

    def _explained(self, error: BaseException, own: Sequence[Path]) -> ConfigError:
        """Return what went wrong while `own` was run, at its deepest line there."""
        if isinstance(error, ConfigError):
            return error
        if isinstance(error, SyntaxError) and error.filename:
            place = self._home.shown(Path(error.filename))
            problem = f"not valid Python: {error.msg}"
            return ConfigError(
                problem, file=place, line=error.lineno or 0, column=error.offset or 0, cure="correct this line"
            )
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_within(frame.filename, own)]
        file, line = (self._home.shown(Path(frames[-1].filename)), frames[-1].lineno or 0) if frames else ("", 0)
        problem, cure = f"cannot be loaded: {type(error).__name__}: {error}", "correct what this line does"
        if isinstance(error, ModuleNotFoundError) and error.name:
            problem, cure = f'needs the module "{error.name}"', _how_to_install(error.name)
        return ConfigError(problem, file=file, line=line, column=1 if line else 0, cure=cure)


def _is_within(filename: str, folders: Sequence[Path]) -> bool:
    file = Path(filename)
    return any(file == folder or folder in file.parents for folder in folders)


def _below(name: str, folders: Sequence[Path]) -> dict[str, ModuleType]:
    """Return the modules called `name` or below it whose files lie in `folders`."""
    found = {key: module for key, module in sys.modules.copy().items() if (key + ".").startswith(name + ".")}
    return {
        key: module for key, module in found.items() if _is_within(getattr(module, "__file__", None) or "", folders)
    }


def _how_to_install(module: str) -> str:
    top = module.partition(".")[0]
    extra = EXTRAS.get(top)
    if extra is not None:
        return f'install the extra: pip install "llm-gateway[{extra}]"'
    return f"install {top} where the gateway is installed, or put it in the home"


def _forget(name: str) -> None:
    """Take a module, and all below it, out of Python's table."""
    for key in [key for key in sys.modules.copy() if (key + ".").startswith(name + ".")]:
        sys.modules.pop(key, None)


def _spec(name: str, path: Path) -> ModuleSpec:
    file = path / "__init__.py" if path.is_dir() else path
    inside = [str(path)] if path.is_dir() else None
    spec = spec_from_file_location(name, file, loader=_FreshLoader(name, str(file)), submodule_search_locations=inside)
    assert spec is not None
    return spec


class _FreshLoader(SourceFileLoader):
    """Reads the source each time, and compiles what it has not compiled yet. Python's bytecode cache compares whole
    seconds and sizes, which misses an edit made within a second of the last; and an operator's home may be
    read-only."""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        known = _compiled.get(self.path)
        if known is None or known[0] != source:
            known = _compiled[self.path] = (source, self.source_to_code(source, self.path))
        return known[1]


class _FreshFinder(MetaPathFinder):
    """Finds the submodules of folder plugins, to be read by _FreshLoader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if not fullname.startswith(_PRIVATE + ".") or not path:
            return None
        place = Path(path[0]) / fullname.rpartition(".")[2]
        if (place / "__init__.py").is_file():
            return _spec(fullname, place)
        file = place.with_suffix(".py")
        return _spec(fullname, file) if file.is_file() else None


_FINDER: Final = _FreshFinder()
