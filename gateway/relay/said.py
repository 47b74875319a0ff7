"""Counts the words in a verbatim stream beside it, for the streams that end before their upstream says what they used.

No event is parsed: the string behind a known member name is measured, up to the quotation mark that ends it. Escapes
count as they are written, which is near enough for an estimate of a token for every four bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_NAMES: Final[Mapping[str, tuple[bytes, ...]]] = {
    "openai_chat": (b"content", b"arguments", b"reasoning_content", b"reasoning", b"refusal", b"text"),
    "openai_responses": (b"delta",),
    "anthropic": (b"text", b"partial_json", b"thinking"),
    "ollama": (b"content", b"thinking"),
    "ollama_generate": (b"response", b"thinking"),
}
"""Which members of a dialect's stream hold words. A name inside a string cannot be taken for one: its quotation marks
are escaped there."""
_COMMON: Final[Mapping[str, bytes]] = {dialect: b'"%b":"' % names[0] for dialect, names in _NAMES.items()}
_FIRST: Final[Mapping[str, re.Pattern[bytes]]] = {
    dialect: re.compile(rb'"(?:%b)": ?"(?!")' % b"|".join(names)) for dialect, names in _NAMES.items()
}
"""Finds the first member of words that are not empty, in one pass over the event."""
_BACKSLASH: Final = 0x5C
_STRING: Final = re.compile(rb'(?:[^"\\]++|\\.)*+')
"""What stands in a JSON string, up to the mark that ends it."""


class Said:
    """One per stream; `size_bytes` is what was counted so far. The mark that fitted last is tried first.

    `start` and `end` are where the words of the event seen last stood, both 0 when it had none.
    """

    __slots__ = ("_first", "_mark", "_mark_size", "end", "size_bytes", "start")

    def __init__(self, dialect: str) -> None:
        self._first = _FIRST.get(dialect)
        self._mark = _COMMON.get(dialect, b"\0")
        self._mark_size = len(self._mark)
        self.size_bytes = self.start = self.end = 0

    def see(self, event: bytes) -> None:
        """Count the words of one event; never raises."""
        at = event.find(self._mark)
        if at < 0:
            self.start = self.end = 0
            self._see_others(event)
            return
        self.start = self.end = start = at + self._mark_size
        end = event.find(b'"', start)
        if end > start:
            if event[end - 1] == _BACKSLASH and (whole := _STRING.match(event, start)) is not None:
                end = whole.end()
            self.end = end
            self.size_bytes += end - start

    def _see_others(self, event: bytes) -> None:
        first = self._first
        found = None if first is None else first.search(event)
        if found is None:
            return
        start = found.end()
        whole = _STRING.match(event, start)
        if whole is not None:
            self._mark = found[0]
            self._mark_size = len(self._mark)
            self.start, self.end = start, whole.end()
            self.size_bytes += self.end - start
