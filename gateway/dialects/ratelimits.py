"""An upstream's own rate-limit headers in the words of another dialect's clients (G16).

OpenAI: `x-ratelimit-{limit,remaining,reset}-{requests,tokens}`, the reset as a duration ("6m0s", "120ms").
Anthropic: `anthropic-ratelimit-{requests,tokens,input-tokens,output-tokens}-{limit,remaining,reset}`, the reset as a
time (RFC 3339). Ollama's clients are told in OpenAI's words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PIECE = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(ms|s|m|h|d)?")
_DURATION = re.compile(rf"(?:{_PIECE.pattern})+")
_COUNT = re.compile(r"\d{1,18}")
_LATEST_S = 4_102_444_800.0


def translated(headers: Mapping[str, str], dialect: str, now_s: float) -> dict[str, str]:
    """Return what a client of `dialect` is told; `now_s` is Unix time. Headers that cannot be read are left out."""
    found: dict[str, str] = {}
    if not any("ratelimit" in name.lower() for name in headers):
        return found
    for kind in ("requests", "tokens"):
        limit, remaining, reset_s = _openai(headers, kind)
        if limit is None and remaining is None:
            limit, remaining, reset_s = _anthropic(headers, kind, now_s)
        if limit is None and remaining is None and kind == "tokens":
            limit, remaining, reset_s = _anthropic(headers, "input-tokens", now_s)
        for name, value in (("limit", limit), ("remaining", remaining)):
            if value is not None:
                found[_name(dialect, kind, name)] = value
        if reset_s is not None:
            text = _time(now_s + reset_s) if dialect == "anthropic" else duration(reset_s)
            found[_name(dialect, kind, "reset")] = text
    return found


def _name(dialect: str, kind: str, what: str) -> str:
    return f"anthropic-ratelimit-{kind}-{what}" if dialect == "anthropic" else f"x-ratelimit-{what}-{kind}"


def _openai(headers: Mapping[str, str], kind: str) -> tuple[str | None, str | None, float | None]:
    reset = headers.get(f"x-ratelimit-reset-{kind}")
    return (
        _counted(headers.get(f"x-ratelimit-limit-{kind}")),
        _counted(headers.get(f"x-ratelimit-remaining-{kind}")),
        None if reset is None else seconds(reset),
    )


def _anthropic(headers: Mapping[str, str], kind: str, now_s: float) -> tuple[str | None, str | None, float | None]:
    prefix = f"anthropic-ratelimit-{kind}-"
    reset = headers.get(prefix + "reset")
    return (
        _counted(headers.get(prefix + "limit")),
        _counted(headers.get(prefix + "remaining")),
        None if reset is None else _until(reset, now_s),
    )


def _counted(text: str | None) -> str | None:
    return text if text is not None and _COUNT.fullmatch(text) else None


def seconds(text: str) -> float | None:
    """Return a duration in seconds; a bare number is one. None when it is neither."""
    text = text.strip()
    if not _DURATION.fullmatch(text):
        return None
    return sum(float(number) * _UNITS[unit or "s"] for number, unit in _PIECE.findall(text))


def until_reset_s(text: str | None, now_s: float) -> float | None:
    """Return in how many seconds a limit is full again: a duration or a time, whichever dialect writes it; None when it
    cannot be read. `now_s` is Unix time."""
    if text is None:
        return None
    return _until(text, now_s) if "-" in text else seconds(text)


def duration(wait_s: float) -> str:
    """Return seconds as OpenAI writes them: 120ms, 1s, 6m0s, 1h0m0s."""
    if wait_s < 1:
        return f"{round(wait_s * 1000)}ms"
    whole = round(wait_s)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{f'{hours}h' if hours else ''}{f'{minutes}m' if whole >= 60 else ''}{rest}s"


def _until(text: str, now_s: float) -> float | None:
    try:
        at = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now_s)


def _time(at_s: float) -> str:
    return datetime.fromtimestamp(min(at_s, _LATEST_S), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
