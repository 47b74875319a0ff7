"""The usual event: most events of a stream differ from the one before in their words alone.

One that a scanner had no more to say about is kept as what stands around its words. Whatever begins and ends with the
same bytes, and has words without a quotation mark or a line end, is the same event with other words: it needs no
framer, no scanner and no parser.
"""

from __future__ import annotations

_QUOTE, _BACKSLASH, _LF, _CR = 0x22, 0x5C, 0x0A, 0x0D
_NEVER = 1 << 62
_PADDING = b'"obfuscation":"'
"""OpenAI fills its events up with random letters, so that their sizes tell nothing of the words (read 2026-11)."""


class Usual:
    """What stands `before` and `after` the words; `at` is where they begin. Where the event is filled up, `pad` is what
    stands between the words and the padding, and `after` follows that; else it is None. `shown` is what the client gets
    in place of `pad`, or else of `after`, where that differs.

    `after_framed` ends an HTTP chunk that holds one such event, `framed_bytes` is how much of the chunk is always the
    same, its size line apart; no chunk fits when the client is shown something else.
    """

    __slots__ = ("after", "after_framed", "around", "at", "before", "framed_bytes", "pad", "shown")

    def __init__(self, before: bytes, after: bytes, shown: bytes | None = None, pad: bytes | None = None) -> None:
        self.before, self.after, self.shown, self.pad = before, after, shown, pad
        self.at = len(before)
        self.around = self.at + len(after)
        self.after_framed = after + b"\r\n"
        self.framed_bytes = self.around + 2 if shown is None else _NEVER

    def words_in(self, event: bytes) -> int:
        """Return how many bytes of words `event` has, -1 when it is not as usual."""
        words = event.removeprefix(self.before).removesuffix(self.after)
        if len(event) - len(words) != self.around:
            return -1
        if self.pad is not None:
            words = self.without_padding(words)
        return len(words) if are_plain(words) else -1

    def without_padding(self, inside: bytes) -> bytes:
        """Return the words of what stands between `before` and `after`; what is not plain when it is not as usual."""
        assert self.pad is not None
        words, pad, padding = inside.partition(self.pad)
        return words if pad and are_plain(padding) else b"\n"

    def as_shown(self, event: bytes, size: int) -> bytes:
        """Return what the client gets of an event with so many bytes of words."""
        if self.shown is None:
            return event
        end = self.at + size
        return event[:end] + self.shown + event[end + len(self.pad or self.after) :]


def are_plain(words: bytes) -> bool:
    """Return whether nothing in `words` could end them, or their line, before what stands behind them does."""
    if _QUOTE in words or _LF in words or _CR in words:
        return False
    return _BACKSLASH not in words or words[-1] != _BACKSLASH


def usual_event(event: bytes, start: int, end: int, shown: bytes) -> Usual | None:
    """Return `event`, whose words are from `start` to `end` and of which the client got `shown`, as the usual one; None
    when `shown` differs from it elsewhere than right behind the words."""
    before, after, pad = event[:start], event[end:], None
    at = after.find(_PADDING)
    if at >= 0:
        begun = at + len(_PADDING)
        pad, after = after[:begun], after[after.find(b'"', begun) :]
    if shown is event:
        return Usual(before, after, None, pad)
    same = 0 if pad is None else len(event) - end - len(pad)  # the padding, and what follows it
    if shown[:end] != event[:end] or not shown.endswith(event[len(event) - same :]):
        return None
    return Usual(before, after, shown[end : len(shown) - same], pad)
