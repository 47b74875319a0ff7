"""A workflow as the file has it: read, its prompts and schemas at hand, and nothing of LangGraph loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import msgspec

from gateway.plugin import ConfigError

from .files import Files
from .gates import Output
from .loading import check
from .steps import TASKS, Step, step_of


@dataclass(frozen=True, slots=True)
class Written:
    """`steps` are a chain's, or coordinator, worker and synthesizer; of a graph of the operator's own there are none,
    and `use` says where it is. `asks` are the models that are asked for, and where each stands in the options. `digest`
    changes with everything that a run depends on."""

    name: str
    kind: str
    where: str
    steps: tuple[Step, ...]
    asks: Mapping[str, str]
    digest: str
    use: str = ""
    at_most: int = 0
    checkpoint: bool = False
    checkpoint_ttl_s: float = 0.0


def written(name: str, options: Mapping[str, Any], files: Files, where: str) -> Written:
    """Return the workflow that the options at `where` describe. Raises: ConfigError."""
    if options["checkpoint"] and options["checkpoint_ttl"] < 1:
        raise ConfigError(f"{where}.checkpoint_ttl: nothing would be kept", cure="write 1s or more, such as 1h")
    kind = options.get("kind", "own")
    steps: list[Step] = []
    places: list[str] = []
    if kind == "chain":
        steps, places = _chain(options, files, where)
    elif kind == "orchestrator":
        steps, places = _team(options, files, where)
    else:
        check(options["use"], files, where)
    asks = {step.model: f"{place}.model" for step, place in reversed(list(zip(steps, places, strict=True)))}
    asks |= {model: f"{where}.asks[{number}]" for number, model in reversed(list(enumerate(options.get("asks", ()))))}
    texts = [[step.prompt, step.output.schema if step.output else ""] for step in steps]
    return Written(
        name=name,
        kind=kind,
        where=where,
        steps=tuple(steps),
        asks=asks,
        digest=sha256(msgspec.json.encode([options, texts], order="deterministic")).hexdigest(),
        use=options.get("use", ""),
        at_most=options["workers"]["at_most"] if kind == "orchestrator" else 0,
        checkpoint=options["checkpoint"],
        checkpoint_ttl_s=options["checkpoint_ttl"],
    )


def _chain(options: Mapping[str, Any], files: Files, where: str) -> tuple[list[Step], list[str]]:
    places = [f"{where}.steps[{number}]" for number in range(len(options["steps"]))]
    seen: dict[str, str] = {}
    for given, place in zip(options["steps"], places, strict=True):
        if given["name"] in seen:
            problem = f'{place}.name: "{given["name"]}" is also the name of {seen[given["name"]]}'
            raise ConfigError(problem, cure="give one of them another name")
        seen[given["name"]] = place
    lenient = options["gate_mode"] == "lenient"
    steps = [
        step_of(given["name"], given, files, place, lenient=lenient)
        for given, place in zip(options["steps"], places, strict=True)
    ]
    return steps, places


def _team(options: Mapping[str, Any], files: Files, where: str) -> tuple[list[Step], list[str]]:
    names = {"coordinator": "coordinator", "workers": "worker", "synthesizer": "synthesizer"}
    places = [f"{where}.{role}" for role in names]
    coordinator, worker, synthesizer = (
        step_of(name, options[role], files, place) for (role, name), place in zip(names.items(), places, strict=True)
    )
    coordinator = replace(coordinator, output=Output(TASKS, {}, places[0]))
    return [coordinator, worker, synthesizer], places


def refuse_circles(workflows: Mapping[str, Written]) -> None:
    """Raises: ConfigError when a workflow asks for itself, or for one that asks for it."""

    def visit(name: str, path: Sequence[str]) -> None:
        if name in path:
            circle = " → ".join([*path[path.index(name) :], name])
            where = workflows[path[-1]].asks[name]
            raise ConfigError(
                f"{where}: a workflow that asks for itself never ends: {circle}", cure="name another model"
            )
        for model in workflows[name].asks:
            if model in workflows:
                visit(model, [*path, name])

    for name in workflows:
        visit(name, [])
