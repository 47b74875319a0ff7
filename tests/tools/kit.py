"""A model that is scripted in turns, and a gateway that runs tools for it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.testing import (
    Answer,
    Gate,
    ReceivedRequest,
    RunningGateway,
    ScriptedUpstream,
    reply_json,
    reply_sse,
    running_gateway,
)  # fmt: skip

CONFIG = """
version: 1
{top}
plugins: [{before}{{tools: {options}}}{after}]
providers: {{up: {{dialect: openai_chat, base_url: "{url}/v1", api_key: k, free: true}}}}
routes: [{{name: all, targets: ["up/*"], retry: {{attempts: 1}}}}]
"""
ADD = '''
    def add(a: int, b: int = 1) -> int:
        """Add two numbers."""
        return a + b

    def shout(text: str) -> str:
        """Say it loudly."""
        return text.upper()

    def fail(why: str = "no reason") -> str:
        """Fail."""
        raise ValueError(why)
'''
PYTHON_TOOLS = '{tools: [{python: "tools.py:add"}, {python: "tools.py:shout"}, {python: "tools.py:fail"}]}'
USAGE = {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12}


@dataclass(frozen=True)
class Turn:
    """What the model says when it is asked: text, then calls as (name, arguments text)."""

    text: str = ""
    calls: Sequence[tuple[str, str]] = ()
    finish: str = ""
    gate: Gate | None = None

    def answer(self, request: ReceivedRequest, number: int) -> Answer:
        """Return it as OpenAI's chat says it, plain or as the stream that was asked for."""
        calls = [
            {"id": f"call_{number}_{at}", "type": "function", "function": {"name": name, "arguments": arguments}}
            for at, (name, arguments) in enumerate(self.calls)
        ]
        finish = self.finish or ("tool_calls" if calls else "stop")
        head = {"id": f"chatcmpl-{number}", "created": 1, "model": "m"}
        if not request.json().get("stream"):
            message = {"role": "assistant", "content": self.text or None, **({"tool_calls": calls} if calls else {})}
            choice = {"index": 0, "message": message, "finish_reason": finish}
            return reply_json({**head, "object": "chat.completion", "choices": [choice], "usage": USAGE})

        def chunk(delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
            choice = {"index": 0, "delta": delta, "finish_reason": reason}
            return {**head, "object": "chat.completion.chunk", "choices": [choice]}

        words = [chunk({"content": word}) for word in self.text.split("|") if word]
        events: list[Any] = [chunk({"role": "assistant", "content": ""}), *words]
        if self.gate is not None:
            events.append(self.gate)
        for at, call in enumerate(calls):
            function: dict[str, str] = call["function"]  # type: ignore[assignment]  # the value that is no text
            begun = {**call, "index": at, "function": {"name": function["name"], "arguments": ""}}
            rest = {"index": at, "function": {"arguments": function["arguments"]}}
            events += [chunk({"tool_calls": [begun]}), chunk({"tool_calls": [rest]})]
        events += [chunk({}, finish), {**head, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}]
        return reply_sse([*events, "[DONE]"])


class Model:
    """A script that plays turns in order, the last one again and again; an answer stands for itself."""

    def __init__(self, *turns: Turn | Answer) -> None:
        self._turns = turns
        self._asked = 0

    def __call__(self, request: ReceivedRequest) -> Answer:
        turn = self._turns[min(self._asked, len(self._turns) - 1)]
        self._asked += 1
        return turn.answer(request, self._asked) if isinstance(turn, Turn) else turn


def call(name: str, **arguments: Any) -> tuple[str, str]:
    return name, json.dumps(arguments)


@asynccontextmanager
async def running(
    model: Model | None = None,
    options: str = PYTHON_TOOLS,
    *,
    before: str = "",
    after: str = "",
    top: str = "",
    files: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
) -> AsyncIterator[tuple[RunningGateway, ScriptedUpstream]]:
    """Run a gateway with the tools plugin in front of a scripted model."""
    async with ScriptedUpstream(model or Model(Turn("hello"))) as upstream:
        config = CONFIG.format(url=upstream.url, options=options, before=before, after=after, top=top)
        files = {"tools.py": ADD, **(files or {})}
        async with running_gateway(config, files=files, environ=environ, log_level="debug") as gateway:
            yield gateway, upstream


def asked(text: str = "please", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], **more}


async def chat(gateway: RunningGateway, text: str = "please", **more: Any) -> Any:
    """Ask by OpenAI's chat and return the answer's JSON."""
    answer = await gateway.post("/v1/chat/completions", asked(text, **more))
    assert answer.status == 200, answer.body
    return answer.json()


async def streamed(gateway: RunningGateway, **more: Any) -> list[dict[str, Any]]:
    """Ask by OpenAI's chat for a stream and return its chunks; it must be whole."""
    answer = await gateway.post("/v1/chat/completions", asked(stream=True, **more))
    assert answer.status == 200, answer.body
    lines = [line[6:] for line in answer.body.decode().splitlines() if line.startswith("data: ")]
    assert lines[-1] == "[DONE]", answer.body
    return [json.loads(line) for line in lines[:-1]]


def words(chunks: Sequence[Mapping[str, Any]]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


def results(request: ReceivedRequest) -> list[str]:
    """Return what the tools answered, as the model is told it."""
    return [message["content"] for message in request.json()["messages"] if message["role"] == "tool"]


def offered(request: ReceivedRequest) -> list[str]:
    return [tool["function"]["name"] for tool in request.json().get("tools", ())]


async def executed(
    gateway: RunningGateway, name: str, headers: Mapping[str, str] | None = None, **arguments: Any
) -> Any:
    answer = await gateway.post("/v1/tools/execute", {"name": name, "arguments": arguments}, headers=headers)
    assert answer.status == 200, answer.body
    return answer.json()


def work(gateway: RunningGateway) -> list[tuple[str, str]]:
    """Return the calls that were noted as done, each with how it ended, as the log tells them."""
    return [(line["tool"], line["outcome"]) for line in gateway.log if line["event"] == "tool_called"]
