"""What a step's output must be: JSON that fits its schema, and fields that pass its gates."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import msgspec
from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError, best_match
from referencing import Registry

from gateway.plugin import ConfigError

_FENCE = re.compile(r"\A```[A-Za-z]*\n(.*?)\n?```\Z", re.DOTALL)
_MISSING = object()


class Unfit(Exception):
    """Output that may not pass: `field` is the one at fault, "" for the whole of it; `problem` does not repeat what the
    model said."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f'field "{field}" {problem}' if field else problem)
        self.field, self.problem = field, problem


class Output:
    """A step's structured output. `schema` is JSON text, `gates` bounds by field; `where` names the options. `strict`
    says that OpenAI may be asked to enforce it: None where that would require properties which it leaves open."""

    def __init__(self, schema: str, gates: Mapping[str, Mapping[str, Any]], where: str) -> None:
        """Raises: ConfigError for what is no JSON Schema, or a pattern that is none."""
        self.schema = schema
        try:
            rules = msgspec.json.decode(schema)
            Draft202012Validator.check_schema(rules)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{where}.output: this is not JSON: {error}", cure="write a JSON Schema") from error
        except SchemaError as error:
            raise ConfigError(f"{where}.output: this is no JSON Schema: {error.message}", cure="correct it") from error
        # SECURITY: without a registry of its own the validator would fetch what a $ref names.
        self._rules = Draft202012Validator(rules, registry=Registry())
        if foreign := next(_foreign(rules), None):
            raise ConfigError(
                f'{where}.output: "$ref": "{foreign}" is in another file', cure="write it out under $defs"
            )
        self.strict = _is_strict(rules) or None
        for field, bounds in gates.items():
            _refuse_hopeless(rules, field, bounds, f"{where}.gate.{field}")
        self._gates = [(field, _gate(bounds, f"{where}.gate.{field}")) for field, bounds in gates.items()]

    def read(self, text: str) -> str:
        """Return the JSON in `text`, a fence around it taken off. Raises: Unfit."""
        text = text.strip()
        if fenced := _FENCE.match(text):
            text = fenced[1]
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            raise Unfit("", "the model did not answer with JSON") from None
        if error := best_match(self._rules.iter_errors(value)):
            raise Unfit(*_told(error))
        for field, gate in self._gates:
            if problem := gate(_at(value, field)):
                raise Unfit(field, problem)
        return text


def _told(error: Any) -> tuple[str, str]:
    """Return the field and what is wrong with it, in words that show no value."""
    field = ".".join(str(step) for step in error.absolute_path)
    if error.validator == "required":
        found = re.match(r"'(.*)' is a required property", error.message)
        name = found[1] if found else ""
        return ".".join(filter(None, [field, name])), "is missing"
    if error.validator == "type":
        wanted = error.validator_value
        return field, f"must be {wanted if isinstance(wanted, str) else ' or '.join(wanted)}"
    return field, f'does not fit "{error.validator}" of the schema'


def _is_strict(rules: Any) -> bool:
    """Return whether every object requires all its properties and allows no others."""
    if isinstance(rules, list):
        return all(map(_is_strict, rules))
    if not isinstance(rules, Mapping):
        return True
    properties = rules.get("properties")
    if rules.get("type") == "object" or properties is not None:
        required, others = rules.get("required"), rules.get("additionalProperties")
        if not isinstance(properties, Mapping) or others is not False or set(required or ()) != set(properties):
            return False
    return all(_is_strict(below) for name, below in rules.items() if name not in ("enum", "const", "required"))


def _foreign(rules: Any) -> Any:
    """Yield every reference that leaves the file."""
    if isinstance(rules, Mapping):
        reference = rules.get("$ref")
        if isinstance(reference, str) and not reference.startswith("#"):
            yield reference
    for below in rules.values() if isinstance(rules, Mapping) else rules if isinstance(rules, list) else ():
        yield from _foreign(below)


def _at(value: Any, field: str) -> Any:
    """Return the value of `field`; its name goes before a path into what is inside."""
    if isinstance(value, Mapping) and field in value:
        return value[field]
    for step in field.split("."):
        if isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            return _MISSING
    return value


_KIND: dict[str, frozenset[str]] = {
    **dict.fromkeys(("min_length", "max_length", "pattern"), frozenset({"string"})),
    **dict.fromkeys(("min_items", "max_items"), frozenset({"array"})),
    **dict.fromkeys(("minimum", "maximum"), frozenset({"number", "integer"})),
}
_PAIRS = (("min_length", "max_length"), ("min_items", "max_items"), ("minimum", "maximum"))
_ELSEWHERE = ("$ref", "$dynamicRef", "allOf", "anyOf", "oneOf", "if", "patternProperties", "dependentSchemas")
"""With what a schema may describe properties besides `properties`."""


def _refuse_hopeless(rules: Any, field: str, bounds: Mapping[str, Any], where: str) -> None:
    """Raises: ConfigError for a gate that nothing passes which fits the schema: every run would end there."""
    schema, near = _described(rules, field)
    if near is not None:
        raise ConfigError(f'{where}: the schema allows no field "{field}"', cure=near)
    named = schema.get("type", ()) if isinstance(schema, Mapping) else ()
    types = [named] if isinstance(named, str) else list(named)
    kinds = {name: _KIND[name] for name in bounds if name in _KIND}
    for name, kind in kinds.items():
        if types and not kind.intersection(types):
            raise ConfigError(
                f'{where}.{name}: the schema says that "{field}" is {" or ".join(types)}, so nothing passes',
                cure="take a bound for that, or correct the schema",
            )
    if len(set(kinds.values())) > 1:
        raise ConfigError(f"{where}: {' and '.join(kinds)} are of different types, so nothing passes", cure="keep one")
    for low, high in _PAIRS:
        if low in bounds and high in bounds and bounds[low] > bounds[high]:
            raise ConfigError(f"{where}: {low} is above {high}, so nothing passes", cure="correct one of them")


def _described(rules: Any, field: str) -> tuple[Any, str | None]:
    """Return the schema of `field`, None where it says nothing; and the cure when it allows no such field."""
    if isinstance(rules, Mapping) and field in rules.get("properties", ()):
        return rules["properties"][field], None
    schema = rules
    for step in field.split("."):
        known = schema.get("properties", {}) if isinstance(schema, Mapping) else {}
        if step in known:
            schema = known[step]
            continue
        if not isinstance(schema, Mapping) or any(word in schema for word in _ELSEWHERE):
            return None, None
        if schema.get("additionalProperties") is not False:
            return None, None
        close = get_close_matches(step, known, n=1)
        return None, f'did you mean "{close[0]}"?' if close else f"it has: {', '.join(known) or 'none'}"
    return schema, None


Gate = Callable[[Any], str]


def _gate(bounds: Mapping[str, Any], where: str) -> Gate:
    """Return what says what is wrong with a value, "" for nothing."""
    checks = [_check(name, bound, where) for name, bound in bounds.items()]

    def gate(value: Any) -> str:
        if value is _MISSING:
            return "is missing"
        return next((problem for check in checks if (problem := check(value))), "")

    return gate


def _check(name: str, bound: Any, where: str) -> Gate:
    match name:
        case "min_length":
            return _sized(str, lambda text: len(text.strip()) >= bound, f"must be a text of {bound} or more characters")
        case "max_length":
            return _sized(str, lambda text: len(text) <= bound, f"must be a text of {bound} or fewer characters")
        case "min_items":
            return _sized(list, lambda items: len(items) >= bound, f"must be a list of {bound} or more entries")
        case "max_items":
            return _sized(list, lambda items: len(items) <= bound, f"must be a list of {bound} or fewer entries")
        case "minimum":
            return _sized((int, float), lambda number: number >= bound, f"must be {bound} or more")
        case "maximum":
            return _sized((int, float), lambda number: number <= bound, f"must be {bound} or less")
        case "pattern":
            try:
                pattern = re.compile(bound)
            except re.error as error:
                raise ConfigError(f"{where}.pattern: no regular expression: {error}", cure="correct it") from error
            return _sized(str, lambda text: pattern.search(text) is not None, "must match the gate's pattern")
        case _:
            return _among(bound)


def _sized(kind: type | tuple[type, ...], fits: Callable[[Any], bool], problem: str) -> Gate:
    # True is an int to Python, and no number to anybody else.
    return lambda value: "" if isinstance(value, kind) and not isinstance(value, bool) and fits(value) else problem


def _among(values: Sequence[Any]) -> Gate:
    allowed = [(type(value) is bool, value) for value in values]
    return lambda value: "" if (type(value) is bool, value) in allowed else "must be one of the gate's values"
