"""A virtual key as it is made: what a person writes beside it is read here, for the command line and the dashboard.

The key itself is told once, to whoever made it; what is kept is its hash.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from gateway import credentials
from gateway.amounts import MoneyRate, Rate
from gateway.errors import BadRequest
from gateway.ledger.ledger import SavedKey
from gateway.runtime import written
from gateway.runtime.text import duration, money, rate

T = TypeVar("T")
NAME: Final = re.compile(r"[!-~]{1,128}", re.ASCII)
MOST_ENTRIES: Final = 200
LONGEST: Final = 256
"""What the ledger keeps of a text."""
RATES: Final = ("requests", "tokens")
COUNTS: Final = ("concurrency", "burst")


@dataclass(frozen=True, slots=True)
class Issued:
    """A fresh key and what is kept of it."""

    # SECURITY: no repr shows it, and nothing keeps it.
    key: str = field(repr=False)
    saved: SavedKey

    @property
    def entry(self) -> dict[str, Any]:
        """The line for `auth.keys` in gateway.yaml."""
        return entry_of(self.saved)


def issue(
    name: str,
    now: float,
    *,
    models: Sequence[str] = (),
    routes: Sequence[str] = (),
    tags: Mapping[str, str] | None = None,
    budget: str | None = None,
    limits: Mapping[str, Any] | None = None,
    expires_in: str | None = None,
) -> Issued:
    """Return a new key for `name`, its bounds as gateway.yaml writes them. Raises: BadRequest with the parameter."""
    if not NAME.fullmatch(name):
        raise BadRequest("a name is 1 to 128 visible ASCII characters without spaces", param="name")
    facts = {
        "models": _several(models, "models"),
        "routes": _several(routes, "routes"),
        "tags": _tags(tags or {}),
        "limits": _limits(limits or {}),
        "budget": _read(money, budget, "budget"),
    }
    return fresh(name, now, credentials.kept_facts(facts), ends_at(expires_in, now))


def fresh(name: str, now: float, facts: Mapping[str, Any], expires_at: float | None) -> Issued:
    """Return a new key for `name` with `facts` as a ledger keeps them: those of the key it takes the place of."""
    key = credentials.new_key()
    saved = SavedKey(name=name, hash=credentials.hash_of(key), created_at=now, expires_at=expires_at, facts=facts)
    return Issued(key, saved)


def ends_at(expires_in: str | None, now: float) -> float | None:
    """Return when what lasts `expires_in` (12h, 30d) from now ends, in whole seconds. Raises: BadRequest."""
    lasts_s = _read(duration, expires_in, "expires_in")
    if lasts_s is None:
        return None
    if lasts_s < 1:
        raise BadRequest("write 1s or more", param="expires_in")
    try:
        return credentials.read_expiry(credentials.write_expiry(now + lasts_s))
    except (ValueError, OverflowError, OSError):
        raise BadRequest("that is beyond the year 9999", param="expires_in") from None


def entry_of(key: SavedKey) -> dict[str, Any]:
    """Return a saved key as `auth.keys` has it. Raises: ValueError when it cannot be read."""
    facts = credentials.read_facts(key.facts)
    entry: dict[str, Any] = {"name": key.name, "hash": key.hash}
    for name in ("models", "routes"):
        if facts.get(name):
            entry[name] = list(facts[name])
    if facts["tags"]:
        entry["tags"] = dict(facts["tags"])
    if key.expires_at is not None:
        entry["expires"] = credentials.write_expiry(key.expires_at)
    if "budget" in facts:
        entry["budget"] = as_written(facts["budget"])
    if facts["limits"]:
        entry["limits"] = {name: as_written(value) for name, value in facts["limits"].items()}
    return entry


def as_written(value: MoneyRate | Rate | int) -> str | int:
    """Return an amount as gateway.yaml has it: a form that it reads."""
    return value if isinstance(value, int) else written.amount(value)


def _read(read: Callable[[str], T], text: str | None, name: str) -> T | None:
    try:
        return None if text is None else read(text)
    except ValueError as error:
        raise BadRequest(str(error), param=name) from None


def _several(given: Sequence[str], name: str) -> tuple[str, ...]:
    if len(given) > MOST_ENTRIES or not all(0 < len(each) <= LONGEST and each.isprintable() for each in given):
        raise BadRequest(f"write at most {MOST_ENTRIES} globs of 1 to {LONGEST} printable characters", param=name)
    return tuple(given)


def _tags(given: Mapping[str, str]) -> dict[str, str]:
    if len(given) > MOST_ENTRIES or not all(
        0 < len(name) <= LONGEST and len(value) <= LONGEST for name, value in given.items()
    ):
        raise BadRequest(f"write at most {MOST_ENTRIES} tags of 1 to {LONGEST} characters", param="tags")
    return dict(given)


def _limits(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name in RATES and isinstance(value, str):
            found[name] = _read(rate, value, f"limits.{name}")
        elif name in COUNTS and isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 1_000_000_000:
            found[name] = value
        elif name in (*RATES, *COUNTS):
            form = 'a rate such as "60/min"' if name in RATES else "a whole number of 1 or more"
            raise BadRequest(f"write {form}", param=f"limits.{name}")
        else:
            raise BadRequest(f"a key has the limits {', '.join((*RATES, *COUNTS))}", param=f"limits.{name}"[:64])
    if "burst" in found and not set(RATES) & set(found):
        raise BadRequest("burst has no rate to belong to: add requests", param="limits.burst")
    return found
