"""config/prices.yaml: what goes before the published prices; the home's entries first, then the standard ones."""

from __future__ import annotations

import fnmatch
import functools
import re
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError
from gateway.pricing import Entry, Price
from gateway.pricing.price import Rate
from gateway.pricing.published import NAMES
from gateway.runtime.document import Node, read_document
from gateway.runtime.home import STANDARD, Home
from gateway.runtime.validate import Rules, check, suggest

PRICES_FILE: Final = Path("config/prices.yaml")
RATES: Final = (
    "input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning", "input_audio", "output_audio",
)  # fmt: skip
COUNTS: Final = ("search", "request")
_PRICE: Final = {"type": "number", "minimum": 0}
_TIER: Final = {
    "type": "object",
    "properties": {"above": {"type": "integer", "minimum": 1}, **dict.fromkeys(RATES, _PRICE)},
    "required": ["above"],
    "minProperties": 2,
    "additionalProperties": False,
}
_ENTRY: Final = Rules(
    {
        "type": "object",
        "properties": {
            "like": {"type": "string", "minLength": 1},
            **dict.fromkeys((*RATES, *COUNTS), _PRICE),
            "tiers": {"type": "array", "items": _TIER, "minItems": 1},
        },
        "minProperties": 1,
        "additionalProperties": False,
    }
)


def read_prices(home: Home, read: dict[Path, bytes]) -> tuple[Entry, ...]:
    """Return the entries in the order in which they are held against a model; add the files to `read`.

    Raises: ConfigError at the place that is wrong.
    """
    entries: list[Entry] = []
    # The checkout's own home is the standard one: read once.
    for path in dict.fromkeys((home.folder / PRICES_FILE, STANDARD / PRICES_FILE)):
        if not path.is_file():
            continue
        content = read[path] = path.read_bytes()
        entries.extend(_entries(content, home.shown(path)))
    return tuple(entries)


@functools.lru_cache(maxsize=4)  # a reload finds them as they were
def _entries(content: bytes, name: str) -> tuple[Entry, ...]:
    root = read_document(content, name)
    if not isinstance(root.value, dict):
        raise root.error("must be a mapping of provider/model to prices")
    return tuple(_entry(root, name, node) for name, node in root.value.items())


def _entry(root: Node, name: str, node: Node) -> Entry:
    provider, slash, model = name.partition("/")
    if not (provider and slash and model):
        raise root.key_error(name, f'"{name}" names no model', cure=f'write provider/model, such as "{name}/*"')
    errors = check(node, _ENTRY, name)
    if errors:
        raise errors[0]
    given: dict[str, Any] = node.plain()
    like = given.get("like")
    if like is not None and like.partition("/")[0] not in NAMES:
        raise _unknown(node, name, like)
    tiers = sorted(given.get("tiers", ()), key=lambda tier: tier["above"])
    price: dict[str, Any] = {kind: _usd(given[kind]) for kind in COUNTS if kind in given}
    for kind in RATES:
        steps = tuple((tier["above"], _usd(tier[kind])) for tier in tiers if kind in tier)
        if kind in given:
            price[kind] = Rate(_usd(given[kind]), steps)
        elif steps:
            raise node.find(["tiers"]).error(
                f'tiers state a price for "{kind}", the entry itself none',
                path=f"{name}.tiers",
                cure=f"add {kind}: what it costs below the first tier",
            )
    return Entry(pattern=re.compile(fnmatch.translate(name)), price=Price(**price), like=like)


def _unknown(node: Node, name: str, like: str) -> ConfigError:
    return node.find(["like"]).error(
        f'no published prices are known for "{like}"',
        path=f"{name}.like",
        cure=suggest(like.partition("/")[0], NAMES, otherwise="known"),
    )


def _usd(number: float) -> Decimal:
    """Return the number as it was written: 0.1 is a tenth, not the nearest fraction of two."""
    return Decimal(str(number))
