"""Paths spelt another way, methods, and headers that hold what they should not."""

from __future__ import annotations

from tests.server.corpus.case import GONE, GOOD, OK, REFUSED, SMUGGLED, Case
from tests.server.raw import post


def at(path: str, answers: frozenset[int] = GONE, method: str = "POST", dialect: str = "openai", *headers: str) -> Case:
    to_head = method == "HEAD"
    return Case(
        f"{method} {path[:60]}", post(path, GOOD, *headers, method=method), answers, dialect=dialect, to_head=to_head
    )


PATHS = [
    *(
        at(path)
        for path in (
            "/../v1/chat/completions",
            "/v1/../v1/chat/completions",
            "/v1/./chat/completions",
            "/v1//chat/completions",
            "//v1/chat/completions",
            "/v1/chat/completions//",
            "/v1/%2e%2e/v1/chat/completions",
            "/v1/chat%2fcompletions",
            "/v1%2Fchat/completions",
            "/v1/chat/completions;a=b",
            "/v1;/chat/completions",
            "/v1/chat/completions%3b",
            "/v1\\chat\\completions",
            "/v1%5cchat/completions",
            "/V1/CHAT/completions",
            "/v1/chat/completions%00",
            "/v1/chat/completions%0d%0aX:1",
            "/v1/chat/completions%20",
            "/v1/chat/completions/x",
            "/v1/chat/%ff",
            "/v1/chat/completions%252f",
            "/v1/images/../chat/completions",
            "/v1/images/..%2fchat",
            "/v1/audio/%2e%2e/x",
            "/v1/images/a%20HTTP/1.1",
            "/v1/images/a%3fb=c",
            "/v1/images/a%23b",
            "/v1/images//x",
            "/v1/images/\u0061;b",
            "/files/../v1/keys",
            "/files/%2e%2e/x",
            "/files/..%2fx",
            "/files/a//b",
            "/files/a%0d%0ab",
            "/admin",
            "/api/reload/",
            "/.env",
            "/gateway.yaml",
            "/v1/completions/..",
            "/%2e/v1/models",
            "/v1/models/..",
            "/v1/models/a%2f..%2fb",
        )
        if not path.startswith("/api/")
    ),
    at("/api/reload", dialect="ollama"),
    at("/api/../v1/chat/completions", dialect="ollama"),
    at("/v1/messages/batches/../../files", dialect="anthropic"),
    at("/v1/messages/batches/x%0a", dialect="openai"),
    at("/v1/chat/completions/", OK),
    at("/v1/chat/completions?a=b#c", OK),
    at("/v1/chat/completions", frozenset({405}), "GET"),
    at("/v1/chat/completions", frozenset({405}), "HEAD"),
    at("/v1/chat/completions", frozenset({405}), "OPTIONS"),
    at("/v1/chat/completions", frozenset({405}), "PUT"),
    at("/v1/chat/completions", frozenset({405}), "DELETE"),
    at("/v1/chat/completions", frozenset({405}), "PATCH"),
    at("/v1/chat/completions", frozenset({405}), "TRACE"),
    Case("unknown method", post(method="FROBNICATE"), closes=True),
    at("/v1/messages", frozenset({405}), "GET", "anthropic"),
    at("/api/chat", frozenset({405}), "GET", "ollama"),
    at("/health", frozenset({405}), "POST"),
    at("/health", frozenset({405}), "TRACE"),
    at("/nothing", frozenset({404, 405}), "TRACE"),
    at("/nothing", frozenset({404}), "GET"),
    at("/nothing", frozenset({404}), "GET", "anthropic", "anthropic-version: 2023-06-01"),
    at("*", GONE, "OPTIONS"),
    Case("CONNECT", b"CONNECT t:80 HTTP/1.1\r\nHost: t:80\r\n\r\n" + SMUGGLED, frozenset({400, 405}), closes=True),
    Case("CONNECT with a path", b"CONNECT /v1/models HTTP/1.1\r\nHost: t\r\n\r\n", frozenset({400, 405}), closes=True),
    at("/health", frozenset({405}), "POST", "openai", "X-HTTP-Method-Override: GET"),
    at("/v1/chat/completions", frozenset({405}), "GET", "openai", "X-HTTP-Method-Override: POST"),
]

HEADERS = [
    at("/v1/chat/completions", OK, "POST", "openai", "x-request-id: bad id \xff"),
    at("/v1/chat/completions", OK, "POST", "openai", "x-request-id: " + "a" * 129),
    at("/v1/chat/completions", frozenset({200, 400}), "POST", "openai", "x-anything: caf\xe9"),
    at("/v1/chat/completions", frozenset({200, 400}), "POST", "openai", "x-anything: \udcff\udcfe"),
    at("/v1/chat/completions", frozenset({200, 400}), "POST", "openai", "x-session-id: \udcff"),
    at("/v1/chat/completions", frozenset({200, 400}), "POST", "openai", "traceparent: \udcff"),
    at("/v1/chat/completions", frozenset({200, 400}), "POST", "openai", "authorization: Bearer \udcff"),
    at("/v1/chat/completions", REFUSED, "POST", "openai", "x-gateway-timeout: soon"),
    at("/v1/chat/completions", REFUSED, "POST", "openai", "x-gateway-timeout: -1"),
    at("/v1/chat/completions", REFUSED, "POST", "openai", "x-gateway-timeout: nan"),
    at("/v1/chat/completions", REFUSED, "POST", "openai", "x-gateway-timeout: 1e999"),
    Case("two content types", post("/v1/chat/completions", GOOD, "Content-Type: text/plain"), closes=True),
    Case("JSON called text", post().replace(b"application/json", b"text/plain"), OK),
    at("/v1/chat/completions", OK, "POST", "openai", "upgrade: websocket", "connection: upgrade"),
    at("/v1/chat/completions", OK, "POST", "openai", "upgrade: h2c", "connection: upgrade, http2-settings"),
    at("/v1/models", frozenset({200, 400}), "GET", "openai", "anthropic-version: \udcff"),
    at("/v1/models?limit=" + "9" * 5000, OK, "GET", "openai", "anthropic-version: 2023-06-01"),
    at("/v1/models?limit=x&after_id=y", OK, "GET", "openai", "anthropic-version: 2023-06-01"),
    at(
        "/v1/chat/completions",
        frozenset({204, 405}),
        "OPTIONS",
        "openai",
        "origin: \udcff",
        "access-control-request-method: POST",
        "access-control-request-headers: \udcff",
    ),
]
