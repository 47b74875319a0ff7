"""The JSON Schema (draft 2020-12) of gateway.yaml for editors: the surface, and every plugin's own options.

Beside what the loader checks it has what an editor needs: `${VAR}` wherever a value stands, patterns and
examples of the text forms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from gateway.errors import ConfigError
from gateway.runtime.parts import Schema
from gateway.runtime.surface import CHECK, PROVIDER, ROUTE, sections
from gateway.runtime.text import FORMS


class Catalog(Protocol):
    """The plugins that can be named, and what options each takes."""

    def names(self) -> Sequence[str]:
        """Return the names of the plugins found in the homes."""

    def options_schema(self, name: str, use: str | None) -> Mapping[str, Any]:
        """Return the JSON Schema of a plugin's options. Raises: ConfigError, without a place."""


def build_schema(catalog: Catalog) -> Schema:
    """Return the JSON Schema of gateway.yaml with the options of every plugin of `catalog`."""
    definitions: Schema = {}
    for name in sorted(catalog.names()):
        try:
            definitions[name] = _published(catalog.options_schema(name, None), f"#/$defs/options/{name}")
        except ConfigError:
            # A plugin that cannot be loaded is the loader's error, not the editor's: any options pass.
            definitions[name] = {"type": "object"}
    top = sections()
    top["providers"]["additionalProperties"] = PROVIDER
    top["routes"]["items"] = ROUTE
    top["checks"]["items"] = CHECK
    properties = {name: _published(section) for name, section in top.items()}
    properties["plugins"]["items"] = _entry(definitions, removable=False)
    properties["routes"]["items"]["properties"]["plugins"]["items"] = _entry(definitions, removable=True)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "gateway.yaml",
        "description": "The configuration of LLM Gateway. Any value may be ${VAR}, ${VAR:-default} or ${file:PATH}.",
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": {"options": definitions} if definitions else {},
    }


def _entry(definitions: Mapping[str, Any], *, removable: bool) -> Schema:
    """Return the schema of one entry of a chain: a name, {name: options}, or one with `use:`."""
    off: list[Schema] = [{"const": "off", "description": "Taken out on this route."}] if removable else []
    named: Schema = {}
    for name, schema in definitions.items():
        # `description` beside anyOf is what an editor shows for the key.
        named[name] = {
            "description": str(schema.get("description", f"Options of {name}.")),
            "anyOf": [{"$ref": f"#/$defs/options/{name}"}, {"type": "null"}, *off],
        }
    return {
        "anyOf": [
            {"type": "string", "enum": sorted(definitions), "description": "A plugin with its defaults."},
            {
                "type": "object",
                "properties": named,
                "additionalProperties": False,
                "minProperties": 1,
                "maxProperties": 1,
            },
            {
                "type": "object",
                "description": "A plugin from a package or a file: {use: package.module:Class, name: {options}}.",
                "properties": {"use": {"type": "string", "pattern": "^[^:]+:[A-Za-z_][A-Za-z0-9_]*$"}},
                "required": ["use"],
                "maxProperties": 3,
            },
        ]
    }


_EXPANSION: Final = r"\$\{[^{}]*\}"
_VALUES: Final = ("default", "const", "enum", "examples", "required")
_BY_NAME: Final = ("properties", "patternProperties", "$defs")


def _published(schema: Any, base: str = "#") -> Any:
    """Return `schema` as editors get it: `${…}` allowed everywhere, patterns and examples of the text forms.

    `base` is where its root will stand: its own references are made to start there.
    """
    if isinstance(schema, list):
        return [_published(item, base) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    public: Schema = {}
    for key, value in schema.items():
        if key in _VALUES:
            public[key] = value
        elif key in _BY_NAME:
            public[key] = {name: _published(inner, base) for name, inner in value.items()}
        elif key == "$ref" and str(value).startswith("#"):
            public[key] = base + str(value)[1:]
        elif not key.startswith("x-"):
            public[key] = _published(value, base)
    form = FORMS.get(public.get("format", ""))
    if form is not None:
        del public["format"]
        public["pattern"] = rf"^(?:{form.pattern})$|{_EXPANSION}"
        public.setdefault("examples", list(form.examples))
    elif "pattern" in public:
        public["pattern"] = rf"(?:{public['pattern']})|{_EXPANSION}"
    if public.get("type") in ("integer", "number", "boolean"):
        public["type"] = [public["type"], "string"]
        public["pattern"] = _EXPANSION
    if "enum" in public:
        public["anyOf"] = [{"enum": public.pop("enum")}, {"type": "string", "pattern": _EXPANSION}]
    return public
