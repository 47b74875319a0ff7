"""Each parser of each dialect, fed what is almost right: its own error or an answer, never anything else.

The seeds are the golden inputs of tests/wire and the recordings of tests/clients, with members dropped, doubled, or
replaced by odd JSON, and their bytes cut anywhere.
"""

from __future__ import annotations

import copy
import json
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.chat import ChatReply, ChatRequest
from gateway.dialects import embeddings
from gateway.dialects.estimate import input_tokens, tokens_in
from gateway.dialects.protocol import AnswerContext, Target
from gateway.dialects.table import DIALECTS
from gateway.errors import BadRequest, UpstreamError
from tests.imports import ROOT
from tests.wire.grammar import CHECKS
from tests.wire.test_golden import translate, wire_of

NAMES = sorted(DIALECTS)
MODELS = {"anthropic": "claude-sonnet-4-5"}
CONTEXT = AnswerContext(id="fuzz", model="m", now_s=1_767_225_600.0)
ODD = (
    st.none()
    | st.booleans()
    | st.sampled_from([0, -1, 2**63, 2**70, 1e308, 0.5, "", " ", "x", "{}", "[1]", "\ud800", "é🚀", "null", [], {}])
    | st.sampled_from(
        [[None], [[]], [{}], {"type": None}, {"type": "text"}, {"type": "function"}, ["x"], {"a": {"b": []}}]
    )
)


@cache
def seeds(kind: str, dialect: str) -> list[Any]:
    """Return what tests/wire feeds to `dialect` as requests, replies or streams, recorded requests included."""
    out: list[Any] = []
    for path in sorted((ROOT / "tests" / "wire").glob("*.json")):
        found = json.loads(path.read_text("utf-8"))
        for case in found if isinstance(found, list) else [found]:
            if (case["kind"], case["from"]) == (kind, dialect) and not isinstance(case["input"], str):
                out.append(case["input"])
    if kind == "request":
        for path in sorted((ROOT / "tests" / "clients" / "recorded").glob("*.json")):
            for request in json.loads(path.read_text("utf-8")):
                ends = {"anthropic": "/messages", "openai_chat": "/chat/completions", "openai_responses": "/responses"}
                if "body" in request and request["path"].partition("?")[0].endswith(ends.get(dialect, "/api/chat")):
                    out.append(request["body"])
    plain: dict[str, Any] = {"model": "m", "prompt": "x", "messages": [{"role": "user", "content": "x"}]}
    return out or [plain]


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every member of a JSON value."""
    found = [at] if at else []
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*at, key))
    return found


def mutate(draw: st.DrawFn, value: Any) -> Any:
    value = copy.deepcopy(value)
    for _ in range(draw(st.integers(0, 3))):
        known = places(value)
        if not known:
            break
        *way, last = draw(st.sampled_from(known))
        holder = value
        for key in way:
            holder = holder[key]
        match draw(st.sampled_from(["odd", "odd", "drop", "twice", "rename"])):
            case "odd":
                holder[last] = copy.deepcopy(draw(ODD))
            case "drop":
                del holder[last]
            case "twice" if isinstance(holder, list):
                holder.insert(last, holder[last])
            case "rename" if isinstance(holder, dict):
                holder[draw(st.sampled_from(["type", "role", "content", "id", "x", "@x", ""]))] = holder.pop(last)
            case _:
                pass
    return value


def framed(dialect: str, event: Any) -> bytes:
    """Frame one event, whatever JSON it is."""
    if event == "[DONE]":
        return wire_of(dialect, [event])[0]
    if isinstance(event, str):
        return event.encode("utf-8", "surrogatepass")
    text = text_of(event)
    if dialect.startswith("ollama"):
        return text + b"\n"
    kind = event.get("type") if isinstance(event, dict) else None
    return (
        (f"event: {kind}\n".encode("utf-8", "replace") if isinstance(kind, str) else b"") + b"data: " + text + b"\n\n"
    )


@st.composite
def mutants(draw: st.DrawFn, kind: str, dialect: str) -> Any:
    return mutate(draw, draw(st.sampled_from(seeds(kind, dialect))))


def text_of(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=True).encode()


def rendered_everywhere(chat: ChatRequest) -> None:
    for name, dialect in DIALECTS.items():
        try:
            rendered = dialect.render_request(chat, Target(model=MODELS.get(name, "m")))
        except BadRequest:
            continue
        assert isinstance(json.loads(rendered.body), dict)
        assert all(isinstance(one, str) for one in rendered.dropped)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_request_is_read_and_written_or_refused(name: str, data: st.DataObject) -> None:
    body = data.draw(mutants("request", name))
    try:
        chat = DIALECTS[name].parse_request(text_of(body))
    except BadRequest:
        return
    rendered_everywhere(chat)
    assert input_tokens(chat) > 0


@pytest.mark.parametrize("name", NAMES)
@given(body=st.binary(max_size=80) | ODD.map(text_of))
def test_any_bytes_are_a_request_or_a_bad_one(name: str, body: bytes) -> None:
    try:
        DIALECTS[name].parse_request(body)
    except BadRequest as error:
        assert error.status == 400


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_plain_answer_is_read_and_written_or_a_bad_one(name: str, data: st.DataObject) -> None:
    body = text_of(data.draw(mutants("reply", name))) if data.draw(st.booleans()) else data.draw(st.binary(max_size=80))
    try:
        reply: ChatReply = DIALECTS[name].parse_reply(body)
    except UpstreamError as error:
        assert error.kind in {"bad_response", "error_event"}
        return
    for dialect in DIALECTS.values():
        assert isinstance(json.loads(dialect.render_reply(reply, CONTEXT)), dict)


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_any_stream_is_answered_in_every_dialects_grammar(name: str, data: st.DataObject) -> None:
    """However it is cut: an error is the dialect's own, and the output never depends on the cuts."""
    events = data.draw(mutants("stream", name))
    wire = [framed(name, event) for event in (events if isinstance(events, list) else [events])]
    if data.draw(st.booleans()):
        wire.insert(data.draw(st.integers(0, len(wire))), data.draw(st.binary(max_size=20)) + b"\n\n")
    whole = b"".join(wire)
    cuts = sorted({0, len(whole), *data.draw(st.lists(st.integers(0, len(whole)), max_size=6))})
    pieces = [whole[a:b] for a, b in pairwise(cuts)]
    for client, dialect in DIALECTS.items():
        out = translate(DIALECTS[name], dialect, CONTEXT, [whole])
        assert translate(DIALECTS[name], dialect, CONTEXT, pieces) == out
        if (
            out and client.partition("_gen")[0] != name.partition("_gen")[0]
        ):  # one's own unknown events pass as they are
            CHECKS[client](out)


@given(text=st.text(max_size=300))
def test_an_estimate_is_positive_and_grows_with_the_text(text: str) -> None:
    assert tokens_in(text) >= (1 if text.strip() else 0)
    assert tokens_in(text + " more words") > tokens_in(text)
    assert tokens_in(text) <= len(text.encode("utf-8", "surrogatepass")) * 2 + 2


@given(body=st.binary(max_size=60) | st.recursive(ODD, lambda i: st.lists(i) | st.dictionaries(
    st.sampled_from(["data", "embedding", "embeddings", "index", "usage", "prompt_tokens", "prompt_eval_count"]), i
)).map(text_of))  # fmt: skip
def test_any_embeddings_are_read_or_a_bad_answer(body: bytes) -> None:
    embeddings.usage(body)
    embeddings.in_base64(body)
    for read in (
        lambda: embeddings.for_openai(body, "m", base64=True),
        lambda: embeddings.for_ollama(body, "m", embeddings.OLLAMA),
    ):
        try:
            assert isinstance(json.loads(read()), dict)
        except UpstreamError as error:
            assert error.kind == "bad_response"
