"""Checks a node against a JSON Schema and says what is wrong where it stands, with a cure.

`fits.py` decides, `jsonschema` says what is wrong; its errors are turned into ours because its own show values, and a
value may be a secret.
"""

from __future__ import annotations

import difflib
import importlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from gateway.errors import ConfigError
from gateway.runtime.document import Node, path_text
from gateway.runtime.expand import holds_secret
from gateway.runtime.fits import UnsureError, fits
from gateway.runtime.found import MOST
from gateway.runtime.subschemas import settle
from gateway.runtime.text import FORMS

if TYPE_CHECKING:
    from jsonschema import Draft202012Validator, ValidationError

_TYPE_WORDS: Final = {
    "string": "text", "integer": "a whole number", "number": "a number", "boolean": "true or false",
    "array": "a list", "object": "a mapping", "null": "nothing",
}  # fmt: skip
_BOUNDS: Final = {
    "minimum": ("{} or more", "raise it"), "maximum": ("{} or less", "lower it"),
    "exclusiveMinimum": ("more than {}", "raise it"), "exclusiveMaximum": ("less than {}", "lower it"),
    "multipleOf": ("a multiple of {}", "change it"),
    "minLength": ("{} or more characters long", "write more"),
    "maxLength": ("{} or fewer characters long", "shorten it"),
    "minItems": ("{} or more entries", "add one"), "maxItems": ("{} or fewer entries", "remove some"),
    "minProperties": ("{} or more keys", "add one"), "maxProperties": ("{} or fewer keys", "remove some"),
}  # fmt: skip

_OF_THE_WHOLE: Final = ("type", "required", "additionalProperties")
"""Keywords whose verdict on a mapping or list does not hang on the values in it."""


class Rules:
    """A JSON Schema that values are checked against."""

    __slots__ = ("_judge", "schema")

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self.schema = schema
        self._judge: Draft202012Validator | None = None

    def errors(self, value: Any) -> Iterator[ValidationError]:
        """Yield what is wrong with `value`."""
        try:
            if fits(value, self.schema, self.schema):
                return iter(())
        except UnsureError:
            pass
        return self._judges().iter_errors(value)

    def is_branch(self, value: Any, branch: Mapping[str, Any]) -> bool:
        """Return whether `value` fits `branch`, a part of the schema."""
        try:
            return fits(value, branch, self.schema)
        except UnsureError:
            return self._judges().evolve(schema=branch).is_valid(value)

    def _judges(self) -> Draft202012Validator:
        if self._judge is None:
            self._judge = importlib.import_module("gateway.runtime.judged").validator(self.schema)
        return self._judge


def suggest(name: str, known: Iterable[str], *, otherwise: str = "known") -> str:
    """Return the cure for a wrong name: the nearest known one, else the list of them."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if near:
        return f'did you mean "{near[0]}"?'
    if not names:
        return f"none is {otherwise}"
    shown = ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
    return f"{otherwise}: {shown}"


def shown(node: Node, path: str) -> str:
    """Return a value as a message may show it.

    SECURITY: what came out of an expansion, and what stands where credentials stand, is never shown.
    """
    if isinstance(node.value, (dict, list)):
        return "a mapping" if isinstance(node.value, dict) else "a list"
    if node.variables:
        return f"the value of {', '.join('${' + name + '}' for name in node.variables)}"
    if node.value is None:
        return "nothing"
    if holds_secret(path):
        return "this value"
    text = node.text if len(node.text) <= 60 else node.text[:57] + "…"
    return f'"{text}"' if isinstance(node.value, str) else text


def check(node: Node, rules: Rules, path: str) -> list[ConfigError]:
    """Return everything about `node` that `rules` forbid, in no particular order; empty when it fits."""
    settle(node, rules.schema)
    errors: list[ConfigError] = []
    # One more than are told is enough to know that there are too many.
    for error in itertools.islice(rules.errors(node.plain()), MOST + 1):
        errors.extend(explain(error, node, path))
    return errors


def explain(error: ValidationError, node: Node, path: str) -> list[ConfigError]:
    """Turn one error about `node`, or about what was laid over it, into ours at the nearest place there is."""
    steps = list(error.absolute_path)
    at = node.find(steps)
    where = path_text(path, steps)
    # What could not be expanded has been told of; a choice that failed may have failed by it.
    if at.broken or (error.validator not in _OF_THE_WHOLE and at.is_broken()):
        return []
    if error.validator in ("anyOf", "oneOf") and error.context:
        return _branches(error, node, path, at, where)
    return list(_translate(error, at, where))


def _branches(error: ValidationError, node: Node, path: str, at: Node, where: str) -> list[ConfigError]:
    """Of a choice that fits nowhere, tell about the branch that was meant: one whose type or constant fits."""
    branches: dict[Any, list[ValidationError]] = {}
    for inner in error.context:
        branches.setdefault(inner.relative_schema_path[0], []).append(inner)
    meant = [
        inner
        for inner in branches.values()
        if not any(not one.relative_path and one.validator in ("type", "enum", "const") for one in inner)
    ]
    if meant:
        return [ours for inner in min(meant, key=len) for ours in explain(inner, node, path)]
    wanted: list[str] = []
    choices: Any = error.validator_value
    for branch in choices:
        for word in [str(value) for value in branch.get("enum", [])] or [
            _types(branch.get("type")) or str(branch.get("const", ""))
        ]:
            if word and word not in wanted:
                wanted.append(word)
    return [
        at.error(f"must be {_alternatives(wanted)}, not {shown(at, where)}", path=where, cure="see `gateway schema`")
    ]


def _translate(error: ValidationError, at: Node, where: str) -> Iterator[ConfigError]:
    keyword = str(error.validator)
    wanted: Any = error.validator_value
    schema: Any = error.schema
    if not isinstance(schema, Mapping):
        yield at.error("is not allowed here", path=where, cure="remove it")
    elif keyword in ("additionalProperties", "unevaluatedProperties"):
        yield from itertools.islice(_unknown_keys(schema, at, where), MOST + 1)
    elif keyword == "required":
        missing = re.match(r"'(.*)' is a required property", error.message)
        name = missing[1] if missing else ", ".join(wanted)
        yield at.error(f'"{name}" is missing', path=where, cure=f"add {name}:")
    elif keyword == "type":
        problem = f"must be {_types(wanted)}, not {shown(at, where)}"
        yield at.error(problem, path=where, cure=_type_cure(schema, at, where))
    elif keyword in ("enum", "const"):
        yield _not_among(wanted if keyword == "enum" else [wanted], schema, at, where)
    elif keyword == "format":
        problem, _, cure = str(error.cause).partition("; ")
        if at.variables or holds_secret(where):
            problem = problem.replace(f'"{at.text}"', shown(at, where))
        yield at.error(problem, path=where, cure=cure)
    elif keyword == "uniqueItems":
        yield at.error("holds the same entry twice", path=where, cure="remove one")
    elif keyword == "pattern":
        cure = str(schema.get("description") or f"write what matches {wanted}").rstrip(".")
        yield at.error(f"{shown(at, where)} has not the right form", path=where, cure=cure)
    elif keyword in _BOUNDS:
        bound, cure = _BOUNDS[keyword]
        verb = "must have" if keyword.endswith(("Items", "Properties")) else "must be"
        problem = f"{verb} {bound.format(wanted)}, not {_measured(at, keyword, where)}"
        yield at.error(problem, path=where, cure=_cure(schema, cure))
    else:
        yield at.error(
            f'does not satisfy "{keyword}" of the schema', path=where, cure=_cure(schema, "see `gateway schema`")
        )


def _not_among(values: Iterable[object], schema: Mapping[str, Any], at: Node, where: str) -> ConfigError:
    choices = list(dict.fromkeys(str(value) for value in values))
    cure = f"write {_alternatives(choices)}"
    if at.value in schema.get("x-later", ()):
        return at.error(f"this version does not have {shown(at, where)}", path=where, cure=cure)
    near = "" if at.variables else suggest(at.text, choices)
    if at.text in choices and not at.variables:
        cure = f"write {at.text} without quotes"
    elif near.startswith("did"):
        cure = near
    return at.error(f"{shown(at, where)} is not allowed here", path=where, cure=cure)


def _unknown_keys(schema: Mapping[str, Any], at: Node, where: str) -> Iterator[ConfigError]:
    known = schema.get("properties", {})
    patterns = [re.compile(pattern) for pattern in schema.get("patternProperties", {})]
    for key in at.value if isinstance(at.value, dict) else ():
        if key in known or any(pattern.search(key) for pattern in patterns):
            continue
        if key in schema.get("x-later", ()):
            yield at.key_error(key, f'this version does not have "{key}"', path=where, cure="remove it")
        elif key == "<<":
            yield at.key_error(
                key, 'merge keys ("<<") are not read', path=where, cure="write the settings out, or alias whole values"
            )
        else:
            yield at.key_error(key, f'unknown key "{key}"', path=where, cure=suggest(key, known))


def _measured(at: Node, keyword: str, where: str) -> str:
    if keyword.endswith(("Items", "Properties")):
        return str(len(at.value))
    return str(len(at.text)) if keyword.endswith("Length") else shown(at, where)


def _types(wanted: Any) -> str:
    kinds = [wanted] if isinstance(wanted, str) else list(wanted or ())
    return _alternatives([_TYPE_WORDS.get(kind, kind) for kind in kinds if kind != "null" or len(kinds) == 1])


def _alternatives(words: Sequence[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _type_cure(schema: Mapping[str, Any], at: Node, where: str) -> str:
    form = FORMS.get(schema.get("format", ""))
    if form is not None:
        return f'write text such as "{form.examples[0]}"'
    if schema["type"] == "array" and isinstance(at.value, str) and shown(at, where).startswith('"'):
        return f"write [{at.text}]"
    return _cure(schema, f"write {_types(schema['type'])}")


def _cure(schema: Mapping[str, Any], cure: str) -> str:
    """Return `cure` with what the schema says of the setting behind it."""
    description = str(schema.get("description", "")).rstrip(".")
    return f"{cure} ({description})" if description else cure
