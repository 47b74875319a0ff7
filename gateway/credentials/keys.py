"""Virtual keys: random, shown once, kept as SHA-256."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from gateway.amounts import MoneyRate, Rate

GENERATED: Final = re.compile(r"gw-[A-Za-z0-9_-]{43}", re.ASCII)
"""The form of a key that `new_key` made: 256 random bits, which nobody guesses."""
_HASH: Final = re.compile(r"sha256:([0-9a-fA-F]{64})", re.ASCII)
_EXPIRY: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d))?", re.ASCII)


def new_key() -> str:
    """Return a fresh key; it can be told by its prefix, by people and by scanners for lost secrets."""
    return "gw-" + secrets.token_urlsafe(32)


def digest_of(credential: str) -> bytes:
    """Return the SHA-256 of what a client sent, whatever bytes it is made of."""
    return sha256(credential.encode("utf-8", "surrogateescape")).digest()


def hash_of(key: str) -> str:
    """Return a key as it is kept: `sha256:` and the hex of its SHA-256."""
    return "sha256:" + digest_of(key).hex()


def read_hash(text: str) -> bytes:
    """Return the digest that `sha256:…` is. Raises: ValueError."""
    found = _HASH.fullmatch(text)
    if found is None:
        raise ValueError("a hash is sha256: and 64 hex digits; `gateway keys new NAME` prints one")
    return bytes.fromhex(found[1])


def read_expiry(text: str) -> float:
    """Return when something written as `2027-01-01` (its first moment, UTC) or `2027-01-01T12:00:00Z` ends, in Unix
    seconds. Raises: ValueError."""
    problem = f'"{text}" is not a time; write 2027-01-01 (UTC) or 2027-01-01T12:00:00Z'
    if not _EXPIRY.fullmatch(text):
        raise ValueError(problem)
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(problem) from None


def write_expiry(at: float) -> str:
    """Return Unix seconds as `read_expiry` takes them."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def kept_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what stands beside a key (models, routes, tags, limits, budget) as JSON, for a ledger to keep."""
    return {name: _kept(value) for name, value in facts.items() if value not in (None, {}, ())}


def _kept(value: Any) -> Any:
    if isinstance(value, MoneyRate):
        return {"amount_usd": str(value.amount_usd), "period": value.period}
    if isinstance(value, Rate):
        return {"amount": value.amount, "period_s": value.period_s}
    if isinstance(value, Mapping):
        return {str(name): _kept(inner) for name, inner in value.items()}
    return list(value) if isinstance(value, (list, tuple)) else value


def read_facts(kept: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `kept_facts` wrote as the fields of a principal. Raises: ValueError for what it cannot have written:
    a key whose bounds cannot be read must not work without them."""
    try:
        if unknown := set(kept) - {"models", "routes", "tags", "limits", "budget"}:
            raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
        facts: dict[str, Any] = {name: _texts(kept[name]) for name in ("models", "routes") if name in kept}
        facts["tags"] = {_text(name): _text(value) for name, value in kept.get("tags", {}).items()}
        facts["limits"] = {name: _limit(name, value) for name, value in kept.get("limits", {}).items()}
        if "budget" in kept:
            amount = Decimal(kept["budget"]["amount_usd"])
            if not amount.is_finite() or amount < 0:
                raise ValueError("the budget is no amount")
            facts["budget"] = MoneyRate(amount, _text(kept["budget"]["period"]))
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise ValueError(f"not as this version writes it: {type(error).__name__}") from error
    return facts


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(map(_text, value))


def _limit(name: str, value: Any) -> Rate | int:
    if name in ("concurrency", "burst"):
        return int(value)
    if name in ("requests", "tokens"):
        return Rate(int(value["amount"]), float(value["period_s"]))
    raise ValueError(f"unknown limit: {name}")
