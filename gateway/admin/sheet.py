"""Tables as CSV (RFC 4180), safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any, Final

BEGINS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula (OWASP, CSV Injection, November 2026; the full-width signs
count for some)."""


def csv_of(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table as CSV: CRLF between lines, quotes where a cell needs them, None as an empty cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(head)
    for row in rows:
        writer.writerow([cell(each) for each in row])
    return text.getvalue()


def cell(value: Any) -> Any:
    """Return a cell. SECURITY: a text that a spreadsheet would calculate gets an apostrophe before it; numbers stay."""
    if isinstance(value, str) and value.startswith(BEGINS):
        return "'" + value
    # A lone surrogate cannot be written as UTF-8.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
