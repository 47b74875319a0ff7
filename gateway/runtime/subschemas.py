"""Which parts of a JSON Schema speak about a value, and what kind of value they want."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gateway.runtime.document import Node
from gateway.runtime.fits import is_type

MAX_REFERENCES: Final = 20
"""How many $ref and choices deep a schema is followed: more is a cycle."""


def settle(node: Node, schema: Any) -> None:
    """Give every scalar that came out of an expansion back as text where the schema wants text.

    `${PORT}` is typed again after expansion; an all-digit key in a text field must not become a number by that.
    """
    if any(below.variables for below in node.walk()):
        _settle(node, [schema], schema)


def _settle(node: Node, schemas: Sequence[Any], root: Mapping[str, Any]) -> None:
    known = [one for schema in schemas for one in options_of(schema, root)]
    if isinstance(node.value, dict):
        for key, child in node.value.items():
            _settle(child, [one for schema in known for one in schemas_of_key(schema, key)], root)
    elif isinstance(node.value, list):
        for child in node.value:
            _settle(child, [schema["items"] for schema in known if "items" in schema], root)
    elif node.variables and not isinstance(node.value, str):
        # Where no schema speaks (a target's params), the type stays as it came out.
        as_it_is = not known or any(_accepts(schema, node.value) for schema in known)
        if not as_it_is and any(_accepts(schema, node.text) for schema in known):
            node.value = node.text


def _accepts(schema: Mapping[str, Any], value: object) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    kinds = schema.get("type")
    if kinds is None:
        return True
    return any(is_type(value, kind) for kind in ([kinds] if isinstance(kinds, str) else kinds))


def options_of(schema: Any, root: Mapping[str, Any], depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """Yield `schema` and every schema it may stand for: through $ref inside the document, allOf, anyOf and oneOf."""
    if not isinstance(schema, Mapping) or depth > MAX_REFERENCES:
        return
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        yield from options_of(refer(root, reference), root, depth + 1)
    branches = [branch for word in ("anyOf", "oneOf", "allOf") for branch in schema.get(word, ())]
    for branch in branches:
        yield from options_of(branch, root, depth + 1)
    if schema.keys() & {"type", "properties", "items", "additionalProperties", "enum"} or not (branches or reference):
        yield schema


def refer(root: Mapping[str, Any], reference: str) -> Any:
    """Return what a local reference (`#/$defs/x`) points at in `root`; {} when there is nothing."""
    target: Any = root
    for part in filter(None, reference[1:].split("/")):
        step = part.replace("~1", "/").replace("~0", "~")
        target = target.get(step, {}) if isinstance(target, Mapping) else {}
    return target


def schemas_of_key(schema: Mapping[str, Any], key: str) -> list[Any]:
    """Return what `schema` says of the value under `key`."""
    properties = schema.get("properties", {})
    if key in properties:
        return [properties[key]]
    matching = [value for pattern, value in schema.get("patternProperties", {}).items() if re.search(pattern, key)]
    more = schema.get("additionalProperties")
    return matching or ([more] if isinstance(more, Mapping) else [])
