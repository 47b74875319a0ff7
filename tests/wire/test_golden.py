"""Every golden case of this folder: `<ROW>.json` or `<ROW>-words.json` holds one case or a list of them.

A case is `{"row", "from", "to", "kind", "input", "output"}` with dialects by their names in `DIALECTS`, and as `kind`

- `request`: `input` is a body of `from`, `output` the body `to` gets. `dropped` are the names it could not carry,
  `quirks` and `model` the target's; instead of `output`, `error` is `{"status", "param", "says"}` of a refusal.
- `reply`: an upstream's body and the client's; `request` is what the client asked, in `to`. `error` is the
  `{"kind", "code", "status"}` of an answer that is none.
- `stream`: lists of events, as JSON values ("[DONE]" for itself) or strings that are put on the wire as they are.
  `cut` says that the upstream ends without its finish. Fed whole, by event, by byte and in sevens, all equal.
- `error`: `{"status", "headers", "body"}` and the `{"status", "body"}` of the client.

`"…"` in an expected value stands for anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.chat import Failure
from gateway.dialects.protocol import AnswerContext, Dialect, Target
from gateway.dialects.table import DIALECTS
from gateway.errors import BadRequest, UpstreamError
from tests.wire.grammar import CHECKS

FOLDER = Path(__file__).parent
ANY = "…"
NOW_S = 1_767_225_600.0


def _cases() -> list[Any]:
    out = []
    for path in sorted(FOLDER.glob("*.json")):
        found = json.loads(path.read_text())
        for number, case in enumerate(found if isinstance(found, list) else [found]):
            name = f"{path.stem}-{number}-{case['from']}-{case['to']}-{case['kind']}"
            out.append(pytest.param(case, id=name))
    return out


@pytest.mark.parametrize("case", _cases())
def test_golden(case: dict[str, Any]) -> None:
    source, target = DIALECTS[case["from"]], DIALECTS[case["to"]]
    RUN[case["kind"]](case, source, target)


def same(got: Any, wanted: Any, at: str = "") -> None:
    """Compare JSON values, `…` standing for anything, and say where they differ."""
    if wanted == ANY:
        return
    if isinstance(wanted, dict) and isinstance(got, dict):
        assert sorted(got) == sorted(wanted), f"{at or 'top'}: {sorted(got)} instead of {sorted(wanted)}"
        for name, value in wanted.items():
            same(got[name], value, f"{at}.{name}")
    elif isinstance(wanted, list) and isinstance(got, list):
        assert len(got) == len(wanted), f"{at}: {json.dumps(got)} instead of {json.dumps(wanted)}"
        for number, value in enumerate(wanted):
            same(got[number], value, f"{at}.{number}")
    else:
        assert got == wanted and type(got) is type(wanted), f"{at}: {got!r} instead of {wanted!r}"


def _request(case: dict[str, Any], source: Dialect, target: Dialect) -> None:
    where = Target(model=case.get("model", "target-model"), quirks=case.get("quirks", {}))
    body = json.dumps(case["input"]).encode()
    if "error" in case:
        with pytest.raises(BadRequest) as refused:
            target.render_request(source.parse_request(body), where)
        wanted = case["error"]
        assert refused.value.status == wanted.get("status", 400)
        assert refused.value.param == wanted.get("param")
        assert wanted.get("says", "") in refused.value.message
        return
    rendered = target.render_request(source.parse_request(body), where)
    same(json.loads(rendered.body), case["output"])
    assert sorted(rendered.dropped) == sorted(case.get("dropped", []))


def context_of(case: dict[str, Any], target: Dialect) -> AnswerContext:
    asked = case.get("request")
    request = target.parse_request(json.dumps(asked).encode()) if asked is not None else None
    return AnswerContext(id="test", model="client-model", now_s=NOW_S, request=request)


def _reply(case: dict[str, Any], source: Dialect, target: Dialect) -> None:
    given = case["input"]
    body = given.encode() if isinstance(given, str) else json.dumps(given).encode()
    if "error" in case:
        with pytest.raises(UpstreamError) as failed:
            source.parse_reply(body)
        for name, value in case["error"].items():
            assert getattr(failed.value, name) == value
        return
    same(json.loads(target.render_reply(source.parse_reply(body), context_of(case, target))), case["output"])


def wire_of(dialect: str, events: list[Any]) -> list[bytes]:
    """Return events as the dialect frames them; strings as they are, but for "[DONE]"."""
    out = []
    for event in events:
        if event == "[DONE]":
            out.append(b"data: [DONE]\n\n")
        elif isinstance(event, str):
            out.append(event.encode())
        elif dialect.startswith("ollama"):
            out.append(json.dumps(event).encode() + b"\n")
        elif dialect == "openai_chat":
            out.append(b"data: " + json.dumps(event).encode() + b"\n\n")
        else:
            out.append(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
    return out


def translate(source: Dialect, target: Dialect, context: AnswerContext, pieces: list[bytes]) -> bytes:
    """Return the client's stream for an upstream's, fed in these pieces."""
    parser, renderer = source.stream_parser(), target.stream_renderer(context)
    out, failed = b"", False
    for piece in [*pieces, None]:
        for event in parser.end() if piece is None else parser.feed(piece):
            failed = failed or isinstance(event, Failure)
            out += renderer.render(event)
    return out if failed else out + renderer.end()


def splits(events: list[bytes]) -> list[list[bytes]]:
    """Return the same stream whole, by event, by byte, and in sevens."""
    whole = b"".join(events)
    sevens = [whole[at : at + 7] for at in range(0, len(whole), 7)]
    return [[whole], events, [whole[at : at + 1] for at in range(len(whole))], sevens]


def _stream(case: dict[str, Any], source: Dialect, target: Dialect) -> None:
    context = context_of(case, target)
    given = splits(wire_of(case["from"], case["input"]))
    outputs = [translate(source, target, context, pieces) for pieces in given]
    assert len(set(outputs)) == 1, "the output depends on where the stream was cut"
    events = CHECKS[case["to"]](outputs[0])
    same(events, case["output"])


def _error(case: dict[str, Any], source: Dialect, target: Dialect) -> None:
    given = case["input"]
    body = given["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    error = source.parse_error(given["status"], given.get("headers", {}), raw)
    status, rendered = target.render_error(error, "req-test")
    assert status == case["output"]["status"]
    same(json.loads(rendered), case["output"]["body"])


RUN = {"request": _request, "reply": _reply, "stream": _stream, "error": _error}
