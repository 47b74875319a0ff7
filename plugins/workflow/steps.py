"""A step: which model is asked, with which words and limits, and what its answer must be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.plugin import ConfigError

from .files import Files
from .gates import Output

TASKS = """{"title": "tasks", "type": "object", "properties": {"tasks": {"type": "array", "items": {"type": "string"},
"minItems": 1, "description": "One self-contained instruction a task."}}, "required": ["tasks"],
"additionalProperties": false}"""
"""What a coordinator answers."""


@dataclass(frozen=True, slots=True)
class Step:
    """One question to a model. None: the model's own temperature, the request's own limits. `lenient` output that does
    not fit is logged and passed on."""

    name: str
    model: str
    prompt: str = ""
    temperature: float | None = None
    max_tokens: int | None = None
    timeout_s: float | None = None
    output: Output | None = None
    lenient: bool = False


def step_of(name: str, options: Mapping[str, Any], files: Files, where: str, *, lenient: bool = False) -> Step:
    """Return the step that the options at `where` describe. Raises: ConfigError."""
    output = None
    gates = options.get("gate", {})
    if "output" in options:
        output = Output(files.text(options["output"], f"{where}.output"), gates, where)
    elif gates:
        raise ConfigError(
            f"{where}.gate: a gate looks at fields, and this step has none", cure="name a schema as output:"
        )
    if options.get("timeout") == 0:
        raise ConfigError(
            f"{where}.timeout: 0 ends the step before it begins", cure="write for example 30s, or leave it out"
        )
    return Step(
        name=name,
        model=options["model"],
        prompt=files.text(options["prompt"], f"{where}.prompt"),
        temperature=options.get("temperature"),
        max_tokens=options.get("max_tokens"),
        timeout_s=options.get("timeout"),
        output=output,
        lenient=lenient,
    )
