"""What single rows demand of an answer beside its content: names, citations, counts, errors' words, vendors' marks."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.dialects.audit import (
    DONE,
    PATHS,
    R_USAGE,
    SPLITS,
    bench,
    c_reply,
    chunk,
    heard,
    lines,
    m_block,
    m_end,
    m_reply,
    m_start,
    o_line,
    o_reply,
    question,
    r_events,
    r_reply,
    sse,
    tail,
)  # fmt: skip
from tests.dialects.audit_grammar import events_of

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hi", "annotations": []}]}  # fmt: skip
PLAIN = {
    "c": c_reply({"content": "hi"}),
    "m": m_reply([{"type": "text", "text": "hi"}]),
    "r": r_reply("completed", [ITEM], R_USAGE),
    "o": o_reply({"content": "hi"}),
}
STREAMS = {
    "c": sse(chunk({"role": "assistant", "content": "hi"}), chunk({}, "stop"), tail(USAGE), DONE),
    "m": sse(m_start(), *m_block(0, {"type": "text", "text": ""}, {"type": "text_delta", "text": "hi"}), *m_end()),
    "r": sse(*r_events(ITEM)),
    "o": lines(o_line(content="hi"), o_reply({})),
}
NAMES = {"c": "up", "m": "claude-up", "r": "gpt-up", "o": "llama"}
PAIRS = [(client, target) for client in "cmro" for target in "cmro" if client != target]


@pytest.mark.parametrize("target", "cmro")
async def test_g06_model_may_be_the_upstreams_own(target: str) -> None:
    async with bench(route=", model_echo: upstream") as table:
        for client in "cmro":
            table.told(target, PLAIN[target])
            assert (await heard(table, client, target, stream=False))["model"] == NAMES[target], client
            table.told(target, STREAMS[target])
            assert (await heard(table, client, target, stream=True))["model"] == NAMES[target], client


async def test_k13_a_vendors_mark_on_a_call_comes_with_the_plain_answer_too() -> None:
    mark = {"google": {"thought_signature": "SIG"}}
    made = {"id": "c1", "type": "function", "extra_content": mark, "function": {"name": "f", "arguments": "{}"}}
    async with bench() as table:
        table.told("c", c_reply({"content": None, "tool_calls": [made]}, "tool_calls"))
        plain = (await table.ask("r", "c", stream=False)).json()["output"][0]
        table.told("c", sse(chunk({"tool_calls": [{"index": 0, **made}]}), chunk({}, "tool_calls"), DONE))
        streamed = events_of((await table.ask("r", "c", stream=True)).body)[-1][1]["response"]["output"][0]
        assert plain["extra_content"] == streamed["extra_content"] == mark


NOTE = {"type": "web_search_result_location", "url": "https://e.org", "title": "T", "cited_text": "c", "encrypted_index": "i"}  # fmt: skip


@pytest.mark.parametrize("first", [True, False])
async def test_b13_a_citation_covers_its_block_whether_it_comes_before_the_text_or_after(first: bool) -> None:
    says, cites = {"type": "text_delta", "text": "hi"}, {"type": "citations_delta", "citation": NOTE}
    wanted = [{"url": "https://e.org", "title": "T", "start_index": 0, "end_index": 2}]
    deltas = [cites, says] if first else [says, cites]
    async with bench() as table:
        for split in SPLITS:
            table.told(
                "m",
                sse(m_start(), *m_block(0, {"type": "text", "text": "", "citations": []}, *deltas), *m_end()),
                split,
            )
            assert (await heard(table, "c", "m", stream=True))["notes"] == wanted
        table.told("m", m_reply([{"type": "text", "text": "hi", "citations": [NOTE]}]))
        assert (await heard(table, "c", "m", stream=False))["notes"] == wanted


async def test_u11_what_server_tools_did_is_counted_for_every_client() -> None:
    used = {"web_search_requests": 2, "web_fetch_requests": 0}
    usage = {"input_tokens": 10, "output_tokens": 5, "server_tool_use": used}
    async with bench() as table:
        table.told("m", m_reply([{"type": "text", "text": "hi"}], usage=usage))
        for client in "cr":
            assert (await table.ask(client, "m", stream=False)).json()["usage"]["server_tool_use"] == used


async def test_e402_money_that_ran_out_upstream_is_a_billing_error_for_anthropics_clients() -> None:
    spent = {"error": {"message": "You exceeded your current quota", "type": "insufficient_quota", "code": "insufficient_quota"}}  # fmt: skip
    async with bench() as table:
        table.told("c", spent, status=429)
        got = await table.ask("m", "c", stream=False)
        assert (got.status, got.json()["error"]["type"]) == (429, "billing_error")
        table.told("c", spent, status=402)
        refused = await table.ask("r", "c", stream=False)
        assert (refused.status, refused.json()["error"]["code"]) == (502, "upstream_error")


def uncounted(target: str) -> tuple[Any, list[bytes]]:
    """Return an answer without any usage, plain and streamed."""
    plain, said = dict(PLAIN[target]), {"type": "text_delta", "text": "hi"}
    for name in ("usage", "prompt_eval_count", "eval_count"):
        plain.pop(name, None)
    last = {key: value for key, value in o_reply({}).items() if "count" not in key}
    streams: dict[str, list[bytes]] = {
        "c": sse(chunk({"role": "assistant", "content": "hi"}), chunk({}, "stop"), DONE),
        "m": sse(
            {"type": "message_start", "message": {**m_start()["message"], "usage": None}},
            *m_block(0, {"type": "text", "text": ""}, said),
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}},
            {"type": "message_stop"},
        ),
        "r": sse(*r_events(ITEM)[:-1], {"type": "response.completed", "response": r_reply("completed", [ITEM])}),
        "o": lines(o_line(content="hi"), last),
    }
    return plain, streams[target]


@pytest.mark.parametrize(("client", "target"), PAIRS)
async def test_u09_usage_that_no_upstream_stated_is_estimated_alike_plain_and_streamed(
    client: str, target: str
) -> None:
    plain, stream = uncounted(target)
    async with bench() as table:
        table.told(target, plain)
        first = await heard(table, client, target, stream=False)
        got = await table.ask(client, target, stream=False)
        assert got.headers["x-gateway-estimated"] == "true"
        table.told(target, stream)
        assert (await heard(table, client, target, stream=True))["usage"] == first["usage"]
        assert first["usage"][0] > 0 and first["usage"][1] == 1
        await table.gateway.settled()
        line = table.gateway.events("request")[-1]
        assert (line["prompt_tokens"], line["completion_tokens"]) == first["usage"][:2]


@pytest.mark.parametrize("target", "cmr")
async def test_o06_durations_are_what_the_answer_took(target: str) -> None:
    async with bench() as table:
        for stream in (False, True):
            table.told(target, STREAMS[target] if stream else PLAIN[target])
            last = json.loads((await table.ask("o", target, stream=stream)).body.splitlines()[-1])
            assert last["total_duration"] == last["eval_duration"] > 100_000, stream


@pytest.mark.parametrize(("client", "target"), [pair for pair in PAIRS if pair[0] != "o"])
async def test_f09_ids_are_plain_and_new_whatever_request_id_the_client_sends(client: str, target: str) -> None:
    async with bench() as table:
        seen = []
        for _ in range(2):
            table.told(target, PLAIN[target])
            body = question(client, target, False, None)
            got = await table.gateway.post(
                PATHS[client], body, headers={"x-request-id": "a.session/of:mine" + "x" * 100}
            )
            answer = got.json()
            seen += [answer["id"]] if client in "cm" else [item["id"] for item in answer.get("output", ())]
        assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", each) for each in seen)
        assert len(set(seen)) == len(seen)


async def test_o01_a_last_line_without_its_newline_is_one_line_for_ollamas_client_too() -> None:
    whole = b"".join(lines(o_line(content="hi"), o_reply({}))).rstrip(b"\n")
    async with bench() as table:
        for split in SPLITS:
            table.told("o", [whole], split)
            assert (await heard(table, "o", "o", stream=True))["text"] == "hi"


async def test_b13_each_citation_covers_its_own_block() -> None:
    def block(index: int, text: str, *notes: Any) -> list[dict[str, Any]]:
        cites = [{"type": "citations_delta", "citation": note} for note in notes]
        return m_block(
            index, {"type": "text", "text": "", "citations": []}, *cites, {"type": "text_delta", "text": text}
        )

    other = {**NOTE, "url": "https://o.org"}
    texts = (("ab", ()), ("cd", (NOTE,)), ("ef", ()), ("gh", (other,)))
    plain = m_reply([{"type": "text", "text": text, "citations": list(notes)} for text, notes in texts])
    events = [event for index, (text, notes) in enumerate(texts) for event in block(index, text, *notes)]
    wanted = [(note["url"], at, at + 2) for note, at in ((NOTE, 2), (other, 6))]
    async with bench() as table:
        for stream in (False, True):
            table.told("m", sse(m_start(), *events, *m_end()) if stream else plain)
            notes = (await heard(table, "c", "m", stream=stream))["notes"]
            assert [(note["url"], note["start_index"], note["end_index"]) for note in notes] == wanted
            got = await table.ask("r", "m", stream=stream)
            part = (events_of(got.body)[-1][1]["response"] if stream else got.json())["output"][0]["content"][0]
            assert part["text"] == "abcdefgh"
            assert [(note["url"], note["start_index"], note["end_index"]) for note in part["annotations"]] == wanted
