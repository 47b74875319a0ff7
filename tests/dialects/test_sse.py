"""Streams are cut into the same events wherever the network cut them, and large events are not kept."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from gateway.dialects.sse import NdjsonFramer, Piece, SseFramer, event_fields, sse

MIXED = (
    "\ufeffdata: a\n\n:comment\r\n\r\nevent: x\rdata:y\r\rdata: z\r\ndata: é\r\n\r\n"
    "\n\ndata: q\r\r\ndata: last\n\ndata: par"
).encode()


def _frame(framer: SseFramer | NdjsonFramer, data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    events = [event for a, b in pairwise(edges) for event in framer.feed(data[a:b])]
    assert b"".join(events) + framer.tail == data, "framing changed a byte"
    return events


def test_events_are_the_same_however_the_stream_is_cut() -> None:
    whole = _frame(SseFramer(), MIXED, [])
    assert [event_fields(event) for event in whole] == [
        ("", b"a"),
        ("", b""),
        ("x", b"y"),
        ("", "z\né".encode()),
        ("", b""),
        ("", b"q"),
        ("", b"last"),
    ]
    assert _frame(SseFramer(), MIXED, list(range(1, len(MIXED)))) == whole
    draw = random.Random(7)
    for _ in range(500):
        cuts = draw.sample(range(1, len(MIXED)), draw.randint(1, 30))
        assert _frame(SseFramer(), MIXED, cuts) == whole


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_each_line_end_makes_the_same_events(end: str) -> None:
    wire = "\n".join(["event: a", "data: 1", "", "data: 2", "data: 3", "", ""]).replace("\n", end).encode()
    events = _frame(SseFramer(), wire, list(range(1, len(wire))))
    assert [event_fields(event) for event in events] == [("a", b"1"), ("", b"2\n3")]
    assert events == _frame(SseFramer(), wire, [])


def test_the_incomplete_rest_is_the_tail_and_no_event() -> None:
    framer = SseFramer()
    assert framer.feed(b"data: a\n\ndata: b\n") == [b"data: a\n\n"]
    assert framer.tail == b"data: b\n"


def test_an_oversized_event_is_passed_on_in_pieces_and_not_kept() -> None:
    framer = SseFramer(limit_bytes=1000)
    out: list[bytes] = []
    for _ in range(100):
        out += framer.feed(b"x" * 100)
        assert len(framer.tail) <= 1000
    assert framer.overflow and all(type(piece) is Piece for piece in out)
    out += framer.feed(b"\n")
    out += framer.feed(b"\ndata: next\n\n")
    assert out[-1] == b"data: next\n\n" and type(out[-1]) is bytes
    assert b"".join(out) == b"x" * 10_000 + b"\n\ndata: next\n\n"
    assert framer.feed(b"data: more\n\n") == [b"data: more\n\n"] and not framer.overflow


def test_an_oversized_event_that_arrives_whole_is_a_piece_too() -> None:
    (alone,) = SseFramer(limit_bytes=10).feed(b"data: 0123456789\n\n")
    assert type(alone) is Piece
    (event, following) = SseFramer(limit_bytes=10).feed(b"data: 0123456789\n\ndata: 1\n\n")
    assert type(event) is Piece and type(following) is bytes


def test_lines_of_ndjson_are_the_same_however_they_are_cut() -> None:
    wire = '{"a":"é"}\n{"b":1}\r\n\n{"c"'.encode()
    whole = _frame(NdjsonFramer(), wire, [])
    assert whole == ['{"a":"é"}\n'.encode(), b'{"b":1}\r\n', b"\n"]
    assert _frame(NdjsonFramer(), wire, list(range(1, len(wire)))) == whole


def test_fields_without_space_colon_or_data_are_read_as_the_standard_says() -> None:
    assert event_fields(b"data:{}\nid: 1\nretry\n\n") == ("", b"{}")
    assert event_fields(b"data:  two spaces\n\n") == ("", b" two spaces")
    assert event_fields(b": ping\n\n") == ("", b"")
    assert event_fields(b"event: e\ndata\ndata: x\n\n") == ("e", b"\nx")
    assert event_fields(sse(b"{}", "name")) == ("name", b"{}")


def test_framing_a_large_stream_in_small_pieces_is_linear() -> None:
    """Each event is searched from where the last search ended: 1 MB byte by byte is one pass over it."""
    framer = SseFramer()
    event = b"data: " + b"y" * 900_000 + b"\n\n"
    out: list[bytes] = []
    for at in range(0, len(event), 16):
        out += framer.feed(event[at : at + 16])
    assert out == [event]
