"""Values as a person writes them in gateway.yaml, with nothing secret in them.

The loader turns `30s` into 30.0 and `60/min` into a Rate; shown to people they are text again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from enum import Enum
from typing import Any, Final

from gateway.amounts import MoneyRate, Rate
from gateway.secret import Secret

HIDDEN: Final = "***"
_SECRET_NAME = re.compile(
    r"secret|token$|passw|passphrase|credential|hash|api[_-]?key|private|authorization|cookie|signature", re.IGNORECASE
)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")
_IN_QUERY = re.compile(r"(?i)([?&][\w.-]*(?:key|token|secret|passw|credential|auth|sig)[\w.-]*=)[^&#\s]+")
_DURATIONS: Final = ((604800, "w"), (86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
_SIZES: Final = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_PERIODS: Final = {1.0: "s", 60.0: "min", 3600.0: "h", 86_400.0: "day", 604_800.0: "week", 2_592_000.0: "month"}


def duration(seconds: float) -> str:
    """Return seconds as `250ms`, `30s`, `10m`, in the largest unit that is whole."""
    milliseconds = round(seconds * 1000)
    if milliseconds % 1000 or not milliseconds:
        return f"{milliseconds}ms"
    whole = milliseconds // 1000
    return next(f"{whole // unit}{name}" for unit, name in _DURATIONS if whole % unit == 0)


def size(count: int) -> str:
    """Return bytes as `20MiB`, in the largest unit that is whole."""
    return next((f"{count // unit}{name}" for unit, name in _SIZES if count and count % unit == 0), f"{count}B")


def amount(rate: Rate | MoneyRate) -> str:
    """Return so much in a period in a form that the loader reads."""
    if isinstance(rate, MoneyRate):
        return f"${rate.amount_usd:f}/{rate.period}"
    return f"{rate.amount}/{_PERIODS.get(rate.period_s) or f'{rate.period_s:g}s'}"


def value(raw: Any, schema: Mapping[str, Any] | None = None, name: str = "") -> Any:
    """Return `raw` as JSON that may be shown: text forms where `schema` says so, credentials hidden."""
    schema = schema or {}
    # SECURITY: by type, by what the schema says, and by name: options come from any plugin, of any care. A number is
    # no credential (`first_token: 30s` is one by now).
    secret = isinstance(raw, Secret) or schema.get("writeOnly") or _SECRET_NAME.search(name)
    if secret and raw not in (None, "") and not isinstance(raw, (int, float)):
        return HIDDEN
    if isinstance(raw, Mapping):
        known = schema.get("properties", {})
        other = schema.get("additionalProperties")
        inner = other if isinstance(other, Mapping) else {}
        if name == "headers":  # of requests: nobody knows which of one's own headers let somebody in
            inner = {**inner, "writeOnly": True}
        return {str(key): value(item, known.get(key, inner), str(key)) for key, item in raw.items()}
    if isinstance(raw, (list, tuple, set, frozenset)):
        items = schema.get("items")
        found = [value(item, items if isinstance(items, Mapping) else None, name) for item in raw]
        return found if isinstance(raw, (list, tuple)) else sorted(found, key=str)
    branches = [schema, *schema.get("anyOf", ()), *schema.get("oneOf", ())]
    return _scalar(
        raw, next((each["format"] for each in branches if isinstance(each, Mapping) and "format" in each), None)
    )


def _scalar(raw: Any, form: Any) -> Any:
    if isinstance(raw, (Rate, MoneyRate)):
        return amount(raw)
    if isinstance(raw, str):
        return _IN_QUERY.sub(rf"\1{HIDDEN}", _USERINFO.sub(HIDDEN + "@", raw))
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        forms = {
            "duration": lambda: duration(raw),
            "size": lambda: size(int(raw)),
            "percent": lambda: f"{raw * 100:g}%",
        }
        return forms[form]() if form in forms else raw
    if raw is None or isinstance(raw, bool):
        return raw
    return raw.value if isinstance(raw, Enum) else str(raw) if isinstance(raw, Decimal) else f"<{type(raw).__name__}>"


def line(shown: Any) -> str:
    """Return a shown value on one line: `{a: 1, b: [x, y]}` without the outer braces."""
    if isinstance(shown, Mapping):
        return ", ".join(f"{key}: {_inline(item)}" for key, item in shown.items())
    return _inline(shown)


def _inline(shown: Any) -> str:
    if isinstance(shown, Mapping):
        return "{" + line(shown) + "}"
    if isinstance(shown, list):
        return "[" + ", ".join(_inline(item) for item in shown) + "]"
    if isinstance(shown, bool) or shown is None:
        return {True: "true", False: "false", None: "null"}[shown]
    return str(shown) if shown != "" else '""'
