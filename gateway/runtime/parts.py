"""Short words for the pieces of a JSON Schema that the configuration surface is built of."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def mapping(description: str, properties: Schema, **more: Any) -> Schema:
    """Return a mapping that takes these keys alone."""
    return {
        "type": "object",
        "description": description,
        "properties": properties,
        "additionalProperties": False,
        **more,
    }


def form(name: str, description: str, default: str | None = None) -> Schema:
    """Return text in one of the forms of `gateway.runtime.text`."""
    schema: Schema = {"type": "string", "format": name, "description": description}
    return schema if default is None else {**schema, "default": default}


def text(description: str, **more: Any) -> Schema:
    """Return plain text."""
    return {"type": "string", "description": description, **more}


def flag(description: str) -> Schema:
    """Return true or false."""
    return {"type": "boolean", "description": description}


def listing(description: str, items: Schema, **more: Any) -> Schema:
    """Return a list of `items`."""
    return {"type": "array", "description": description, "items": items, **more}


def globs(description: str) -> Schema:
    """Return a glob or a list of them."""
    one = {"type": "string", "minLength": 1}
    return {"type": ["string", "array"], "description": description, "minLength": 1, "items": one, "minItems": 1}
