"""`jsonschema` as the loader uses it: draft 2020-12 with the text forms. Loaded when it is asked; see `fits.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator, FormatChecker

from gateway.runtime.text import FORMS

_FORMATS: Final = FormatChecker(formats=())


def _add_form(name: str) -> None:
    @_FORMATS.checks(name, raises=ValueError)
    def check(value: object) -> bool:
        if isinstance(value, str):
            FORMS[name].read(value)
        return True


for _name in FORMS:
    _add_form(_name)


def validator(schema: Mapping[str, Any]) -> Draft202012Validator:
    """Return a validator of `schema` that knows the text forms."""
    return Draft202012Validator(schema, format_checker=_FORMATS)
