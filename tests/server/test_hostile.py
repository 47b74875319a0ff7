"""Requests meant to harm get a 4xx in the caller's dialect or a closed connection; nothing of them goes upstream."""

from __future__ import annotations

import json

import pytest

from gateway.testing import RunningGateway, ScriptedUpstream
from tests.server.corpus.bodies import CHUNKS, COMPRESSED
from tests.server.corpus.case import Case
from tests.server.corpus.documents import JSON
from tests.server.corpus.framing import FRAMING
from tests.server.corpus.heads import HEADS
from tests.server.corpus.paths import HEADERS, PATHS
from tests.server.raw import RawAnswer, post, raw_client

CASES = [*FRAMING, *HEADS, *CHUNKS, *COMPRESSED, *JSON, *PATHS, *HEADERS]
FOLLOW_UP = b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n"


def check_shape(answer: RawAnswer, dialect: str) -> None:
    """An error says who it is from, in the caller's dialect, under a request id."""
    assert answer.headers["content-type"] == "application/json"
    error = answer.json()["error"]
    if dialect == "ollama":
        assert isinstance(error, str) and error
    elif dialect == "anthropic":
        assert answer.json()["type"] == "error" and error["type"] and error["message"]
        assert answer.json()["request_id"] == answer.headers["request-id"]
    else:
        assert set(error) >= {"message", "type", "param", "code"}
    assert answer.headers["x-gateway-error-source"] == "gateway"


def check_headers(answer: RawAnswer) -> None:
    assert 1 <= len(answer.headers["x-request-id"]) <= 128
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert "server" not in answer.headers and "x-injected" not in answer.headers


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_hostile_request_is_refused_and_nothing_of_it_reaches_upstream(
    case: Case, edge: RunningGateway, upstream: ScriptedUpstream
) -> None:
    async with raw_client(edge) as client:
        await client.send(case.data)
        answer = await client.answer(to_head=case.to_head)
        assert answer is not None, "closed without an answer"
        assert answer.status in case.answers, answer
        check_headers(answer)
        if answer.status >= 400 and not case.to_head:
            check_shape(answer, case.dialect)
        if case.closes:
            assert await client.rest() == b"", "something was answered behind a request that must end the connection"
            assert answer.headers["connection"] == "close"
        else:
            await client.send(FOLLOW_UP)
            after = await client.answer()
            assert after is not None and (after.status, after.json()["status"]) == (200, "healthy"), after
    passed = 1 if answer.status == 200 and "x-gateway-target" in answer.headers else 0
    asked = [request for request in upstream.requests if request.method != "GET"]  # a GET is for the list of models
    assert len(asked) == passed and not upstream.unreadable
    for request in asked:
        assert answer.headers["x-gateway-target"].partition("/")[2] == json.loads(request.body, parse_int=str)["model"]
        assert not request.header("x-smuggled") and not request.header("x-injected")
    async with raw_client(edge) as client:
        await client.send(post())
        answer = await client.answer()
        assert answer is not None and answer.status == 200
    await edge.settled()
    assert not [line for line in edge.log if line["level"] in ("error", "critical")]
    assert "key-of-the-gateway" not in json.dumps(edge.log)


def test_the_corpus_is_large_and_every_case_has_its_own_name() -> None:
    names = [case.name + str(case.data) for case in CASES]
    assert len(names) == len(set(names)) and len(names) > 200
