"""Whether a schema already fits OpenAI's strict mode."""

from __future__ import annotations

_DEEPEST = 100


def is_strict(schema: object, depth: int = 0) -> bool:
    """Return whether every object in `schema` requires all its properties and forbids others."""
    if depth > _DEEPEST:
        return False
    if isinstance(schema, list):
        return all(is_strict(item, depth + 1) for item in schema)
    if not isinstance(schema, dict):
        return depth > 0
    properties = schema.get("properties")
    if schema.get("type") == "object" or properties is not None:
        required = schema.get("required")
        if not isinstance(properties, dict) or schema.get("additionalProperties") is not False:
            return False
        if not isinstance(required, list) or {name for name in required if isinstance(name, str)} != set(properties):
            return False
        if not all(is_strict(value, depth + 1) for value in properties.values()):
            return False
    elif depth == 0:
        return False
    nested = [schema[name] for name in ("items", "anyOf") if name in schema]
    for name in ("$defs", "definitions"):
        definitions = schema.get(name)
        if isinstance(definitions, dict):
            nested.extend(definitions.values())
    return all(is_strict(value, depth + 1) for value in nested)
