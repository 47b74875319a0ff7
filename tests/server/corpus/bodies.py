"""Chunks, lengths and compression that are not what they say."""

from __future__ import annotations

import gzip
import zlib

from tests.server.corpus.case import GOOD, OK, REFUSED, Case
from tests.server.raw import chunked, post


def bodied(name: str, body: bytes, *headers: str, answers: frozenset[int] = REFUSED, closes: bool = False) -> Case:
    return Case(name, post("/v1/chat/completions", body, *headers), answers, closes)


def in_chunks(name: str, body: bytes, answers: frozenset[int] = REFUSED, closes: bool = True) -> Case:
    return Case(name, post("/v1/chat/completions", body, "Transfer-Encoding: chunked", length=False), answers, closes)


CHUNKS = [
    in_chunks("chunks as they should be", chunked(GOOD[:5], GOOD[5:]), OK, closes=False),
    in_chunks("chunk extension", b"1b;a=b\r\n" + GOOD + b"\r\n0\r\n\r\n", frozenset({200, 400}), closes=False),
    in_chunks("chunk size negative", b"-1\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk size with 0x", b"0x1b\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk size with plus", b"+1b\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk size with underscore", b"1_b\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk size with a space before", b" 1b\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk size with a space after", b"1b \r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk size beyond 64 bits", b"fffffffffffffffff\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk size empty", b"\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk size in words", b"zz\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk longer than its size", b"5\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("chunk lines end in LF", b"1b\n" + GOOD + b"\n0\n\n"),
    in_chunks("chunk ends in LF", b"1b\r\n" + GOOD + b"\n0\r\n\r\n"),
    in_chunks("chunk extension with LF", b"1b;a\n" + GOOD + b"\r\n0\r\n\r\n"),
    in_chunks("trailer with a bad name", b"1b\r\n" + GOOD + b"\r\n0\r\nBad Name: x\r\n\r\n"),
    Case(
        "body shorter than its length",
        post("/v1/chat/completions", GOOD, "Content-Length: 60", length=False),
        frozenset({408}),
        closes=True,
    ),
    Case(
        "chunks that never end",
        post("/v1/chat/completions", b"1b\r\n" + GOOD, "Transfer-Encoding: chunked", length=False),
        frozenset({408}),
        closes=True,
    ),
    Case("no length at all", post("/v1/chat/completions", b"", length=False)),
    Case(
        "body too long by its length",
        post("/v1/chat/completions", b"", "Content-Length: 1000000", length=False),
        frozenset({413}),
        closes=True,
    ),
    in_chunks(
        "body too long in chunks",
        b"10000\r\n" + b" " * 65536 + b"\r\n10\r\n" + b" " * 16 + b"\r\n0\r\n\r\n",
        frozenset({413}),
    ),
]

COMPRESSED = [
    bodied("gzip", gzip.compress(GOOD), "Content-Encoding: gzip", answers=OK),
    bodied("deflate", zlib.compress(GOOD), "Content-Encoding: deflate", answers=OK),
    bodied("gzip that is none", GOOD, "Content-Encoding: gzip", closes=True),
    bodied("gzip cut short", gzip.compress(GOOD)[:-12], "Content-Encoding: gzip", closes=True),
    bodied("gzip with a wrong sum", gzip.compress(GOOD)[:-8] + b"12345678", "Content-Encoding: gzip", closes=True),
    bodied("deflate that is none", b"\xff" * 40, "Content-Encoding: deflate", closes=True),
    bodied("br", b"\xff" * 40, "Content-Encoding: br"),
    bodied("unknown coding", GOOD, "Content-Encoding: rot13"),
    bodied("two codings", gzip.compress(gzip.compress(GOOD)), "Content-Encoding: gzip, gzip"),
    bodied(
        "gzip bomb", gzip.compress(b" " * 30_000_000), "Content-Encoding: gzip", answers=frozenset({413}), closes=True
    ),
]
