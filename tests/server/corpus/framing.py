"""Framing that two servers could read differently, with a second request hidden behind it."""

from __future__ import annotations

from tests.server.corpus.case import GOOD, REFUSED, SMUGGLED, Case
from tests.server.raw import chunked, post


def framing(
    name: str, *headers: str, body: bytes = GOOD, version: str = "HTTP/1.1", answers: frozenset[int] = REFUSED
) -> Case:
    """A request framed in a way that two servers could read differently, with a second one hidden behind it."""
    return Case(
        name,
        post("/v1/chat/completions", body, *headers, length=False, version=version) + SMUGGLED,
        answers,
        closes=True,
    )


CHUNKED_SMUGGLE = chunked(GOOD)
FRAMING = [
    framing("cl and te", "Content-Length: 27", "Transfer-Encoding: chunked", body=CHUNKED_SMUGGLE),
    framing("te and cl", "Transfer-Encoding: chunked", "Content-Length: 4", body=b"0\r\n\r\n"),
    framing("te list with chunked last", "Transfer-Encoding: gzip, chunked", body=CHUNKED_SMUGGLE),
    framing("te list with chunked first", "Transfer-Encoding: chunked, identity", body=CHUNKED_SMUGGLE),
    framing("te chunked twice in a list", "Transfer-Encoding: chunked, chunked", body=CHUNKED_SMUGGLE),
    framing("te twice", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKED_SMUGGLE),
    framing(
        "te twice with identity", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=CHUNKED_SMUGGLE
    ),
    framing("te identity", "Transfer-Encoding: identity", "Content-Length: 27"),
    framing("te unknown", "Transfer-Encoding: cow", "Content-Length: 27"),
    framing("te xchunked", "Transfer-Encoding: xchunked", body=CHUNKED_SMUGGLE),
    framing("te quoted", 'Transfer-Encoding: "chunked"', body=CHUNKED_SMUGGLE),
    framing("te with a parameter", "Transfer-Encoding: chunked;q=1", body=CHUNKED_SMUGGLE),
    framing("te with space before the colon", "Transfer-Encoding : chunked", body=CHUNKED_SMUGGLE),
    framing("te with tab before the colon", "Transfer-Encoding\t: chunked", body=CHUNKED_SMUGGLE),
    framing("te folded", "Transfer-Encoding:\r\n chunked", body=CHUNKED_SMUGGLE),
    framing("te with vertical tab", "Transfer-Encoding: \x0bchunked", body=CHUNKED_SMUGGLE),
    framing("te empty", "Transfer-Encoding:", "Content-Length: 27"),
    framing("te in HTTP/1.0", "Transfer-Encoding: chunked", body=CHUNKED_SMUGGLE, version="HTTP/1.0"),
    framing("cl twice the same", "Content-Length: 27", "Content-Length: 27"),
    framing("cl twice different", "Content-Length: 27", "Content-Length: 0"),
    framing("cl list", "Content-Length: 27, 27"),
    framing("cl negative", "Content-Length: -1"),
    framing("cl plus", "Content-Length: +27"),
    framing("cl hex", "Content-Length: 0x1b"),
    framing("cl float", "Content-Length: 27.0"),
    framing("cl words", "Content-Length: twenty"),
    framing("cl empty", "Content-Length:"),
    framing("cl underscore", "Content-Length: 2_7"),
    framing("cl inner space", "Content-Length: 2 7"),
    framing("cl beyond 64 bits", "Content-Length: 99999999999999999999999"),
    framing("cl space before the colon", "Content-Length : 27"),
    framing("header folded", "X-A: b\r\n c", "Content-Length: 27"),
    framing("header line is a space", " ", "Content-Length: 27"),
    framing("first header folded into the request line", "Content-Length: 27", body=GOOD).__class__(
        "folded first header",
        b"POST /v1/chat/completions HTTP/1.1\r\n Host: t\r\nContent-Length: 27\r\n\r\n" + GOOD,
        closes=True,
    ),
    framing("header without colon", "Not-A-Header", "Content-Length: 27"),
    framing("header without name", ": x", "Content-Length: 27"),
    framing("header name with space", "X A: b", "Content-Length: 27"),
    framing("header name with NUL", "X\x00A: b", "Content-Length: 27"),
    framing("header name with a bracket", "X(A): b", "Content-Length: 27"),
    framing("header name not ASCII", "X-Ä: b", "Content-Length: 27"),
    framing("header value with NUL", "X-A: b\x00c", "Content-Length: 27"),
    framing("header value with bare CR", "X-A: b\rX-Injected: 1", "Content-Length: 27"),
    framing("header value with bare LF", "X-A: b\nTransfer-Encoding: chunked", "Content-Length: 27"),
    Case(
        "bare LF ends every line",
        b"POST /v1/chat/completions HTTP/1.1\nHost: t\nContent-Length: 27\n\n" + GOOD,
        closes=True,
    ),
    Case("bare CR ends the head", b"GET /health HTTP/1.1\r\nHost: t\r\n\r" + SMUGGLED, closes=True),
    Case("NUL in the path", b"GET /hea\x00lth HTTP/1.1\r\nHost: t\r\n\r\n", closes=True),
    Case("header of 10 KB", post("/v1/chat/completions", GOOD, "X-A: " + "a" * 10_000), closes=True),
    Case("200 headers", post("/v1/chat/completions", GOOD, *(f"X-{n}: a" for n in range(200))), closes=True),
    Case("request line of 20 KB", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", closes=True),
]
