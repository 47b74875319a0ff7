"""What is known of providers: config/providers.yaml of the standard home, and the operator's laid over it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.runtime.document import read_document
from gateway.runtime.home import STANDARD, Home
from gateway.runtime.quirks import QUIRKS
from gateway.runtime.surface import PROVIDER
from gateway.runtime.validate import Rules, check

KNOWN_FILE: Final = Path("config/providers.yaml")
_DIALECTS = PROVIDER["properties"]["dialect"]["enum"]
_KNOWN_ENTRY: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "dialect": {"enum": _DIALECTS},
        "base_url": {"type": "string", "minLength": 1},
        "key_variable": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "needs_key": {"type": "boolean"},
        "quirks": QUIRKS,
        "free": {"type": "boolean"},
    },
    "additionalProperties": False,
}
_RULES: Final = Rules(_KNOWN_ENTRY)


@dataclass(frozen=True, slots=True)
class KnownProvider:
    """One entry of config/providers.yaml. `quirks` are what dialects and attempts look up."""

    dialect: str | None
    base_url: str | None
    key_variable: str | None
    needs_key: bool
    free: bool
    quirks: Mapping[str, Any]


def read_known(home: Home, read: dict[Path, bytes]) -> dict[str, KnownProvider]:
    """Return the known providers, the home's entries laid over the standard ones; add the files to `read`.

    Raises: ConfigError at the place that is wrong.
    """
    merged: dict[str, dict[str, Any]] = {}
    # The checkout's own home is the standard one: read once.
    for path in dict.fromkeys((STANDARD / KNOWN_FILE, home.folder / KNOWN_FILE)):
        if not path.is_file():
            continue
        content = read[path] = path.read_bytes()
        for name, given in _entries(content, home.shown(path)).items():
            facts = merged.setdefault(name, {})
            quirks = {**facts.get("quirks", {}), **given.get("quirks", {})}
            facts.update({**given, "quirks": quirks})
    return {name: _known(facts) for name, facts in merged.items()}


@functools.lru_cache(maxsize=4)  # a reload finds them as they were
def _entries(content: bytes, name: str) -> Mapping[str, Mapping[str, Any]]:
    """Return the entries of one file. Raises: ConfigError at the place that is wrong."""
    root = read_document(content, name)
    if not isinstance(root.value, dict):
        raise root.error("must be a mapping of provider names")
    for entry, node in root.value.items():
        errors = check(node, _RULES, entry)
        if errors:
            raise errors[0]
    entries: Mapping[str, Mapping[str, Any]] = root.plain()
    return entries


def _known(facts: dict[str, Any]) -> KnownProvider:
    return KnownProvider(
        dialect=facts.get("dialect"),
        base_url=facts.get("base_url"),
        key_variable=facts.get("key_variable"),
        needs_key=facts.get("needs_key", True),
        free=facts.get("free", False),
        quirks=facts["quirks"],
    )
