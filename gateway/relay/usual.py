"""The usual event: most events of a stream differ from the one before in their words alone.

One that a scanner had no more to say about is kept as what stands around its words. Whatever begins and ends with the
same bytes, and has words without a quotation mark or a line end, is the same event with other words: it needs no
framer, no scanner and no parser.
"""

from __future__ import annotations

_QUOTE, _BACKSLASH, _LF, _CR = 0x22, 0x5C, 0x0A, 0x0D
_NEVER = 1 << 62


class Usual:
    """What stands `before` and `after` the words; `at` is where they begin, `shown` what the client gets in place of
    `after` where that differs.

    `after_framed` ends an HTTP chunk that holds one such event, `framed_bytes` is how much stands around its words, the
    size line apart; no chunk fits when the client is shown something else.
    """

    __slots__ = ("after", "after_framed", "around", "at", "before", "framed_bytes", "shown")

    def __init__(self, before: bytes, after: bytes, shown: bytes | None) -> None:
        self.before, self.after, self.shown = before, after, shown
        self.at = len(before)
        self.around = self.at + len(after)
        self.after_framed = after + b"\r\n"
        self.framed_bytes = self.around + 2 if shown is None else _NEVER

    def words_in(self, event: bytes) -> int:
        """Return how many bytes of words `event` has, -1 when it is not as usual."""
        words = event.removeprefix(self.before).removesuffix(self.after)
        size = len(words)
        return size if len(event) - size == self.around and are_plain(words) else -1


def are_plain(words: bytes) -> bool:
    """Return whether nothing in `words` could end them, or their line, before what stands behind them does."""
    if _QUOTE in words or _LF in words or _CR in words:
        return False
    return _BACKSLASH not in words or words[-1] != _BACKSLASH


def usual_event(event: bytes, start: int, end: int, shown: bytes) -> Usual | None:
    """Return `event`, whose words are from `start` to `end` and of which the client got `shown`, as the usual one; None
    when `shown` differs from it elsewhere than behind the words."""
    if shown is event:
        return Usual(event[:start], event[end:], None)
    if shown[:end] != event[:end]:
        return None
    return Usual(event[:start], event[end:], shown[end:])
