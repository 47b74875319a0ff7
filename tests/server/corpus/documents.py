"""JSON that is broken, odd, or means two things."""

from __future__ import annotations

import json

from tests.server.corpus.bodies import bodied
from tests.server.corpus.case import GOOD, OK, Case
from tests.server.raw import chat, post

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
    bodied(
        "lone surrogate in the text",
        b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}',
        answers=frozenset({200, 400}),
    ),
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
    Case(
        "deep JSON to be translated",
        post("/v1/messages", b'{"model":"m","max_tokens":5,"messages":' + b"[" * 9000 + b"]" * 9000 + b"}"),
        dialect="anthropic",
    ),
    Case(
        "odd member to be translated",
        post(
            "/v1/chat/completions",
            b'{"model":"translated","messages":[{"role":"user","content":"x"}],"a\\r\\nX-Injected: 1":1}',
        ),
        frozenset({200, 400}),
    ),
    Case(
        "member not latin-1 to be translated",
        post(
            "/v1/chat/completions",
            '{"model":"translated","messages":[{"role":"user","content":"x"}],"ключ":1}'.encode(),
        ),
        frozenset({200, 400}),
    ),
    Case(
        "thousands of members to be translated",
        post(
            "/v1/chat/completions",
            json.dumps(
                {
                    "model": "translated",
                    "messages": [{"role": "user", "content": "x"}],
                    **{f"member-{n}": 1 for n in range(3000)},
                }
            ).encode(),
        ),
        frozenset({200, 400}),
    ),
    Case(
        "multipart without a boundary",
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: t\r\nContent-Type: multipart/form-data\r\nContent-Length: 4\r\n\r\nabcd",
    ),
    Case(
        "multipart with two models",
        post("/v1/audio/transcriptions", TWO_MODELS, "X-A: b").replace(
            b"application/json", b"multipart/form-data; boundary=x"
        ),
    ),
]
