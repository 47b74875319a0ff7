"""Four dialects at once: what each client asks, what each upstream says, and how each is told that it failed."""

from __future__ import annotations

import asyncio
import json
import selectors
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

from gateway.testing import ClientAnswer, ReceivedRequest, RunningGateway

NAMES = ("openai", "anthropic", "responses", "ollama")
PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages", "responses": "/v1/responses", "ollama": "/api/chat"}  # fmt: skip
DIALECTS = {"openai": "openai_chat", "anthropic": "anthropic", "responses": "openai_responses", "ollama": "ollama"}
TYPES = {name: "application/x-ndjson" if name == "ollama" else "text/event-stream" for name in NAMES}
TERMINATORS = {"openai": b"[DONE]", "anthropic": b"message_stop", "responses": b"response.completed", "ollama": b'"done":true'}  # fmt: skip
KEY = "key-of-the-upstream-0001"


def config(
    url: str, server: str = "{}", plugins: str = "access_log", retry: str = "{attempts: 1}", more: str = ""
) -> str:
    """Return a gateway before `url`: the model `to-DIALECT` is what an upstream of that dialect answers."""
    lines = [f"version: 1\nserver: {server}\nplugins: [{plugins}]\nproviders:"]
    for name in NAMES:
        base = url + ("/v1" if name in ("openai", "responses") else "")
        lines.append(f'  {name}_up: {{dialect: {DIALECTS[name]}, base_url: "{base}", api_key: {KEY}}}')
    lines.append("routes:")
    for name in NAMES:
        lines.append(
            f"  - {{name: {name}, match: {{model: to-{name}}}, targets: [{name}_up/real], retry: {retry}{more}}}"
        )
    return "\n".join(lines) + "\n"


def ask(client: str, target: str | None = None, stream: bool = True, text: str = "x") -> bytes:
    """Return the body with which a client of one dialect asks for an upstream of another, or of its own."""
    body: dict[str, Any] = {"model": f"to-{target or client}", "stream": stream}
    if client == "responses":
        return json.dumps({**body, "input": text}).encode()
    body["messages"] = [{"role": "user", "content": text}]
    return json.dumps({**body, "max_tokens": 50} if client == "anthropic" else body).encode()


def spoken_by(request: ReceivedRequest) -> str:
    """Return which dialect an upstream is asked in."""
    path = request.path.partition("?")[0]
    return next(name for name in NAMES if path == PATHS[name])


def stream_of(name: str, words: int = 12) -> list[bytes]:
    """Return the events of a whole streamed answer of `words` words, letters of more than one byte among them."""
    said = [f"wörd{number} ☃ " for number in range(words)]
    if name == "openai":
        head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "real"}
        deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}, *({"content": word} for word in said)]
        chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
        chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        chunks.append({**head, "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}})
        return [*(_sse(chunk) for chunk in chunks), b"data: [DONE]\n\n"]
    if name == "anthropic":
        message: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "model": "real", "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 7, "output_tokens": 1}}  # fmt: skip
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": message}, {"type": "ping"},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in said),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ]  # fmt: skip
        return [b"event: %b\n%b" % (event["type"].encode(), _sse(event)) for event in events]
    if name == "responses":
        item = {"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "".join(said), "annotations": []}]}  # fmt: skip
        done = {"id": "r", "object": "response", "created_at": 1, "model": "real", "status": "completed", "output": [item], "usage": {"input_tokens": 7, "output_tokens": 2, "total_tokens": 9}}  # fmt: skip
        steps: list[dict[str, Any]] = [
            {"type": "response.created", "response": {**done, "status": "in_progress", "output": [], "usage": None}},
            {"type": "response.output_item.added", "output_index": 0, "item": {**item, "status": "in_progress", "content": []}},
            {"type": "response.content_part.added", "item_id": "i", "output_index": 0, "content_index": 0, "part": {"type": "output_text", "text": "", "annotations": []}},
            *({"type": "response.output_text.delta", "item_id": "i", "output_index": 0, "content_index": 0, "delta": word} for word in said),
            {"type": "response.output_text.done", "item_id": "i", "output_index": 0, "content_index": 0, "text": "".join(said)},
            {"type": "response.output_item.done", "output_index": 0, "item": item},
            {"type": "response.completed", "response": done},
        ]  # fmt: skip
        return [
            b"event: %b\n%b" % (step["type"].encode(), _sse({**step, "sequence_number": n}))
            for n, step in enumerate(steps)
        ]
    parts = [{"message": {"role": "assistant", "content": word}, "done": False} for word in said]
    last = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "prompt_eval_count": 7, "eval_count": 2}  # fmt: skip
    return [_json({"model": "real", "created_at": "2026-01-01T00:00:00Z", **part}) + b"\n" for part in [*parts, last]]


def until_word(name: str, words: int = 1) -> list[bytes]:
    """Return a stream's events up to its `words`-th word."""
    events = stream_of(name)
    mark = f"wörd{words - 1} ".encode()
    return events[: next(at for at, event in enumerate(events) if mark in event) + 1]


def plain_of(name: str) -> dict[str, Any]:
    """Return a whole plain answer."""
    if name == "openai":
        return {"id": "x", "object": "chat.completion", "created": 1, "model": "real", "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}}  # fmt: skip
    if name == "anthropic":
        return {"id": "m", "type": "message", "role": "assistant", "model": "real", "content": [{"type": "text", "text": "hi"}], "stop_reason": "end_turn", "stop_sequence": None, "usage": {"input_tokens": 3, "output_tokens": 1}}  # fmt: skip
    if name == "responses":
        return {"id": "r", "object": "response", "created_at": 1, "status": "completed", "model": "real", "output": [{"type": "message", "id": "i", "role": "assistant", "status": "completed", "content": [{"type": "output_text", "text": "hi", "annotations": []}]}], "usage": {"input_tokens": 3, "output_tokens": 1, "total_tokens": 4}}  # fmt: skip
    return {"model": "real", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": "hi"}, "done": True, "done_reason": "stop", "prompt_eval_count": 3, "eval_count": 1}  # fmt: skip


def told(client: str, answer: ClientAnswer) -> tuple[int, str]:
    """Return the status of a refusal and what it is called: the code, or Anthropic's type; Ollama has neither.

    Holds that it is an object of the client's dialect, and that it says nothing of the upstream's address and key.
    """
    assert b"127.0.0.1" not in answer.body and KEY.encode() not in answer.body
    assert answer.headers["content-type"] == "application/json" and answer.headers["x-request-id"]
    return answer.status, error_name(client, answer.json())


def error_name(client: str, answer: Any) -> str:
    """Return what an error object is called in its dialect; see `told`."""
    if client == "ollama":
        assert isinstance(answer["error"], str) and answer["error"] and len(answer["error"]) <= 500
        return ""
    if client == "anthropic":
        assert answer["type"] == "error" and answer["error"]["message"]
        return str(answer["error"]["type"])
    error = answer["response"]["error"] if answer.get("type") == "response.failed" else answer["error"]
    assert error["message"] and len(error["message"]) <= 500
    return str(error["code"])


def error_at_the_end(client: str, body: bytes) -> str:
    """Return what the last event of a stream calls its failure; holds that no success terminator stands in it."""
    assert TERMINATORS[client] not in body
    if client == "ollama":
        return error_name(client, json.loads(body.splitlines()[-1]))
    last = [event for event in body.split(b"\n\n") if event.strip()][-1]
    if client == "anthropic":
        assert last.startswith(b"event: error\n")
    return error_name(client, json.loads(last[last.index(b"data: ") + 6 :]))


def code(client: str, openai: str, anthropic: str) -> str:
    """Return what a client of `client` is told, as `told` and `error_at_the_end` return it."""
    return {"anthropic": anthropic, "ollama": ""}.get(client, openai)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def quiet(gateway: RunningGateway) -> None:
    """Wait until no exchange runs and all have finished."""
    async with asyncio.timeout(20):
        while gateway.core.live:
            await asyncio.sleep(0)
    await gateway.settled()


class HurriedLoop(asyncio.SelectorEventLoop):
    """A loop on which time passes `SPEED` times as fast, so that a minute of silence takes half a second."""

    SPEED = 120.0

    def __init__(self) -> None:
        self._began = time.monotonic()
        super().__init__(_Hurried(self.SPEED))

    def time(self) -> float:
        return self._began + (time.monotonic() - self._began) * self.SPEED


class _Hurried(selectors.DefaultSelector):
    def __init__(self, speed: float) -> None:
        super().__init__()
        self._speed = speed

    def select(self, timeout: float | None = None) -> Any:
        return super().select(None if timeout is None else timeout / self._speed)


def hurried(main: Callable[[], Awaitable[None]]) -> None:
    """Run `main` where a minute takes half a second."""

    async def run() -> None:
        async with asyncio.timeout(600):
            await main()

    with asyncio.Runner(loop_factory=HurriedLoop) as runner:
        runner.run(run())


class LoopClock:
    """The clock that goes with `HurriedLoop`."""

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        return time.time()


def batches(items: list[Any], size: int) -> Iterator[list[Any]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _sse(value: Any) -> bytes:
    return b"data: %b\n\n" % _json(value)
