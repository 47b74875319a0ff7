"""Arguments: read from what a model wrote, checked against the tool's schema, with the session's context merged in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final, NoReturn

from jsonschema import Draft202012Validator, SchemaError
from referencing.jsonschema import EMPTY_REGISTRY

_MOST_TOLD: Final = 3
_LONGEST_TOLD: Final = 300


class BadArguments(Exception):
    """Arguments that a tool does not take, in words for whoever wrote them."""


class Checker:
    """Checks arguments against a JSON Schema (draft 2020-12)."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        # SECURITY: without a registry of its own jsonschema (4.26) fetches a $ref from wherever it points.
        self._validator = Draft202012Validator(schema, registry=EMPTY_REGISTRY)
        properties = schema.get("properties")
        self.properties = frozenset(properties) if isinstance(properties, Mapping) else frozenset[str]()

    def merge(self, given: Mapping[str, Any], keys: Iterable[str], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return `given` with the values that `context` has of `keys`, which go before it. Raises: BadArguments.

        What the schema names is checked with them; a key that it does not name is the operator's addition.
        """
        named = {key: context[key] for key in keys if key in context}
        arguments = {**given, **{key: value for key, value in named.items() if key in self.properties}}
        self.refuse(arguments)
        return {**arguments, **named}

    def refuse(self, arguments: Mapping[str, Any]) -> None:
        """Raises: BadArguments when `arguments` do not fit."""
        try:
            found = list(islice(self._validator.iter_errors(arguments), _MOST_TOLD))
        except Exception as error:  # a schema that cannot be followed: a lost $ref, one that leads to itself
            raise BadArguments("the tool's own schema cannot be followed") from error
        if found:
            raise BadArguments("; ".join(_told(error) for error in found))


def read(text: str, *, is_exact: bool = False) -> dict[str, Any]:
    """Return the arguments that a model wrote, integers of any size as they are. Raises: BadArguments.

    Of a member that stands twice the last holds, as it is checked and sent; where it `is_exact` that is an error.
    """
    if not text.strip():
        return {}
    try:
        found = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once if is_exact else None)
        if "\\u" in text:  # half of a surrogate pair is an escape that JSON allows and no service, nor UTF-8, can hold
            json.dumps(found, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        raise BadArguments("the arguments are not valid JSON") from None
    if not isinstance(found, dict):
        raise BadArguments("the arguments are not a JSON object")
    return found


def written(arguments: Mapping[str, Any]) -> bytes:
    """Return arguments as a JSON body."""
    return json.dumps(arguments, separators=(",", ":")).encode()


def problem_of(schema: Mapping[str, Any]) -> str | None:
    """Return what is wrong with a JSON Schema, None when nothing is."""
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return _told(error)
    kind = schema.get("type", "object")
    if kind != "object":
        return f'type: arguments are an object, not "{kind}"'
    return None


def _told(error: Any) -> str:
    path = ".".join(str(step) for step in error.absolute_path)
    text = f"{path}: {error.message}" if path else str(error.message)
    return text if len(text) <= _LONGEST_TOLD else text[: _LONGEST_TOLD - 1] + "…"


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a member stands twice")
    return found


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
