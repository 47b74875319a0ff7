"""Compressed bodies come out whole, or as an error, and never larger than allowed."""

from __future__ import annotations

import gzip
import itertools
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamError
from gateway.upstream.inflate import Inflater, can_inflate, inflated

TEXT = b"The quick brown fox jumps over the lazy dog. " * 40


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush()


ENCODED = {
    "gzip": ("gzip", gzip.compress(TEXT)),
    "x-gzip": ("X-GZIP", gzip.compress(TEXT)),
    "two members": ("gzip", gzip.compress(TEXT[:700]) + gzip.compress(TEXT[700:])),
    "padded": ("gzip", gzip.compress(TEXT) + b"\0" * 9),
    "zlib": ("deflate", zlib.compress(TEXT)),
    "bare deflate": (" deflate ", raw_deflate(TEXT)),
    "identity": ("identity", TEXT),
    "none": ("", TEXT),
}


@pytest.mark.parametrize("name", ENCODED)
def test_a_body_decodes_whole_and_in_pieces_of_any_size(name: str) -> None:
    encoding, body = ENCODED[name]
    assert inflated(body, encoding, len(TEXT)) == TEXT
    for size in (1, 2, 3, 17):
        inflater = Inflater(encoding, len(TEXT))
        assert b"".join(inflater.feed(body[i : i + size]) for i in range(0, len(body), size)) == TEXT
        inflater.end()


@given(st.binary(max_size=300), st.lists(st.integers(0, 400), max_size=6))
def test_every_cut_decodes_alike(text: bytes, cuts: list[int]) -> None:
    body = gzip.compress(text)
    edges = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    inflater = Inflater("gzip", 300)
    assert b"".join(inflater.feed(body[a:b]) for a, b in itertools.pairwise(edges)) == text
    inflater.end()


@pytest.mark.parametrize("name", ENCODED)
def test_one_byte_over_the_cap_is_refused(name: str) -> None:
    encoding, body = ENCODED[name]
    with pytest.raises(UpstreamError, match="too large") as caught:
        inflated(body, encoding, len(TEXT) - 1)
    assert (caught.value.kind, caught.value.status) == ("bad_response", 502)


def test_a_bomb_is_refused_in_little_memory() -> None:
    bomb = gzip.compress(b"\0" * 200_000_000)
    tracemalloc.start()
    with pytest.raises(UpstreamError, match="too large"):
        inflated(bomb, "gzip", 100_000)
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("name", ["gzip", "two members", "zlib", "bare deflate"])
def test_a_cut_body_is_broken(name: str) -> None:
    encoding, body = ENCODED[name]
    for cut in (1, 2, 9, len(body) - 1):
        with pytest.raises(UpstreamError) as caught:
            inflated(body[:cut], encoding, 10_000)
        assert caught.value.kind == "broken"


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_no_body_at_all_is_whole(encoding: str) -> None:
    assert inflated(b"", encoding, 10) == b""


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_bytes_of_another_kind_are_refused(encoding: str) -> None:
    with pytest.raises(UpstreamError) as caught:
        inflated(b"\xff\xff<html>not compressed</html>", encoding, 1000)
    assert caught.value.kind == "bad_response"


def test_bytes_behind_the_end_are_refused() -> None:
    with pytest.raises(UpstreamError, match="behind its end"):
        inflated(zlib.compress(TEXT) + b"more", "deflate", 10_000)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "compress"])
def test_other_encodings_are_not_taken(encoding: str) -> None:
    assert not can_inflate(encoding)
    with pytest.raises(UpstreamError):
        Inflater(encoding, 10)
