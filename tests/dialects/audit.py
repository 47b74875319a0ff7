"""One gateway before one scripted upstream that speaks any dialect; answers read by the official packages.

`heard` gives an answer in words that all four clients share, so that one table says what each must hear; the raw
bytes of a stream are held against the grammar of translation.md on the way.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import ollama
import openai

from gateway.testing import (
    ClientAnswer,
    RunningGateway,
    ScriptedUpstream,
    Send,
    reply_bytes,
    reply_json,
    running_gateway,
)

CLIENTS = ("c", "m", "r", "o")
PATHS = {"c": "/v1/chat/completions", "m": "/v1/messages", "r": "/v1/responses", "o": "/api/chat"}
TYPES = {"c": "text/event-stream", "m": "text/event-stream", "r": "text/event-stream", "o": "application/x-ndjson"}
SPLITS = ("whole", "events", "bytes")
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TOOL_SCHEMA = {"type": "object", "properties": {}}
Reply = list[Any]


def sse(*events: Any) -> list[bytes]:
    """Return events as a server writes them: objects of Messages and Responses under their type's name."""
    out = []
    for event in events:
        if isinstance(event, bytes):
            out.append(event)
            continue
        name = f"event: {event['type']}\n" if "type" in event else ""
        out.append(f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n".encode())
    return out


def lines(*objects: Any) -> list[bytes]:
    """Return Ollama's lines."""
    return [json.dumps(value, ensure_ascii=False).encode() + b"\n" for value in objects]


DONE = b"data: [DONE]\n\n"


def chunk(delta: Any = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """Return a chat chunk."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "chatcmpl-up", "object": "chat.completion.chunk", "created": 1700000000, "model": "up", "choices": [choice], **more}  # fmt: skip


def tail(usage: Any) -> dict[str, Any]:
    """Return the chunk that holds nothing but usage."""
    return {**chunk(), "choices": [], "usage": usage}


def m_start(**usage: Any) -> dict[str, Any]:
    message = {"id": "msg_up", "type": "message", "role": "assistant", "model": "claude-up", "content": [], "stop_reason": None, "stop_sequence": None}  # fmt: skip
    return {"type": "message_start", "message": {**message, "usage": {"input_tokens": 10, "output_tokens": 1, **usage}}}


def m_block(index: int, block: Any, *deltas: Any) -> list[dict[str, Any]]:
    """Return a block's events."""
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def m_end(reason: str | None = "end_turn", usage: Any = None, **delta: Any) -> list[dict[str, Any]]:
    given = {"stop_reason": reason, "stop_sequence": None, **delta}
    return [
        {"type": "message_delta", "delta": given, "usage": usage or {"output_tokens": 5}},
        {"type": "message_stop"},
    ]


def r_events(*items: Any, status: str = "completed", usage: Any = None, **more: Any) -> list[dict[str, Any]]:
    """Return a Responses stream as OpenAI sends one, its items' texts and arguments in two deltas each."""
    base = r_reply(status="in_progress", output=[], usage=None)
    out: list[dict[str, Any]] = [{"type": "response.created", "response": base}, {"type": "response.in_progress", "response": base}]  # fmt: skip
    for index, item in enumerate(items):
        at = {"item_id": item["id"], "output_index": index}
        opened = {**item, **{key: [] for key in ("content", "summary") if key in item}}
        if "arguments" in item:
            opened["arguments"] = ""
        out.append({"type": "response.output_item.added", "output_index": index, "item": opened})
        for number, part in enumerate(item.get("summary") or ()):
            place = {**at, "summary_index": number}
            out.append({"type": "response.reasoning_summary_part.added", **place, "part": {"type": "summary_text", "text": ""}})  # fmt: skip
            out += [{"type": "response.reasoning_summary_text.delta", **place, "delta": piece} for piece in halves(part["text"])]  # fmt: skip
            out.append({"type": "response.reasoning_summary_text.done", **place, "text": part["text"]})
            out.append({"type": "response.reasoning_summary_part.done", **place, "part": part})
        for number, part in enumerate(item.get("content") or ()):
            place = {**at, "content_index": number}
            kind = "output_text" if part["type"] == "output_text" else "refusal"
            text = part.get("text") or part.get("refusal")
            name = "text" if kind == "output_text" else "refusal"
            out.append({"type": "response.content_part.added", **place, "part": {**part, name: ""}})
            out += [{"type": f"response.{kind}.delta", **place, "delta": piece} for piece in halves(text)]
            out.append({"type": f"response.{kind}.done", **place, name: text})
            out.append({"type": "response.content_part.done", **place, "part": part})
        if "arguments" in item:
            out += [{"type": "response.function_call_arguments.delta", **at, "delta": piece} for piece in halves(item["arguments"])]  # fmt: skip
            out.append({"type": "response.function_call_arguments.done", **at, "name": item["name"], "arguments": item["arguments"]})  # fmt: skip
        out.append({"type": "response.output_item.done", "output_index": index, "item": item})
    out.append({"type": f"response.{status}", "response": r_reply(status, list(items), usage or R_USAGE, **more)})
    return [{**event, "sequence_number": number} for number, event in enumerate(out)]


R_USAGE = {"input_tokens": 10, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}, "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 15}  # fmt: skip


def r_reply(status: str = "completed", output: Any = (), usage: Any = None, **more: Any) -> dict[str, Any]:
    return {"id": "resp_up", "object": "response", "created_at": 1700000000, "status": status, "model": "gpt-up", "output": list(output), "usage": usage, "error": None, "incomplete_details": None, **more}  # fmt: skip


def halves(text: str) -> list[str]:
    return [piece for piece in (text[: len(text) // 2], text[len(text) // 2 :]) if piece]


def c_reply(message: Any, finish: str | None = "stop", usage: Any = None, **more: Any) -> dict[str, Any]:
    usage = usage or {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return {"id": "chatcmpl-up", "object": "chat.completion", "created": 1700000000, "model": "up", "choices": [{"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish}], "usage": usage, **more}  # fmt: skip


def m_reply(content: Sequence[Any], reason: str | None = "end_turn", usage: Any = None, **more: Any) -> dict[str, Any]:
    usage = usage or {"input_tokens": 10, "output_tokens": 5}
    return {"id": "msg_up", "type": "message", "role": "assistant", "model": "claude-up", "content": list(content), "stop_reason": reason, "stop_sequence": None, "usage": usage, **more}  # fmt: skip


def o_reply(message: Any, reason: str = "stop", **more: Any) -> dict[str, Any]:
    return {"model": "llama", "created_at": "2026-11-20T10:00:00.5Z", "message": {"role": "assistant", "content": "", **message}, "done": True, "done_reason": reason, "total_duration": 900, "load_duration": 1, "prompt_eval_count": 10, "prompt_eval_duration": 2, "eval_count": 5, "eval_duration": 3, **more}  # fmt: skip


def o_line(**message: Any) -> dict[str, Any]:
    return {"model": "llama", "created_at": "2026-11-20T10:00:00.5Z", "message": {"role": "assistant", "content": "", **message}, "done": False}  # fmt: skip


@dataclass(slots=True)
class Bench:
    """A running gateway and its upstream. `told` says what the upstream answers next."""

    gateway: RunningGateway
    upstream: ScriptedUpstream

    def told(self, target: str, answer: Any, split: str = "whole", status: int = 200) -> None:
        """Set the answer: an object, or the events of a stream, cut as `split` says."""
        if isinstance(answer, dict):
            self.upstream.script = reply_json(answer, status)
            return
        body = b"".join(answer)
        sizes = {"whole": [], "events": [len(event) for event in answer], "bytes": [1] * len(body)}[split]
        self.upstream.script = pieces(body, sizes, TYPES[target])

    async def ask(self, client: str, target: str, *, stream: bool, more: Mapping[str, Any] | None = None) -> ClientAnswer:  # fmt: skip
        """Return the answer's raw bytes."""
        return await self.gateway.post(PATHS[client], question(client, target, stream, more))


def pieces(body: bytes, sizes: Sequence[int], kind: str) -> Reply:
    head, *rest = reply_bytes(body, 200, [("content-type", kind)], close=True)
    assert isinstance(head, Send)
    cuts, at = [], len(head.data) - len(body)
    for size in sizes:
        cuts.append(at)
        at += size
    return [Send(head.data, cuts=tuple(cuts)), *rest]


def question(client: str, target: str, stream: bool, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"model": f"to-{target}", "stream": stream}
    if client == "r":
        body["input"] = "x"
    else:
        body["messages"] = [{"role": "user", "content": "x"}]
    if client == "m":
        body["max_tokens"] = 100
    if client == "c" and stream:
        body["stream_options"] = {"include_usage": True}
    return {**body, **(more or {})}


@asynccontextmanager
async def bench(quirks: str = "{}", route: str = "") -> AsyncIterator[Bench]:
    """Run a gateway with a provider of every dialect; model `to-x` goes to dialect x."""
    async with ScriptedUpstream() as upstream:
        names = {
            "c": ("openai_chat", "/v1"),
            "m": ("anthropic", ""),
            "r": ("openai_responses", "/v1"),
            "o": ("ollama", ""),
        }
        providers = ", ".join(
            f"up_{key}: {{dialect: {dialect}, base_url: '{upstream.url}{path}', api_key: key-of-up-0001, quirks: {quirks if key == 'c' else '{}'}}}"
            for key, (dialect, path) in names.items()
        )
        routes = ", ".join(
            f"{{name: to_{key}, match: {{model: to-{key}}}, targets: [up_{key}/real], retry: {{attempts: 1}}{route}}}"
            for key in names
        )
        text = f"version: 1\nplugins: [access_log]\nproviders: {{{providers}}}\nroutes: [{routes}]\n"
        async with running_gateway(text) as gateway:
            yield Bench(gateway, upstream)


# --- what the packages hear --------------------------------------------------------------------------


async def heard(bench: Bench, client: str, target: str, *, stream: bool, more: Mapping[str, Any] | None = None) -> dict[str, Any]:  # fmt: skip
    """Ask with the client's package and its accumulator; return the answer in shared words."""
    url, body = bench.gateway.url, question(client, target, stream, more)
    del body["stream"]
    if client in "cr":
        async with openai.AsyncOpenAI(base_url=url + "/v1", api_key="k", max_retries=0, http_client=openai.DefaultAsyncHttpxClient(verify=NO_TLS)) as sdk:  # fmt: skip
            if client == "c":
                if stream:
                    return chat_words(await accumulated(sdk, body))
                return chat_words((await sdk.chat.completions.create(**body)).to_dict())
            if stream:
                return response_words(await last_response(sdk, body))
            return response_words((await sdk.responses.create(**body)).to_dict())
    if client == "m":
        async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0, http_client=anthropic.DefaultAsyncHttpxClient(verify=NO_TLS)) as sdk2:  # fmt: skip
            if stream:
                async with sdk2.messages.stream(**body) as events2:
                    return message_words((await events2.get_final_message()).to_dict())
            return message_words((await sdk2.messages.create(**body)).to_dict())
    sdk3 = ollama.AsyncClient(host=url, verify=NO_TLS)
    if stream:
        return ollama_words([part.model_dump() async for part in await sdk3.chat(**body, stream=True)])
    return ollama_words([(await sdk3.chat(**body)).model_dump()])


async def last_response(sdk: openai.AsyncOpenAI, body: dict[str, Any]) -> dict[str, Any]:
    """Return the accumulated response; `get_final_response` knows of no incomplete one, though its event has it."""
    async with sdk.responses.stream(**body) as events:
        last: Any = None
        async for event in events:
            last = event
        if last.type == "response.completed":
            return (await events.get_final_response()).to_dict()
        return last.response.to_dict()  # type: ignore[no-any-return]


async def accumulated(sdk: openai.AsyncOpenAI, body: dict[str, Any]) -> dict[str, Any]:
    body = {key: value for key, value in body.items() if key != "stream_options"}
    try:
        async with sdk.chat.completions.stream(**body, stream_options={"include_usage": True}) as events:
            async for _ in events:
                pass
            return (await events.get_final_completion()).to_dict()
    except (openai.LengthFinishReasonError, openai.ContentFilterFinishReasonError):
        return snapshot([piece.to_dict() async for piece in await sdk.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})])  # fmt: skip


def snapshot(chunks: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what chunks add up to; the package's own accumulator raises at length and content_filter."""
    message: dict[str, Any] = {"content": None, "refusal": None, "tool_calls": []}
    finish, usage = None, None
    for piece in chunks:
        usage = piece.get("usage") or usage
        for choice in piece["choices"]:
            delta = choice["delta"]
            for name in ("content", "refusal", "reasoning_content"):
                if delta.get(name) is not None:
                    message[name] = (message.get(name) or "") + delta[name]
            for call in delta.get("tool_calls") or ():
                if call["index"] == len(message["tool_calls"]):
                    message["tool_calls"].append({"id": call["id"], "function": dict(call["function"])})
                else:
                    message["tool_calls"][call["index"]]["function"]["arguments"] += call["function"]["arguments"]
            message.setdefault("thinking_blocks", []).extend(delta.get("thinking_blocks") or ())
            finish = choice["finish_reason"] or finish
    return {"choices": [{"message": message, "finish_reason": finish}], "usage": usage, "model": chunks[0]["model"]}


def chat_words(answer: dict[str, Any]) -> dict[str, Any]:
    message = answer["choices"][0]["message"]
    usage = answer["usage"]
    read = usage.get("prompt_tokens_details") or {}
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    return {
        "text": message.get("content"),
        "refusal": message.get("refusal") or "",
        "thinking": message.get("reasoning_content") or "",
        "carried": [{k: v for k, v in block.items() if k != "index"} for block in message.get("thinking_blocks") or ()],
        "calls": [
            (call["id"], call["function"]["name"], call["function"]["arguments"])
            for call in message.get("tool_calls") or ()
        ],
        "stop": answer["choices"][0]["finish_reason"],
        "usage": (
            usage["prompt_tokens"],
            usage["completion_tokens"],
            read.get("cached_tokens", 0),
            read.get("cache_write_tokens", 0),
            (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0),
        ),
        "model": answer["model"],
        "notes": [note["url_citation"] for note in message.get("annotations") or ()],
    }


def message_words(answer: dict[str, Any]) -> dict[str, Any]:
    usage = answer["usage"]
    read, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    return {
        "blocks": [
            (block["type"], block.get("text") or block.get("thinking") or block.get("data") or "")
            if block["type"] != "tool_use"
            else (block["type"], block["id"], block["name"], block["input"])
            for block in answer["content"]
        ],
        "signatures": [block.get("signature") for block in answer["content"] if block["type"] == "thinking"],
        "stop": answer["stop_reason"],
        "sequence": answer["stop_sequence"],
        "usage": (
            usage["input_tokens"] + read + written,
            usage["output_tokens"],
            read,
            written,
            (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
        ),
        "model": answer["model"],
    }


def response_words(answer: dict[str, Any]) -> dict[str, Any]:
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    items: list[Any] = []
    for item in answer["output"]:
        match item["type"]:
            case "message":
                items.append(("message", "".join(part.get("text") or "" for part in item["content"]), "".join(part.get("refusal") or "" for part in item["content"])))  # fmt: skip
            case "reasoning":
                items.append(("reasoning", "".join(part["text"] for part in item["summary"]), item.get("encrypted_content")))  # fmt: skip
            case "function_call":
                items.append(("function_call", item["call_id"], item["name"], item["arguments"]))
            case _:
                items.append((item["type"],))
    ids = [item["id"] for item in answer["output"]]
    assert len(set(ids)) == len(ids)
    return {
        "items": items,
        "status": answer["status"],
        "why": (answer.get("incomplete_details") or {}).get("reason"),
        "usage": (
            usage["input_tokens"],
            usage["output_tokens"],
            usage["input_tokens_details"]["cached_tokens"],
            usage["input_tokens_details"]["cache_write_tokens"],
            usage["output_tokens_details"]["reasoning_tokens"],
        ),
        "model": answer["model"],
    }


def ollama_words(answers: list[dict[str, Any]]) -> dict[str, Any]:
    last = answers[-1]
    assert last["done"] and not any(answer["done"] for answer in answers[:-1])
    for name in ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration"):
        assert isinstance(last[name], int) and last[name] >= 0, name
    calls = [call["function"] for answer in answers for call in answer["message"].get("tool_calls") or ()]
    return {
        "text": "".join(answer["message"]["content"] or "" for answer in answers),
        "thinking": "".join(answer["message"].get("thinking") or "" for answer in answers),
        "calls": [(call["name"], dict(call["arguments"])) for call in calls],
        "stop": last["done_reason"],
        "usage": (last["prompt_eval_count"], last["eval_count"]),
        "model": last["model"],
    }
