"""An upstream of four dialects that ends as the model's name says, and what each ending must leave in the ledger.

A model is called `<dialect>-<ending>`; every answer says "Hello world!", twelve bytes or three tokens as they are
estimated, and where its usage is stated it is ten tokens in and four out.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.dialects.estimate import input_tokens
from gateway.dialects.table import DIALECTS
from gateway.plugin import Row
from gateway.testing import Answer, ReceivedRequest, Reset, RunningGateway, Stall, Step, reply_bytes, reply_json

WORDS = ("Hello ", "world!")
SAID_TOKENS, IN, OUT = 3, 10, 4
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "responses": "/v1/responses", "ollama": "/api/chat"}  # fmt: skip
NAMES = {"openai": "openai_chat", "anthropic": "anthropic", "responses": "openai_responses", "ollama": "ollama"}


@dataclass(frozen=True)
class Ending:
    """What a request of this ending must leave. `prompt` and `completion` are `told`, `none` or `counted`."""

    status: int
    outcome: str
    error: str | None = None
    prompt: str = "told"
    completion: str = "told"
    stream: bool = True
    leaves: str = ""


ENDINGS = {
    "whole": Ending(200, "completed"),
    "silent": Ending(200, "completed", prompt="counted", completion="counted"),
    "cut": Ending(200, "failed", "stream_truncated", "counted", "counted"),
    "event": Ending(200, "failed", "upstream_error", "counted", "counted"),
    "stall": Ending(200, "failed", "timeout", "counted", "counted"),
    "never": Ending(504, "failed", "timeout", "none", "none"),
    "refused": Ending(502, "failed", "upstream_error", "none", "none"),
    "limited": Ending(429, "failed", "rate_limit_exceeded", "none", "none"),
    "begun": Ending(502, "failed", "stream_truncated", "none", "none"),
    "leftmid": Ending(499, "disconnected", "client_left", "counted", "counted", leaves="stream"),
    "leftbefore": Ending(499, "disconnected", "client_left", "counted", "none", leaves="request"),
    "plain": Ending(200, "completed", stream=False),
    "plainsilent": Ending(200, "completed", prompt="counted", completion="counted", stream=False),
    "plainleft": Ending(499, "disconnected", "client_left", "counted", "none", stream=False, leaves="request"),
    "unknown": Ending(404, "failed", "model_not_found", "none", "none", stream=False),
}


def sse(value: Any, name: str = "") -> bytes:
    return (f"event: {name}\n" if name else "").encode() + b"data: " + json.dumps(value).encode() + b"\n\n"


def openai_events(told: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
    def chunk(delta: Any, finish: str | None = None) -> bytes:
        return sse({"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    usage = {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT}
    end = [chunk({}, "stop"), *([sse({"id": "c", "choices": [], "usage": usage})] if told else []), b"data: [DONE]\n\n"]
    return [chunk({"role": "assistant", "content": ""})], [chunk({"content": word}) for word in WORDS], end


def anthropic_events(told: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
    def event(kind: str, **more: Any) -> bytes:
        return sse({"type": kind, **more}, kind)

    message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
    if told:
        message["usage"] = {"input_tokens": IN, "output_tokens": 1}
    block = {"type": "text", "text": ""}
    begin = [event("message_start", message=message), event("content_block_start", index=0, content_block=block)]
    words = [event("content_block_delta", index=0, delta={"type": "text_delta", "text": word}) for word in WORDS]
    usage = {"usage": {"output_tokens": OUT}} if told else {}
    end = [event("content_block_stop", index=0), event("message_delta", delta={"stop_reason": "end_turn"}, **usage)]
    return begin, words, [*end, event("message_stop")]


def responses_events(told: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
    def event(kind: str, **more: Any) -> bytes:
        return sse({"type": kind, **more}, kind)

    item = {"id": "i", "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
    begin = [
        event("response.created", response={"id": "r", "object": "response", "status": "in_progress", "output": []}),
        event("response.output_item.added", output_index=0, item=item),
    ]
    words = [event("response.output_text.delta", item_id="i", output_index=0, content_index=0, delta=w) for w in WORDS]
    done: dict[str, Any] = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": []}
    if told:
        done["usage"] = {"input_tokens": IN, "output_tokens": OUT, "total_tokens": IN + OUT}
    return begin, words, [event("response.completed", response=done)]


def ollama_events(told: bool) -> tuple[list[bytes], list[bytes], list[bytes]]:
    def line(text: str, **more: Any) -> bytes:
        return json.dumps({"model": "m", "message": {"role": "assistant", "content": text}, "done": False, **more}).encode() + b"\n"  # fmt: skip

    counts = {"prompt_eval_count": IN, "eval_count": OUT} if told else {}
    return [], [line(word) for word in WORDS], [line("", done=True, done_reason="stop", **counts)]


EVENTS = {
    "openai": openai_events, "anthropic": anthropic_events, "responses": responses_events, "ollama": ollama_events,
}  # fmt: skip
ARRIVED: dict[str, asyncio.Event] = {}
"""Set when a request whose client will leave has reached the upstream, by request id."""
FAILURES = {
    "openai": sse({"error": {"message": "broke", "type": "server_error", "code": None}}),
    "anthropic": sse({"type": "error", "error": {"type": "api_error", "message": "broke"}}, "error"),
    "responses": sse({"type": "error", "code": "server_error", "message": "broke", "param": None}, "error"),
    "ollama": b'{"error":"broke"}\n',
}


def whole(dialect: str, told: bool) -> dict[str, Any]:
    """Return a plain answer."""
    text = "".join(WORDS)
    if dialect == "openai":
        answer: dict[str, Any] = {"id": "c", "object": "chat.completion", "model": "m", "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}]}  # fmt: skip
        usage: dict[str, Any] = {"prompt_tokens": IN, "completion_tokens": OUT, "total_tokens": IN + OUT}
    elif dialect == "anthropic":
        answer = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": None}  # fmt: skip
        usage = {"input_tokens": IN, "output_tokens": OUT}
    elif dialect == "responses":
        content = [{"type": "output_text", "text": text, "annotations": []}]
        answer = {"id": "r", "object": "response", "status": "completed", "model": "m", "output": [{"id": "i", "type": "message", "role": "assistant", "status": "completed", "content": content}]}  # fmt: skip
        usage = {"input_tokens": IN, "output_tokens": OUT, "total_tokens": IN + OUT}
    else:
        answer = {"model": "m", "message": {"role": "assistant", "content": text}, "done": True, "done_reason": "stop"}
        return {**answer, **({"prompt_eval_count": IN, "eval_count": OUT} if told else {})}
    return {**answer, "usage": usage} if told else answer


def answer(request: ReceivedRequest) -> Answer:
    """Answer as the request's model says."""
    dialect, _, ending = request.json()["model"].partition("-")
    begin, words, end = EVENTS[dialect](told=ending != "silent")
    said = [*begin, *words]
    kind = "application/x-ndjson" if dialect == "ollama" else "text/event-stream"
    if ending in ("plain", "plainsilent"):
        return reply_json(whole(dialect, told=ending == "plain"))
    if ending == "refused":
        return reply_json({"error": {"message": "no", "type": "api_error"}}, 500)
    if ending == "limited":
        return reply_json({"error": {"message": "slow down", "type": "rate_limit_error"}}, 429)
    if ending in ("never", "leftbefore", "plainleft"):
        if (arrived := ARRIVED.get(request.header("x-request-id"))) is not None:
            arrived.set()
        return Stall()
    steps: dict[str, tuple[list[bytes], list[Step]]] = {
        "cut": (said, [Reset()]),
        "event": ([*said, FAILURES[dialect]], []),
        "stall": (said, [Stall()]),
        "leftmid": (said, [Stall()]),
        "begun": (begin, []),
    }
    events, after = steps.get(ending, ([*said, *end], []))
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n".encode()
    chunks: list[bytes | Step] = [b"%x\r\n%b\r\n" % (len(event), event) for event in events]
    tail: list[bytes | Step] = list(after) or [b"0\r\n\r\n"]
    return [head, *chunks, *tail]


def body_of(client: str, model: str, stream: bool) -> dict[str, Any]:
    """Return a request in the client's dialect."""
    turn = [{"role": "user", "content": "Say hello to the world."}]
    if client == "responses":
        return {"model": model, "stream": stream, "input": turn}
    return {"model": model, "stream": stream, "messages": turn, **({"max_tokens": 50} if client == "anthropic" else {})}


async def end(gateway: RunningGateway, client: str, model: str, request_id: str) -> None:
    """Send a request and see it to its end, or leave as its ending says."""
    ending = ENDINGS[model.partition("-")[2]]
    body, headers = body_of(client, model, ending.stream), {"x-request-id": request_id}
    if not ending.leaves:
        await gateway.post(PATHS[client], body, headers=headers)
    elif ending.leaves == "stream":
        async with gateway.session.post(gateway.url + PATHS[client], json=body, headers=headers) as response:
            seen = b""
            while b"world!" not in seen:
                piece = await response.content.readany()
                assert piece, seen
                seen += piece
            response.close()
    else:
        arrived = ARRIVED[request_id] = asyncio.Event()
        asking = asyncio.create_task(gateway.post(PATHS[client], body, headers=headers))
        await arrived.wait()
        asking.cancel()


def wrong(row: Row, client: str, model: str) -> str:
    """Return what of `row` is not as its ending must leave it, empty when all is right."""
    dialect, _, name = model.partition("-")
    ending = ENDINGS[name]
    counted = input_tokens(
        DIALECTS[NAMES[client]].parse_request(json.dumps(body_of(client, model, ending.stream)).encode())
    )
    begins = dialect == "anthropic" and name in ("cut", "event", "stall", "leftmid")  # message_start states the prompt
    prompt = {"told": IN, "none": 0, "counted": IN if begins else counted}[ending.prompt]
    completion = {"told": OUT, "none": 0, "counted": SAID_TOKENS}[ending.completion]
    expected = {
        "status": ending.status, "outcome": ending.outcome, "error_code": ending.error, "stream": ending.stream,
        "prompt_tokens": prompt, "completion_tokens": completion, "cost_nano_usd": prompt * 1_000 + completion * 2_000,
        "estimated": "counted" in (ending.prompt, ending.completion), "dialect": NAMES[client],
        "model_requested": model, "attempts": 0 if name == "unknown" else 1,
    }  # fmt: skip
    found = {key: getattr(row, key) for key in expected if key != "cost_nano_usd"}
    found["cost_nano_usd"] = None if row.cost_usd is None else int(row.cost_usd * 10**9)
    return "" if found == expected else f"{client} {model}: {found} != {expected}"


def config(url: str) -> str:
    """Return a configuration in which every model of every dialect has a route, and costs 1 USD in and 2 out."""
    return f"""
        ledger: sqlite:rows.db
        plugins: [{{timeouts: {{first_token: 3s, idle: 3s, total: 60s}}}}]
        providers:
          openai: {{dialect: openai_chat, base_url: {url}/v1, api_key: k}}
          anthropic: {{base_url: {url}, api_key: k}}
          responses: {{dialect: openai_responses, base_url: {url}/v1, api_key: k}}
          ollama: {{base_url: {url}, free: false}}
        routes:
          - {{name: openai, match: {{model: ["openai-[!u]*"]}}, targets: ["openai/*"], retry: {{attempts: 1}}}}
          - {{name: anthropic, match: {{model: ["anthropic-[!u]*"]}}, targets: ["anthropic/*"], retry: {{attempts: 1}}}}
          - {{name: responses, match: {{model: ["responses-[!u]*"]}}, targets: ["responses/*"], retry: {{attempts: 1}}}}
          - {{name: ollama, match: {{model: ["ollama-[!u]*"]}}, targets: ["ollama/*"], retry: {{attempts: 1}}}}
    """


PRICES = {"config/prices.yaml": '"*/*": {input: 1, output: 2}\n'}


async def rows_of(gateway: RunningGateway, at_most: int = 2000) -> Sequence[Row]:
    """Return every row, once every exchange has ended and its row is safe."""
    while gateway.core.live:
        await asyncio.sleep(0.01)
    await gateway.settled()
    ledger = gateway.core.snapshot.ledger
    assert ledger is not None
    await ledger.flush()
    return await ledger.rows(at_most=at_most)


__all__ = ["ENDINGS", "EVENTS", "PATHS", "PRICES", "answer", "body_of", "config", "end", "reply_bytes", "rows_of", "wrong"]  # fmt: skip
