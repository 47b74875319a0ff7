"""Options of one plugin that another one acts on: they change nothing where that one runs in no chain."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gateway.runtime.document import Key, Node, path_text

Held = tuple[str, Node, str]
"""The plugin that is needed, the option that needs it, and the path of it."""


def held_options(node: Node, schema: Any, where: str) -> Iterator[Held]:
    """Yield the options given in `node` whose schema names, as `x-held-by`, the plugin that acts on them."""
    yield from _below(node, schema, where, ())


def _below(node: Node, schema: Any, where: str, steps: tuple[Key, ...]) -> Iterator[Held]:
    if not isinstance(schema, Mapping):
        return
    if "x-held-by" in schema:
        yield schema["x-held-by"], node, path_text(where, steps)
    if isinstance(node.value, dict):
        for name, below in schema.get("properties", {}).items():
            if name in node.value:
                yield from _below(node.value[name], below, where, (*steps, name))
    elif isinstance(node.value, list) and "items" in schema:
        for number, one in enumerate(node.value):
            yield from _below(one, schema["items"], where, (*steps, number))


def warnings(held: Sequence[Held], running: Collection[str]) -> list[str]:
    """Return a warning for each plugin that is needed and does not run, at the first place that needs it."""
    missing: dict[str, list[Held]] = {}
    for one in held:
        if one[0] not in running:
            missing.setdefault(one[0], []).append(one)
    found = []
    for name, places in missing.items():
        _, node, path = places[0]
        problem = f'nothing acts on this: the plugin "{name}" is in no chain'
        if len(places) > 1:
            problem += f", nor on {len(places) - 1} more of its kind"
        found.append(str(node.error(problem, path=path, cure=f'add "- {name}" to plugins:')))
    return found
