"""The quick check says what `jsonschema` says, of every schema of the surface and of every plugin."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.runtime.fits import UnsureError, fits
from gateway.runtime.home import STANDARD, Home
from gateway.runtime.judged import validator
from gateway.runtime.known import _KNOWN_ENTRY
from gateway.runtime.plugins import discover
from gateway.runtime.prices import _ENTRY
from gateway.runtime.subschemas import refer
from gateway.runtime.surface import CHECK, PROVIDER, ROUTE, sections
from gateway.runtime.text import FORMS
from gateway.runtime.validate import Rules
from tests.imports import ROOT

CATALOG = discover(Home(STANDARD, STANDARD / "gateway.yaml"))
PLUGINS = {name: CATALOG.options_schema(name) for name in CATALOG.names()}
SURFACE = {**sections(), "provider": PROVIDER, "route": ROUTE, "check": CHECK, "known": _KNOWN_ENTRY}
ODD: Mapping[str, Any] = {
    "price": _ENTRY.schema,
    "equal": {"enum": [1, True, "1", [0, {"a": False}], {"a": [1]}, None], "maxLength": 1},
    "unique": {"type": "array", "uniqueItems": True, "maxItems": 4, "items": {"enum": [1, True, 0, False, "a", [1]]}},
    "one": {"oneOf": [{"type": "integer"}, {"type": "number", "maximum": 3}, {"const": True}]},
    "all": {"allOf": [{"minimum": 2}, {"exclusiveMaximum": 5}], "exclusiveMinimum": 2.5, "type": ["number", "string"]},
    "tree": {
        "$defs": {"tree": {"type": "object", "additionalProperties": {"$ref": "#/$defs/tree"}, "maxProperties": 2}},
        "$ref": "#/$defs/tree",
    },
    "named": {"patternProperties": {"^[ab]": {"type": "integer"}, "b$": True}, "additionalProperties": False},
}
SCHEMAS = {**SURFACE, **PLUGINS, **ODD}
JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=3),
    st.sampled_from([[], {}, "off", "5s", "0", "1/min", "$1/day", "a/b", [1, True], {"a": 1}, 10**20]),
)  # fmt: skip


def near(schema: Any, root: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Return values of which some fit and most nearly do."""
    if not isinstance(schema, Mapping) or depth > 6:
        return JUNK
    found: list[st.SearchStrategy[Any]] = [JUNK]
    if "$ref" in schema:
        found.append(near(refer(root, schema["$ref"]), root, depth + 1))
    if "enum" in schema or "const" in schema:
        found.append(st.sampled_from(list(schema.get("enum", [schema.get("const")]))))
    found += [near(branch, root, depth + 1) for word in ("anyOf", "oneOf") for branch in schema.get(word, ())]
    kinds = schema.get("type", ())
    kinds = [kinds] if isinstance(kinds, str) else kinds
    more = schema.get("additionalProperties", True)
    if "object" in kinds or "patternProperties" in schema:
        inner = {name: near(one, root, depth + 1) for name, one in schema.get("properties", {}).items()}
        whole = st.fixed_dictionaries({}, optional=inner)
        extra = st.dictionaries(st.sampled_from(["a", "b", "ab", "x"]), near(more, root, depth + 1), max_size=2)
        needed = st.fixed_dictionaries({name: inner[name] for name in schema.get("required", ()) if name in inner})
        found += [
            whole,
            st.builds(lambda *parts: {k: v for part in parts for k, v in part.items()}, whole, extra, needed),
        ] * 2
    if "array" in kinds:
        found += [st.lists(near(schema.get("items", True), root, depth + 1), max_size=3)] * 2
    if "string" in kinds:
        form = FORMS.get(schema.get("format", ""))
        found.append(st.sampled_from(form.examples) if form else st.text(min_size=1, max_size=5))
    if "integer" in kinds or "number" in kinds:
        found.append(st.sampled_from([schema.get("minimum", 0), schema.get("maximum", 9), 0.5, 2.0, 7]))
    return st.one_of(found)


NEAR = {name: near(schema, schema) for name, schema in SCHEMAS.items()}


@pytest.mark.parametrize("name", SCHEMAS)
@settings(max_examples=settings.default.max_examples // 4)
@given(data=st.data())
def test_the_quick_check_and_the_judge_agree(name: str, data: st.DataObject) -> None:
    schema = SCHEMAS[name]
    value = data.draw(NEAR[name])
    assert fits(value, schema, schema) == validator(schema).is_valid(value)


@pytest.mark.parametrize(
    "schema",
    [
        {"dependentRequired": {"a": ["b"]}},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.com/schema"},
        {"$id": "https://example.com/schema"},
        {"not": {"type": "object"}},
        {"type": "mapping"},
        {"minProperties": "1"},
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"properties": {"a": {"if": True}}},
        {"properties": ["a"]},
    ],
)
def test_what_it_does_not_know_it_does_not_decide(schema: Mapping[str, Any]) -> None:
    with pytest.raises(UnsureError):
        fits({"a": 1}, schema, schema)


def test_a_word_it_does_not_know_is_left_to_the_judge() -> None:
    rules = Rules({"type": "object", "dependentRequired": {"a": ["b"]}})
    assert [error.validator for error in rules.errors({"a": 1})] == ["dependentRequired"]
    assert not list(rules.errors({"a": 1, "b": 2}))
    assert not rules.is_branch({"a": 1}, {"not": {"required": ["a"]}})


def test_a_schema_that_is_none_is_left_to_the_judge() -> None:
    with pytest.raises(re.error):
        list(Rules({"pattern": "["}).errors("a"))


def test_a_configuration_that_fits_starts_without_the_judge(tmp_path: Path) -> None:
    """An eighth of the start of a small home, and four megabytes."""
    program = (
        "import sys; from pathlib import Path; from gateway.runtime.home import Home; "
        "from gateway.runtime.load import load_config; from gateway.runtime.plugins import discover; "
        f"home = Home(Path({str(ROOT)!r}), Path({str(ROOT / 'gateway.yaml')!r})); load_config(home, {{}}, discover(home)); "
        "sys.exit('jsonschema' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
