"""Whatever an upstream sends, a dialect's readers raise nothing but their own errors, and cuts change nothing."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.dialects.protocol import Framer, StreamScanner
from gateway.dialects.table import DIALECTS
from gateway.errors import UpstreamError

# Words that the dialects look for, so that what is made up is often almost right.
KEY_WORDS = (
    "type choices delta content finish_reason usage index message error output response text thinking tool_calls "
    "function name arguments stop_reason prompt_tokens completion_tokens input_tokens output_tokens done eval_count "
    "prompt_eval_count done_reason partial_json content_block item part reasoning_content refusal code status"
)
VALUE_WORDS = (
    "message_start message_delta message_stop content_block_start content_block_delta content_block_stop ping error "
    "text_delta input_json_delta thinking_delta text tool_use response.created response.completed response.failed "
    "response.output_text.delta response.incomplete stop length tool_calls end_turn assistant hello"
)
KEYS, VALUES = st.sampled_from(KEY_WORDS.split()), st.sampled_from(VALUE_WORDS.split())
SCALARS = (
    VALUES
    | st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=20
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=6)
BODIES = st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode())


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A stream of events that are right, almost right, or nothing of the kind, with any line ends."""
    end = draw(st.sampled_from([b"\n", b"\r\n", b"\r"]))
    pieces = []
    for _ in range(draw(st.integers(0, 6))):
        body = json.dumps(draw(OBJECTS)).encode()
        pieces.append(
            draw(
                st.sampled_from(
                    [
                        b"data: " + body + end + end,
                        b"event: message_delta" + end + b"data:" + body + end + end,
                        body + end,
                        b"data: [DONE]" + end + end,
                        b": keep-alive" + end + end,
                    ]
                )
                | st.binary(max_size=40)
            )
        )
    return b"".join(pieces)


def seen(scanner: StreamScanner) -> tuple[Any, ...]:
    error = scanner.error
    return (
        scanner.content, scanner.finished, scanner.terminated, scanner.usage,
        (error.kind, error.code, error.message) if error else None,
    )  # fmt: skip


def watch(framer: Framer, scanner: StreamScanner, parts: list[bytes]) -> list[bytes]:
    events = []
    for part in parts:
        for event in framer.feed(part):
            scanner.see(event)
            events.append(event)
    return events


@pytest.mark.parametrize("name", sorted(DIALECTS))
@given(data=streams(), cuts=st.lists(st.integers(0, 600), max_size=8))
def test_a_watched_stream_is_the_same_however_it_is_cut(name: str, data: bytes, cuts: list[int]) -> None:
    dialect = DIALECTS[name]
    whole_framer, whole = dialect.framer(), dialect.scanner()
    events = watch(whole_framer, whole, [data])
    assert b"".join(events) + whole_framer.tail == data

    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    parts = [data[a:b] for a, b in pairwise(edges)]
    cut_framer, cut = dialect.framer(), dialect.scanner()
    pieces = watch(cut_framer, cut, parts)
    assert b"".join(pieces) + cut_framer.tail == data
    assert seen(cut) == seen(whole)


@pytest.mark.parametrize("name", sorted(DIALECTS))
@given(body=BODIES)
def test_the_usage_of_any_plain_body_is_read_or_refused_as_a_bad_answer(name: str, body: bytes) -> None:
    try:
        usage = DIALECTS[name].usage(body)
    except UpstreamError as error:
        assert error.kind in {"bad_response", "error_event"}
    else:
        assert usage is None or usage.prompt_tokens >= 0


@pytest.mark.parametrize("name", sorted(DIALECTS))
@given(status=st.integers(400, 599), body=BODIES, retry=st.text(max_size=12))
def test_any_refusal_becomes_an_error_with_a_short_clean_text(name: str, status: int, body: bytes, retry: str) -> None:
    error = DIALECTS[name].parse_error(status, {"retry-after": retry, "content-type": "application/json"}, body)
    assert error.upstream_status == status
    assert len(error.message) <= 600
    assert not any(ord(character) < 32 and character not in "\n\t" for character in error.message)


@pytest.mark.parametrize("client", sorted(DIALECTS))
@given(status=st.integers(400, 599), body=BODIES)
def test_any_refusal_can_be_told_in_every_dialect(client: str, status: int, body: bytes) -> None:
    for upstream in DIALECTS.values():
        error = upstream.parse_error(status, {}, body)
        told, rendered = DIALECTS[client].render_error(error, "req-1")
        assert 400 <= told <= 599
        assert isinstance(json.loads(rendered), dict)
        assert DIALECTS[client].render_error_event(error, "req-1")
