"""Chunked transfer coding (RFC 9112 section 7.1) of an answer's body, where every event costs."""

from __future__ import annotations

HEADS: dict[int, bytes] = {}
"""Size lines by the size of a segment that is one whole chunk, see `head_of_whole`. Kept: most segments are as long as
some before."""
_MOST_HEADS = 4096


def head_of_whole(size: int) -> bytes:
    """Return the size line, as servers write it, that a segment of `size` bytes begins with when it is one whole chunk
    and nothing else; a line that no segment begins with where there is none."""
    most = len(f"{size:x}")
    for digits in (most, most - 1):
        held = size - digits - 4
        if held > 0 and len(f"{held:x}") == digits:
            head = b"%x\r\n" % held
            break
    else:
        head = bytes(size + 1)
    if size <= _MOST_HEADS:
        HEADS[size] = head
    return head


def ends_chunk(segment: bytes, pieces: list[bytes]) -> bool:
    """Return whether a parser that took `segment`, and got `pieces` of the body out of it, stands between two chunks.

    Said only where it is certain: a piece that ends in an empty line is followed by a line end that is not in the body,
    and no size line, extension or trailer ends in LF before its CRLF (llhttp refuses each).
    """
    return segment.endswith(b"\n\n\r\n") and len(pieces) > 0 and pieces[-1].endswith(b"\n\n")
