"""A home on disk and a fixed catalog, so that tests of the loader do not depend on which plugins there are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gateway.errors import ConfigError, ConfigErrors
from gateway.runtime.config import Config
from gateway.runtime.home import Home
from gateway.runtime.load import load_config

ENVIRON = {"SECRET": "sk-canary-123", "NUMBER": "42", "EMPTY": "", "WORD": "canary"}
"""The environment every test sees; no error may ever show a value of it."""

DURATION = {"type": "string", "format": "duration"}
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "request_id": {"type": "object", "additionalProperties": False},
    "access_log": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"format": {"enum": ["json", "text"], "default": "json"}},
    },
    "cors": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"origins": {"type": "array", "items": {"type": "string"}, "default": []}},
    },
    "timeouts": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "connect": {**DURATION, "default": "5s"},
            "first_token": {**DURATION, "default": "30s"},
            "idle": {**DURATION, "default": "60s"},
            "total": {**DURATION, "default": "10m"},
        },
    },
    "limits": {
        "type": "object",
        "additionalProperties": False,
        "required": ["limits"],
        "$defs": {"rate": {"type": "string", "format": "rate"}},
        "properties": {
            "limits": {
                "type": "array",
                "items": {
                    "type": "object",
                    "additionalProperties": False,
                    "required": ["per"],
                    "properties": {
                        "per": {"type": "string"},
                        "requests": {"$ref": "#/$defs/rate"},
                        "cost": {"type": "string", "format": "money"},
                        "share": {"type": "string", "format": "percent"},
                        "burst": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "format": "size"}]},
                        "window": {**DURATION, "default": "1m"},
                    },
                },
            },
            "sizes": {"type": "object", "additionalProperties": {"type": "string", "format": "size"}},
            "secret": {"type": "string", "minLength": 32},
        },
    },
}


class FixedCatalog:
    """The plugins above, and one that `use:` finds."""

    def names(self) -> tuple[str, ...]:
        return tuple(SCHEMAS)

    def options_schema(self, name: str, use: str | None) -> Mapping[str, Any]:
        if use == "mine.py:Mine":
            return {"type": "object", "properties": {"colour": {"type": "string"}}, "additionalProperties": False}
        if use is not None:
            raise ConfigError(f'no class "{use}"', cure="name one that exists")
        return SCHEMAS[name]


def write(folder: Path, text: str, **files: str) -> Home:
    """Return a home in `folder` with this gateway.yaml and further files, `__` in a name standing for a slash."""
    for name, content in {"gateway.yaml": text, **files}.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Home(folder, folder / "gateway.yaml")


def load(folder: Path, text: str, *, overrides: Mapping[str, str] | None = None, **files: str) -> Config:
    """Load a home of this text."""
    return load_config(write(folder, text, **files), ENVIRON, FixedCatalog(), overrides)


def errors(folder: Path, text: str, *, overrides: Mapping[str, str] | None = None, **files: str) -> list[str]:
    """Return what loading a home of this text complains about, empty when nothing."""
    try:
        load(folder, text, overrides=overrides, **files)
    except ConfigErrors as found:
        return str(found).splitlines()
    return []
