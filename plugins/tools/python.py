"""A tool that is a function of the home: its schema comes from its type hints, its words from its docstring."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import itertools
import re
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

from gateway.plugin import ConfigError, Log

from .registry import Result, ToolFailed, cleaned, of_text, place

MOST_THREADS: Final = 32
"""How many calls of one function may run at once, those included that were given up and never came back."""
_DOCUMENTED: Final = re.compile(r"^\s*(\w+)(?:\s*\([^)]*\))?\s*:\s*(.+)$")
_serial = itertools.count(1)


class Files:
    """The Python files of a home that tools come from, each run once, anew at every reload."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._modules: dict[Path, ModuleType] = {}

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that were run."""
        return tuple(self._modules)

    def find(self, named: str) -> Callable[..., Any]:
        """Return the function that `file.py:name` or `package.module:name` names. Raises: ConfigError."""
        where, _, name = named.rpartition(":")
        module = self._file(where) if where.endswith(".py") else _package(where)
        function = getattr(module, name, None)
        if not inspect.isroutine(function):
            own = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
            cure = f"it has: {', '.join(sorted(own)[:10])}" if own else "define it there"
            raise ConfigError(f'there is no function "{name}" in {where}', cure=cure)
        return typing.cast(Callable[..., Any], function)

    def close(self) -> None:
        """Forget the modules."""
        for module in self._modules.values():
            sys.modules.pop(module.__name__, None)

    def _file(self, where: str) -> ModuleType:
        path = (self._home / where).resolve()
        if path in self._modules:
            return self._modules[path]
        try:
            source = path.read_bytes()
        except OSError as error:
            problem = f"{where} cannot be read ({error.strerror})"
            raise ConfigError(problem, cure="name a file of the home, or package.module:function") from None
        module = ModuleType(f"gateway_tools_{next(_serial)}.{path.stem}")
        module.__file__ = str(path)
        sys.modules[module.__name__] = module  # where annotations and dataclasses look for what they name
        try:
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)  # the operator's own file
        except (Exception, SystemExit) as error:  # the file may raise anything; the operator gets its line
            sys.modules.pop(module.__name__, None)
            raise _load_error(where, path, error) from error
        self._modules[path] = module
        return module


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # as in `_file`
        cure = "install it where the gateway is installed, or name a file of the home"
        raise ConfigError(f"{name} cannot be imported: {type(error).__name__}: {error}", cure=cure) from error


def _load_error(where: str, path: Path, error: BaseException) -> ConfigError:
    if isinstance(error, SyntaxError):
        line, problem = error.lineno or 0, f"not valid Python: {error.msg}"
    else:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line, problem = (lines or [0])[-1] or 0, f"cannot be loaded: {type(error).__name__}: {error}"
    return ConfigError(problem, file=where, line=line, column=1 if line else 0, cure="correct this line")


class PythonTool:
    """Calls one function: a coroutine in the loop, any other in a thread of its own.

    Threads are not the loop's: one that never comes back must neither take a place there nor keep the process alive.
    """

    def __init__(self, function: Callable[..., Any], max_bytes: int, log: Log, hidden: tuple[str, ...] = ()) -> None:
        self._function, self._max_bytes, self._log = function, max_bytes, log
        self._is_async = inspect.iscoroutinefunction(function)
        self._running = 0
        self.name = function.__name__
        self.description, documented = _documentation(function)
        self._arguments, self.parameters = _signature(function, documented, hidden)

    async def run(self, arguments: dict[str, Any], request_id: str) -> Result:
        """Return what the function returns. Raises: ToolFailed."""
        try:
            taken = msgspec.convert(arguments, self._arguments)
        except msgspec.ValidationError as error:
            raise ToolFailed(f"the arguments do not fit: {cleaned(str(error))}") from None
        given = {name: getattr(taken, name) for name in self._arguments.__struct_fields__}
        try:
            found = await (self._in_loop(given) if self._is_async else self._in_thread(given))
        except ToolFailed:
            raise
        except Exception as error:  # the operator's own code: the model is told, the request goes on
            self._log.debug("tool_raised", request_id=request_id, tool=self.name, at=place(error))
            raise ToolFailed(f"{type(error).__name__}: {cleaned(str(error))}") from error
        return self._result(found)

    def _result(self, found: Any) -> Result:
        try:
            body = msgspec.json.encode(found)
        except (TypeError, ValueError, msgspec.MsgspecError, RecursionError):
            raise ToolFailed(f"it returned {type(found).__name__}, which is not JSON") from None
        if len(body) > self._max_bytes:
            raise ToolFailed(f"its result is over {self._max_bytes} bytes, the most that is taken")
        return of_text(found) if isinstance(found, str) else Result(body.decode(), msgspec.Raw(body))

    async def _in_loop(self, given: Mapping[str, Any]) -> Any:
        """Return what the coroutine returns. What it raises of its own to end a loop or a task ends its call alone."""
        try:
            return await self._function(**given)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():  # whoever waits left, or the time is over
                raise
            raise RuntimeError("CancelledError") from error
        except (SystemExit, KeyboardInterrupt) as error:
            raise RuntimeError(type(error).__name__) from error

    async def _in_thread(self, given: Mapping[str, Any]) -> Any:
        if self._running >= MOST_THREADS:
            raise ToolFailed(f"{MOST_THREADS} calls of it still run")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()

        def settle(found: Any, error: BaseException | None) -> None:
            self._running -= 1
            if done.done():
                return
            if error is None:
                done.set_result(found)
            else:
                done.set_exception(error)

        def work() -> None:
            found, failed = None, None
            try:
                found = self._function(**given)
            except BaseException as error:  # whatever it is, whoever waits must hear of it
                fits = isinstance(error, Exception) and not isinstance(error, StopIteration)  # which no future takes
                failed = error if fits else RuntimeError(type(error).__name__)
            try:
                loop.call_soon_threadsafe(settle, found, failed)
            except RuntimeError:
                return  # the loop is closed: nobody waits any more

        self._running += 1
        threading.Thread(target=work, name=f"tool {self.name}", daemon=True).start()
        return await done


def _signature(
    function: Callable[..., Any], documented: Mapping[str, str], hidden: tuple[str, ...]
) -> tuple[type[msgspec.Struct], dict[str, Any]]:
    """Return what checks and converts the arguments, and their JSON Schema, `hidden` ones left out.

    Raises: ConfigError for what JSON cannot say.
    """
    name = function.__name__
    try:
        hints = typing.get_type_hints(function, include_extras=True)
    except Exception as error:  # evaluating hints runs the file's own names
        raise ConfigError(f'the type hints of "{name}" cannot be read: {error}', cure="correct them") from error
    fields: list[Any] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            cure = "give it named parameters, each with a type"
            raise ConfigError(f'"{name}" takes {parameter}, which no JSON object can hold', cure=cure)
        if parameter.name not in hints:
            cure = f"write for example {parameter.name}: str"
            raise ConfigError(f'the parameter "{parameter.name}" of "{name}" has no type', cure=cure)
        needed = parameter.default is parameter.empty
        fields.append((parameter.name, hints[parameter.name], *(() if needed else (_default(parameter.default),))))
    lost = [key for key in hidden if key not in hints]
    if lost:
        raise ConfigError(f'"{name}" has no parameter "{lost[0]}" for what context puts there', cure="add one")
    fields.sort(key=len)  # those without a default first; they are given by name
    arguments = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True)
    try:
        found = msgspec.json.schema(arguments)
    except (TypeError, ValueError, msgspec.MsgspecError) as error:
        cure = "use str, int, float, bool, list, dict, Literal, dataclasses or TypedDict"
        raise ConfigError(f'the types of "{name}" have no JSON form: {error}', cure=cure) from None
    definitions: dict[str, Any] = found["$defs"]
    schema = definitions.pop("Arguments")
    schema.pop("title", None)
    for key in hidden:
        schema["properties"].pop(key, None)
    schema["required"] = [key for key in schema["required"] if key not in hidden]
    for key, text in documented.items():
        if key in schema["properties"]:
            schema["properties"][key].setdefault("description", text)
    return arguments, {**schema, **({"$defs": definitions} if definitions else {})}


def _default(value: Any) -> Any:
    """Return a default as a field takes it: msgspec wants a new one made of what can change."""
    if isinstance(value, list | dict | set):
        return msgspec.field(default_factory=lambda: type(value)(value))
    return value


def _documentation(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """Return the first paragraph of a docstring, and what its Args say of each parameter."""
    text = inspect.getdoc(function) or ""
    first, _, rest = text.partition("\n\n")
    documented: dict[str, str] = {}
    within = False
    for line in rest.splitlines():
        if line.strip() in ("Args:", "Arguments:", "Parameters:"):
            within = True
        elif within and line[:1].strip():
            within = False
        elif within and (found := _DOCUMENTED.match(line)):
            documented[found[1]] = found[2].strip()
    return " ".join(first.split()), documented
