"""Requests meant to harm: what is sent, and what may come of it."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import dataclass

from tests.server.raw import chat, chunked, post

OK = frozenset({200})
REFUSED = frozenset({400})
GONE = frozenset({404, 405})


@dataclass(frozen=True)
class Case:
    """`answers` are the statuses allowed for the first answer; `closes` whether the connection must end after it."""

    name: str
    data: bytes
    answers: frozenset[int] = REFUSED
    closes: bool = False
    dialect: str = "openai"
    to_head: bool = False


GOOD = b'{"model":"m","messages":[]}'
SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nX-Smuggled: 1\r\nContent-Length: 27\r\n\r\n" + GOOD


def framing(
    name: str, *headers: str, body: bytes = GOOD, version: str = "HTTP/1.1", answers: frozenset[int] = REFUSED
) -> Case:
    """A request framed in a way that two servers could read differently, with a second one hidden behind it."""
    return Case(name, post("/v1/chat/completions", body, *headers, length=False, version=version) + SMUGGLED, answers, closes=True)  # fmt: skip


CHUNKED_SMUGGLE = chunked(GOOD)
FRAMING = [
    framing("cl and te", "Content-Length: 27", "Transfer-Encoding: chunked", body=CHUNKED_SMUGGLE),
    framing("te and cl", "Transfer-Encoding: chunked", "Content-Length: 4", body=b"0\r\n\r\n"),
    framing("te list with chunked last", "Transfer-Encoding: gzip, chunked", body=CHUNKED_SMUGGLE),
    framing("te list with chunked first", "Transfer-Encoding: chunked, identity", body=CHUNKED_SMUGGLE),
    framing("te chunked twice in a list", "Transfer-Encoding: chunked, chunked", body=CHUNKED_SMUGGLE),
    framing("te twice", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKED_SMUGGLE),
    framing("te twice with identity", "Transfer-Encoding: chunked", "Transfer-Encoding: identity", body=CHUNKED_SMUGGLE),
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
    Case("bare LF ends every line", b"POST /v1/chat/completions HTTP/1.1\nHost: t\nContent-Length: 27\n\n" + GOOD, closes=True),
    Case("bare CR ends the head", b"GET /health HTTP/1.1\r\nHost: t\r\n\r" + SMUGGLED, closes=True),
    Case("NUL in the path", b"GET /hea\x00lth HTTP/1.1\r\nHost: t\r\n\r\n", closes=True),
    Case("header of 10 KB", post("/v1/chat/completions", GOOD, "X-A: " + "a" * 10_000), closes=True),
    Case("200 headers", post("/v1/chat/completions", GOOD, *(f"X-{n}: a" for n in range(200))), closes=True),
    Case("request line of 20 KB", b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: t\r\n\r\n", closes=True),
]  # fmt: skip

HEADS = [
    Case("no host", post(host="") + SMUGGLED, closes=True),
    Case("two hosts", post("/v1/chat/completions", GOOD, "Host: other") + SMUGGLED, closes=True),
    Case("two equal hosts", post("/v1/chat/completions", GOOD, "Host: t") + SMUGGLED, closes=True),
    *(
        Case(f"host {host!r}", post(host=f"Host: {host}") + SMUGGLED, closes=True)
        for host in ("a b", "a@b/c", "a/b", "a?b", "a#b", "a:b", "a:80:80", "a\\b", "[::1", "a,b c", "<a>", "ä", "a:999999")
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
    Case("parse error on Anthropic's path", post("/v1/messages", GOOD, "Bad Header: x") + SMUGGLED, closes=True, dialect="anthropic"),
    Case("parse error with anthropic-version", post("/x", GOOD, "anthropic-version: 2023-06-01", "Bad Header: x"), closes=True, dialect="anthropic"),
    Case("parse error on Ollama's path", post("/api/chat", GOOD, "Bad Header: x") + SMUGGLED, closes=True, dialect="ollama"),
    Case("no host on Anthropic's path", post("/v1/messages", host=""), closes=True, dialect="anthropic"),
    Case("no host on Ollama's path", post("/api/chat", host=""), closes=True, dialect="ollama"),
    Case("unknown expectation", post("/v1/chat/completions", GOOD, "Expect: 200-ok"), frozenset({200, 400})),
]  # fmt: skip


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
    Case("body shorter than its length", post("/v1/chat/completions", GOOD, "Content-Length: 60", length=False), frozenset({408}), closes=True),
    Case("chunks that never end", post("/v1/chat/completions", b"1b\r\n" + GOOD, "Transfer-Encoding: chunked", length=False), frozenset({408}), closes=True),
    Case("no length at all", post("/v1/chat/completions", b"", length=False)),
    Case("body too long by its length", post("/v1/chat/completions", b"", "Content-Length: 1000000", length=False), frozenset({413}), closes=True),
    in_chunks("body too long in chunks", b"10000\r\n" + b" " * 65536 + b"\r\n10\r\n" + b" " * 16 + b"\r\n0\r\n\r\n", frozenset({413})),
]  # fmt: skip

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

TWO_MODELS = (
    b"".join(b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n%b\r\n' % name for name in (b"m", b"claude"))
    + b"--x--\r\n"
)
DEEP = b"[" * 40_000 + b"]" * 20_000
JSON = [
    bodied("empty", b""),
    bodied("not JSON", b"model=m&messages=hi"),
    bodied("a list", b'[{"model":"m"}]'),
    bodied("a string", b'"m"'),
    bodied("null", b"null"),
    bodied("cut", b'{"model":"m","messages":['),
    bodied("two objects", GOOD + GOOD),
    bodied("trailing text", GOOD + b"x"),
    bodied("trailing comma", b'{"model":"m","messages":[],}'),
    bodied("comment", b'{"model":"m",/* x */"messages":[]}'),
    bodied("single quotes", b"{'model':'m','messages':[]}"),
    bodied("BOM", b"\xef\xbb\xbf" + GOOD),
    bodied("UTF-16", GOOD.decode().encode("utf-16")),
    bodied("UTF-32", GOOD.decode().encode("utf-32")),
    bodied("NUL in a string", b'{"model":"m\x00","messages":[]}'),
    bodied("NaN", b'{"model":"m","messages":[],"temperature":NaN}'),
    bodied("Infinity", b'{"model":"m","messages":[],"temperature":-Infinity}'),
    bodied("deep and unbalanced", b'{"model":"m","messages":' + DEEP + b"}"),
    bodied("deep", b'{"model":"m","messages":' + b"[" * 30_000 + b"]" * 30_000 + b"}"),
    bodied("deep objects", b'{"model":"m","messages":[],"x":' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"}"),
    bodied("huge integer", b'{"model":"m","messages":[],"seed":' + b"9" * 10_000 + b"}", answers=frozenset({200, 400})),
    bodied("huge exponent", b'{"model":"m","messages":[],"temperature":1e999999}', answers=frozenset({200, 400})),
    bodied("lone surrogate in the text", b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}', answers=frozenset({200, 400})),
    bodied("lone surrogate in the model", b'{"model":"m\\ud800","messages":[]}'),
    bodied("model twice", b'{"model":"m","messages":[],"model":"claude"}'),
    bodied("model twice, spaced", b'{ "model" : "m", "messages" : [], "model" : "claude" }'),
    bodied("model twice, one escaped", b'{"model":"m","messages":[],"mod\\u0065l":"claude"}'),
    bodied("messages twice", b'{"model":"m","messages":[],"messages":[{"role":"user","content":"x"}]}'),
    bodied("stream twice", b'{"model":"m","stream":false,"messages":[],"stream":true}'),
    bodied("max_tokens twice", b'{"model":"m","messages":[],"max_tokens":1,"max_tokens":100000}'),
    bodied("model in another case", b'{"model":"m","messages":[],"Model":"claude"}'),
    bodied("model in another case only", b'{"MODEL":"m","messages":[]}'),
    bodied("model with a long s beside it", '{"model":"m","messages":[],"meſſages":[]}'.encode()),
    bodied("nested model", b'{"model":"m","messages":[],"metadata":{"model":"claude"}}', answers=OK),
    bodied("escaped model key alone", b'{"mod\\u0065l":"m","messages":[]}', answers=OK),
    bodied("unknown member twice", b'{"model":"m","messages":[],"x":1,"x":2}', answers=frozenset({200, 400})),
    bodied("no model", b'{"messages":[]}'),
    bodied("model null", b'{"model":null,"messages":[]}'),
    bodied("model a number", b'{"model":1,"messages":[]}'),
    bodied("model a list", b'{"model":["m"],"messages":[]}'),
    bodied("model empty", b'{"model":"","messages":[]}'),
    bodied("model with CRLF", b'{"model":"m\\r\\nX-Injected: 1","messages":[]}'),
    bodied("model with NUL", b'{"model":"m\\u0000","messages":[]}'),
    bodied("model not ASCII", '{"model":"mödel","messages":[]}'.encode()),
    bodied("model too long", chat("m" * 100_0)),
    bodied("model in invalid UTF-8", b'{"model":"m\xff","messages":[]}'),
    bodied("no messages", b'{"model":"m"}'),
    bodied("messages null", b'{"model":"m","messages":null}'),
    bodied("messages a string", b'{"model":"m","messages":"hi"}'),
    bodied("stream a string", b'{"model":"m","messages":[],"stream":"yes"}'),
    bodied("stream a number", b'{"model":"m","messages":[],"stream":1}'),
    bodied("unknown model", chat("nobody"), answers=frozenset({404})),
    bodied("unknown model like markup", chat("<script>alert(1)</script>"), answers=frozenset({404})),
    Case("bad JSON on Anthropic's path", post("/v1/messages", b"{"), dialect="anthropic"),
    Case("bad JSON on Ollama's path", post("/api/chat", b"{"), dialect="ollama"),
    Case("bad JSON on the responses path", post("/v1/responses", b"{")),
    Case("deep JSON to be translated", post("/v1/messages", b'{"model":"m","max_tokens":5,"messages":' + b"[" * 9000 + b"]" * 9000 + b"}"), dialect="anthropic"),
    Case("odd member to be translated", post("/v1/chat/completions", b'{"model":"translated","messages":[{"role":"user","content":"x"}],"a\\r\\nX-Injected: 1":1}'), frozenset({200, 400})),
    Case("member not latin-1 to be translated", post("/v1/chat/completions", '{"model":"translated","messages":[{"role":"user","content":"x"}],"ключ":1}'.encode()), frozenset({200, 400})),
    Case("thousands of members to be translated", post("/v1/chat/completions", json.dumps({"model": "translated", "messages": [{"role": "user", "content": "x"}], **{f"member-{n}": 1 for n in range(3000)}}).encode()), frozenset({200, 400})),
    Case("multipart without a boundary", b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data\r\nContent-Length: 4\r\n\r\nabcd"),
    Case("multipart with two models", post("/v1/audio/transcriptions", TWO_MODELS, "X-A: b").replace(b"application/json", b"multipart/form-data; boundary=x")),
]  # fmt: skip


def at(path: str, answers: frozenset[int] = GONE, method: str = "POST", dialect: str = "openai", *headers: str) -> Case:
    to_head = method == "HEAD"
    return Case(
        f"{method} {path[:60]}", post(path, GOOD, *headers, method=method), answers, dialect=dialect, to_head=to_head
    )


PATHS = [
    *(
        at(path)
        for path in (
            "/../v1/chat/completions", "/v1/../v1/chat/completions", "/v1/./chat/completions", "/v1//chat/completions",
            "//v1/chat/completions", "/v1/chat/completions//", "/v1/%2e%2e/v1/chat/completions", "/v1/chat%2fcompletions",
            "/v1%2Fchat/completions", "/v1/chat/completions;a=b", "/v1;/chat/completions", "/v1/chat/completions%3b",
            "/v1\\chat\\completions", "/v1%5cchat/completions", "/V1/CHAT/completions", "/v1/chat/completions%00",
            "/v1/chat/completions%0d%0aX:1", "/v1/chat/completions%20", "/v1/chat/completions/x", "/v1/chat/%ff",
            "/v1/chat/completions%252f", "/v1/images/../chat/completions", "/v1/images/..%2fchat", "/v1/audio/%2e%2e/x",
            "/v1/images/a%20HTTP/1.1", "/v1/images/a%3fb=c", "/v1/images/a%23b", "/v1/images//x", "/v1/images/\u0061;b",
            "/files/../v1/keys", "/files/%2e%2e/x", "/files/..%2fx", "/files/a//b", "/files/a%0d%0ab", "/admin", "/api/reload/",
            "/.env", "/gateway.yaml", "/v1/completions/..", "/%2e/v1/models", "/v1/models/..", "/v1/models/a%2f..%2fb",
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
]  # fmt: skip

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
    at("/v1/chat/completions", frozenset({204, 405}), "OPTIONS", "openai", "origin: \udcff", "access-control-request-method: POST", "access-control-request-headers: \udcff"),
]  # fmt: skip

CASES = [*FRAMING, *HEADS, *CHUNKS, *COMPRESSED, *JSON, *PATHS, *HEADERS]
