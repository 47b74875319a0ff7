"""A plugin's options in code's own units: text forms read, defaults of its schema filled in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gateway.runtime.subschemas import MAX_REFERENCES, refer, schemas_of_key
from gateway.runtime.text import FORMS
from gateway.runtime.validate import Rules


def convert(options: Mapping[str, Any], schema: Any, *, defaults: bool = True) -> dict[str, Any]:
    """Return valid `options` with the text forms of `schema` read and its defaults filled in, at every depth.

    With `defaults` False the top level gets none: what a route lays over the global options is only what it names.
    """
    converted = _Conversion(schema).convert(options, schema, defaults=defaults)
    return dict(converted)


def lay_over(global_options: Mapping[str, Any], route_options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a plugin named again on a route: each option that the route names replaces the
    global one whole, lists and mappings included; the others stay."""
    return {**global_options, **route_options}


class _Conversion:
    def __init__(self, root: Any) -> None:
        self.root = root
        self.rules = Rules(root)

    def convert(self, value: Any, schema: Any, *, defaults: bool = True) -> Any:
        known = list(self.applying(schema, value))
        if isinstance(value, str):
            for one in known:
                form = FORMS.get(one.get("format", ""))
                if form is not None:
                    return form.read(value)
            return value
        if isinstance(value, list):
            items: Any = next((one["items"] for one in known if "items" in one), {})
            return [self.convert(item, items) for item in value]
        if not isinstance(value, Mapping):
            return value
        converted: dict[str, Any] = {}
        for key, inner in value.items():
            found = [schema for one in known for schema in schemas_of_key(one, key)]
            converted[key] = self.convert(inner, {"allOf": found})
        if defaults:
            for one in known:
                for key, inner in one.get("properties", {}).items():
                    if key not in converted and isinstance(inner, Mapping) and "default" in inner:
                        converted[key] = self.convert(inner["default"], inner)
        return converted

    def applying(self, schema: Any, value: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
        """Yield the schemas that speak about `value`: through $ref and allOf, and the fitting branches of a choice."""
        if not isinstance(schema, Mapping) or depth > MAX_REFERENCES:
            return
        yield schema
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            yield from self.applying(refer(self.root, reference), value, depth + 1)
        for branch in schema.get("allOf", ()):
            yield from self.applying(branch, value, depth + 1)
        for branch in [*schema.get("anyOf", ()), *schema.get("oneOf", ())]:
            if self.rules.is_branch(value, branch):
                yield from self.applying(branch, value, depth + 1)
