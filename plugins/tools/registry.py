"""A tool: what it is called, what it takes, what runs it; and the words for how a call ended."""

from __future__ import annotations

import json
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec

from .arguments import Checker

LONGEST_ERROR: Final = 300
"""How many characters of what went wrong a model, and so a client, is told."""


class ToolFailed(Exception):
    """A call that came to nothing, in words fit for the model and the client: no address, no secret."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered: `text` is for the model, `value` the same as JSON for POST /v1/tools/execute."""

    text: str
    value: msgspec.Raw


Run = Callable[[dict[str, Any], str], Awaitable[Result]]
"""Runs a call: its arguments, and the id of the request that it is made for. Raises: ToolFailed."""


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool. `parameters` is the JSON Schema of its arguments, `schema` the same as text; `context` are keys of the
    session's context that are merged into them."""

    name: str
    description: str
    parameters: Mapping[str, Any]
    run: Run
    timeout_s: float
    context: tuple[str, ...] = ()
    schema: str = field(init=False)
    check: Checker = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "schema", json.dumps(self.parameters, ensure_ascii=False, separators=(",", ":")))
        object.__setattr__(self, "check", Checker(self.parameters))

    def shown(self) -> dict[str, Any]:
        """Return what GET /v1/tools says of it."""
        return {"name": self.name, "description": self.description, "parameters": self.parameters}


def of_json(body: bytes) -> Result:
    """Return JSON as a result, its white space left out and every value as it was. Raises: ToolFailed."""
    try:
        text = msgspec.json.format(body, indent=-1)
        msgspec.json.decode(text, type=msgspec.Raw)
        return Result(text.decode("utf-8"), msgspec.Raw(text))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ToolFailed("it answered with what is not JSON") from None


def of_text(text: str) -> Result:
    """Return text as a result."""
    return Result(text, msgspec.Raw(json.dumps(text).encode()))


def place(error: BaseException) -> str:
    """Return `file:line` where `error` was raised: its words may repeat an argument, its place does not."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def cleaned(text: str, at_most: int = LONGEST_ERROR) -> str:
    """Return foreign words as one short line without control characters."""
    line = "".join(letter if letter.isprintable() else " " for letter in text[: 4 * at_most])
    line = " ".join(line.split())
    return line if len(line) <= at_most else line[: at_most - 1] + "…"
