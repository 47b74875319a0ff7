"""Hosts, targets, versions and heads that are no HTTP."""

from __future__ import annotations

from tests.server.corpus.case import GOOD, OK, SMUGGLED, Case
from tests.server.raw import post

HEADS = [
    Case("no host", post(host="") + SMUGGLED, closes=True),
    Case("two hosts", post("/v1/chat/completions", GOOD, "Host: other") + SMUGGLED, closes=True),
    Case("two equal hosts", post("/v1/chat/completions", GOOD, "Host: t") + SMUGGLED, closes=True),
    *(
        Case(f"host {host!r}", post(host=f"Host: {host}") + SMUGGLED, closes=True)
        for host in (
            "a b",
            "a@b/c",
            "a/b",
            "a?b",
            "a#b",
            "a:b",
            "a:80:80",
            "a\\b",
            "[::1",
            "a,b c",
            "<a>",
            "ä",
            "a:999999",
        )
    ),
    Case("absolute target of another host", post("http://evil/v1/chat/completions") + SMUGGLED, closes=True),
    Case("absolute target with credentials", post("http://u@t/v1/chat/completions") + SMUGGLED, closes=True),
    Case("absolute target of another scheme", post("ftp://t/v1/chat/completions") + SMUGGLED, closes=True),
    Case("absolute target of this host", post("http://t/v1/chat/completions"), OK),
    Case("target without a slash", post("v1/chat/completions") + SMUGGLED, closes=True),
    Case("target not ASCII", post("/v1/chät/completions") + SMUGGLED, closes=True),
    Case("no version", b"GET /health\r\n\r\n", closes=True),
    Case("HTTP/0.9", b"GET /health HTTP/0.9\r\nHost: t\r\n\r\n" + SMUGGLED, closes=True),
    Case("HTTP/1.2", b"GET /health HTTP/1.2\r\nHost: t\r\n\r\n" + SMUGGLED, closes=True),
    Case("HTTP/2.0", b"GET /health HTTP/2.0\r\nHost: t\r\n\r\n" + SMUGGLED, closes=True),
    Case("HTTP/9.9", b"GET /health HTTP/9.9\r\nHost: t\r\n\r\n" + SMUGGLED, closes=True),
    Case("HTTP/1.10", b"GET /health HTTP/1.10\r\nHost: t\r\n\r\n" + SMUGGLED, closes=True),
    Case("http in lower case", b"GET /health http/1.1\r\nHost: t\r\n\r\n" + SMUGGLED, closes=True),
    Case("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", closes=True),
    Case("TLS hello", bytes.fromhex("16030100a5010000a10303") + bytes(160), closes=True),
    Case("two spaces in the request line", b"GET  /health HTTP/1.1\r\nHost: t\r\n\r\n", frozenset({200, 400})),
    Case("tabs in the request line", b"GET\t/health\tHTTP/1.1\r\nHost: t\r\n\r\n", closes=True),
    Case("method in brackets", b"G(T /health HTTP/1.1\r\nHost: t\r\n\r\n", closes=True),
    Case("garbage", b"\x00\x01\x02\x03\r\n\r\n", closes=True),
    Case(
        "parse error on Anthropic's path",
        post("/v1/messages", GOOD, "Bad Header: x") + SMUGGLED,
        closes=True,
        dialect="anthropic",
    ),
    Case(
        "parse error with anthropic-version",
        post("/x", GOOD, "anthropic-version: 2023-06-01", "Bad Header: x"),
        closes=True,
        dialect="anthropic",
    ),
    Case(
        "parse error on Ollama's path",
        post("/api/chat", GOOD, "Bad Header: x") + SMUGGLED,
        closes=True,
        dialect="ollama",
    ),
    Case("no host on Anthropic's path", post("/v1/messages", host=""), closes=True, dialect="anthropic"),
    Case("no host on Ollama's path", post("/api/chat", host=""), closes=True, dialect="ollama"),
    Case("unknown expectation", post("/v1/chat/completions", GOOD, "Expect: 200-ok"), frozenset({200, 400})),
]
