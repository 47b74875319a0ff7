"""Whether a value fits a JSON Schema (draft 2020-12), for the words that configurations are described with.

A start asks this of every section and every plugin's options, and the answer is nearly always yes. `jsonschema`, which
knows the whole standard, takes longer to import than all that takes to answer; so it is asked for what this file does
not know and, when something does not fit, for what is wrong. A test holds that the two agree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.runtime.text import FORMS

_DEEPEST: Final = 60
"""References and choices inside one another: more is a cycle, or nearly."""
_TYPES: Final = frozenset({"string", "object", "array", "boolean", "null", "number", "integer"})
_SAYS_NOTHING: Final = {
    "title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly",
    "$comment", "$schema", "$defs",
}  # fmt: skip
_LONGEST_UNIQUE: Final = 100


class UnsureError(Exception):
    """The schema says something that this file does not know."""


def fits(value: Any, schema: Any, root: Any) -> bool:
    """Return whether `value` fits `schema`, whose references are to `root`. Raises: UnsureError."""
    try:
        return _fits(value, schema, root, 0)
    except (TypeError, AttributeError, re.error) as error:  # no schema: whoever knows the standard says so
        raise UnsureError from error


def is_type(value: object, name: object) -> bool:
    """Return whether `value` is what `type: name` wants: 1.0 is an integer, true is no number."""
    match name:
        case "string":
            return isinstance(value, str)
        case "object":
            return isinstance(value, dict)
        case "array":
            return isinstance(value, list)
        case "boolean":
            return isinstance(value, bool)
        case "null":
            return value is None
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "integer":
            whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
            return whole and not isinstance(value, bool)
    return False


def _fits(value: Any, schema: Any, root: Any, depth: int) -> bool:
    if isinstance(schema, bool):
        return schema
    if depth > _DEEPEST or "$id" in schema:  # references below it are to itself
        raise UnsureError
    unknown = False
    for word, wanted in schema.items():
        if word in _SAYS_NOTHING or word.startswith("x-"):
            continue
        if word in _OF_ITSELF:
            if not _OF_ITSELF[word](value, wanted):
                return False
        elif word in _OF_PARTS:
            if not _OF_PARTS[word](value, wanted, schema, root, depth + 1):
                return False
        else:
            unknown = True
    if unknown:
        raise UnsureError
    return True


def _type(value: Any, wanted: Any) -> bool:
    names = [wanted] if isinstance(wanted, str) else wanted
    if not _TYPES.issuperset(names):
        raise UnsureError
    return any(is_type(value, name) for name in names)


def _enum(value: Any, wanted: Any) -> bool:
    return any(_is_same(value, one) for one in wanted)


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; true is not 1, at any depth."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_is_same(inner, other[key]) for key, inner in one.items())
    return bool(one == other)


def _format(value: Any, wanted: Any) -> bool:
    form = FORMS.get(wanted)
    if form is not None and isinstance(value, str):
        try:
            form.read(value)
        except ValueError:
            return False
    return True


def _unique(value: Any, wanted: Any) -> bool:
    if not wanted or not isinstance(value, list):
        return True
    if len(value) > _LONGEST_UNIQUE:
        raise UnsureError
    return not any(_is_same(one, other) for number, one in enumerate(value) for other in value[:number])


def _bound(kind: str, is_within: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    return lambda value, wanted: not is_type(value, kind) or is_within(value, wanted)


_OF_ITSELF: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "type": _type,
    "enum": _enum,
    "const": _is_same,
    "format": _format,
    "uniqueItems": _unique,
    "pattern": _bound("string", lambda value, wanted: re.search(wanted, value) is not None),
    "minLength": _bound("string", lambda value, wanted: len(value) >= wanted),
    "maxLength": _bound("string", lambda value, wanted: len(value) <= wanted),
    "minimum": _bound("number", lambda value, wanted: not value < wanted),
    "maximum": _bound("number", lambda value, wanted: not value > wanted),
    "exclusiveMinimum": _bound("number", lambda value, wanted: not value <= wanted),
    "exclusiveMaximum": _bound("number", lambda value, wanted: not value >= wanted),
    "minItems": _bound("array", lambda value, wanted: len(value) >= wanted),
    "maxItems": _bound("array", lambda value, wanted: len(value) <= wanted),
    "minProperties": _bound("object", lambda value, wanted: len(value) >= wanted),
    "maxProperties": _bound("object", lambda value, wanted: len(value) <= wanted),
    "required": _bound("object", lambda value, wanted: all(name in value for name in wanted)),
}
"""Of each word whether a value is as it wants."""


def _properties(value: Any, wanted: Any, schema: Any, root: Any, depth: int) -> bool:
    if not isinstance(value, dict):
        return True
    return all(_fits(value[name], inner, root, depth) for name, inner in wanted.items() if name in value)


def _patterns(value: Any, wanted: Any, schema: Any, root: Any, depth: int) -> bool:
    if not isinstance(value, dict):
        return True
    return all(
        _fits(inner, found, root, depth)
        for pattern, found in wanted.items()
        for name, inner in value.items()
        if re.search(pattern, name)
    )


def _additional(value: Any, wanted: Any, schema: Any, root: Any, depth: int) -> bool:
    if not isinstance(value, dict):
        return True
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    more = [name for name in value if name not in known and not any(re.search(each, name) for each in patterns)]
    return all(_fits(value[name], wanted, root, depth) for name in more)


def _items(value: Any, wanted: Any, schema: Any, root: Any, depth: int) -> bool:
    return not isinstance(value, list) or all(_fits(item, wanted, root, depth) for item in value)


def _any_of(value: Any, wanted: Any, schema: Any, root: Any, depth: int) -> bool:
    return any(_fits(value, branch, root, depth) for branch in wanted)


def _one_of(value: Any, wanted: Any, schema: Any, root: Any, depth: int) -> bool:
    return sum(_fits(value, branch, root, depth) for branch in wanted) == 1


def _all_of(value: Any, wanted: Any, schema: Any, root: Any, depth: int) -> bool:
    return all(_fits(value, branch, root, depth) for branch in wanted)


def _reference(value: Any, wanted: Any, schema: Any, root: Any, depth: int) -> bool:
    if not re.fullmatch(r"#(/[$\w-]+)+", wanted, re.ASCII):
        raise UnsureError
    target = root
    for step in wanted[2:].split("/"):
        if not isinstance(target, Mapping) or step not in target:
            raise UnsureError
        target = target[step]
    return _fits(value, target, root, depth)


_OF_PARTS: Final[Mapping[str, Callable[[Any, Any, Any, Any, int], bool]]] = {
    "properties": _properties,
    "patternProperties": _patterns,
    "additionalProperties": _additional,
    "items": _items,
    "anyOf": _any_of,
    "oneOf": _one_of,
    "allOf": _all_of,
    "$ref": _reference,
}
"""Of each word about what a value holds, or that stands for other schemas, whether the value is as it wants."""
