"""The forms of `ledger:`, read without opening anything."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

NONE: Final = "none"
SQLITE: Final = "sqlite:"
POSTGRES: Final = ("postgresql://", "postgres://")
LEAST_KEPT_S: Final = 3600.0
"""Sums are by the hour: what begins in one must be there to its end."""
_FORMS: Final = "write sqlite:var/ledger.db, postgresql://user:password@host/database or none"


def ledger_secrets(url: str) -> tuple[str, ...]:
    """Return what no log line may show of a URL that can be used. Raises: ValueError, `problem; cure`."""
    if url == NONE:
        return ()
    if url.startswith(SQLITE):
        path = url.removeprefix(SQLITE)
        if not path or path.startswith(("//", ":")) or path.endswith("/"):
            raise ValueError("this names no file; write sqlite: and a path, such as sqlite:var/ledger.db")
        return ()
    if not url.startswith(POSTGRES):
        raise ValueError(f"there is no such ledger; {_FORMS}")
    try:
        parts = urlsplit(url)
        password, _ = parts.password, parts.port
    except ValueError:
        raise ValueError(f"this is no URL; {_FORMS}, with % escapes for :/@ in the password") from None
    if not parts.path.strip("/"):
        raise ValueError(f"this names no database; {_FORMS}")
    found = [password or "", *(value for name, value in parse_qsl(parts.query) if name == "password")]
    return tuple(dict.fromkeys(form for each in found if each for form in (each, unquote(each))))
