"""A gateway with workflows, over an upstream that answers as a script says."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from gateway.testing import (
    Answer,
    ReceivedRequest,
    RunningGateway,
    ScriptedUpstream,
    reply_json,
    reply_sse,
    running_gateway,
)

PROMPTS = {
    "prompts/analyze.md": "You analyze.",
    "prompts/process.md": "You process.",
    "prompts/synthesize.md": "You synthesize.",
    "prompts/analysis.json": json.dumps(
        {"type": "object", "properties": {"intent": {"type": "string"}}, "required": ["intent"]}
    ),
    "prompts/process.json": json.dumps(
        {
            "type": "object",
            "properties": {"content": {"type": "string"}, "confidence": {"type": "number"}},
            "required": ["content", "confidence"],
        }
    ),
}
CHAIN = """
        story:
          kind: chain
          {more}
          steps:
            - {{name: analyze, model: small, prompt: prompts/analyze.md, temperature: 0.3, max_tokens: 100,
               output: prompts/analysis.json, gate: {{intent: {{min_length: 1}}}}}}
            - {{name: process, model: large, prompt: prompts/process.md, temperature: 0.7, max_tokens: 200,
               output: prompts/process.json, gate: {{content: {{min_length: 1}}, confidence: {{minimum: 0.5}}}}}}
            - {{name: synthesize, model: small, prompt: prompts/synthesize.md, temperature: 0.5, max_tokens: 300}}
"""
TEAM = """
        team:
          kind: orchestrator
          {more}
          coordinator: {{model: large, temperature: 0.1}}
          workers: {{model: small, at_most: 3, max_tokens: 50}}
          synthesizer: {{model: large, timeout: 30s}}
"""
CONFIG = """
{top}
plugins:
  - request_id
{plugins}
  - workflow:
      workflows:
{workflows}
providers: {{up: {{dialect: openai, base_url: "{url}/v1", api_key: k, free: true}}}}
routes: [{{name: all, match: {{model: [small, large]}}, targets: ["up/*"], retry: {{attempts: 1}}}}]
"""
ANALYSIS, WORK = '{"intent": "a story"}', '{"content": "once upon a time", "confidence": 0.9}'
STORY = {"analyze": ANALYSIS, "process": WORK, "synthesize": "The end."}
QUESTION: dict[str, Any] = {"model": "story", "messages": [{"role": "user", "content": "Tell me a story."}]}


def config(workflows: str, url: str, *, plugins: str = "", top: str = "", more: str = "") -> str:
    return CONFIG.format(workflows=workflows.format(more=more), url=url, plugins=plugins, top=top)


def said(request: ReceivedRequest, text: str, *, prompt: int = 10, completion: int = 5, finish: str = "stop") -> Answer:
    """Return `text` as the answer, plain or streamed as it was asked for."""
    body = request.json()
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    if not body.get("stream"):
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "message": message, "finish_reason": finish}
        return reply_json({"id": "c", "model": body["model"], "created": 1, "choices": [choice], "usage": usage})
    return reply_sse([*words(body, text), *ending(body, finish, usage)])


def words(body: Any, text: str) -> list[Any]:
    return [chunk(body, {"content": word}) for word in _pieces(text)]


def ending(body: Any, finish: str = "stop", usage: Any = None) -> list[Any]:
    told = [{**chunk(body), "choices": [], "usage": usage}] if usage else []
    return [chunk(body, {}, finish), *told, "[DONE]"]


def chunk(body: Any, delta: Mapping[str, Any] | None = None, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [choice]}


def _pieces(text: str) -> list[str]:
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


def step_of(request: ReceivedRequest) -> str:
    """Return which step a request is, by its prompt."""
    system = request.json()["messages"][0]["content"].partition("\n\n")[0]
    known = {"You analyze.": "analyze", "You process.": "process", "You synthesize.": "synthesize"}
    if system in known:
        return known[system]
    starts = {"You split": "coordinator", "You are one of": "worker", "Several workers": "synthesizer"}
    return next(name for start, name in starts.items() if system.startswith(start))


def by_step(answers: Mapping[str, str | Callable[[ReceivedRequest], Answer]]) -> Callable[[ReceivedRequest], Answer]:
    """Return a script that answers each step with its text, or as its function says."""

    def script(request: ReceivedRequest) -> Answer:
        answer = answers[step_of(request)]
        return said(request, answer) if isinstance(answer, str) else answer(request)

    return script


@dataclass(frozen=True, slots=True)
class Ran:
    gateway: RunningGateway
    upstream: ScriptedUpstream

    @property
    def asked(self) -> list[Any]:
        """What upstream was sent, in order."""
        return [request.json() for request in self.upstream.requests]

    async def rows(self) -> list[Any]:
        """Return the ledger's rows, once every exchange has ended."""
        await self.ended()
        ledger = self.gateway.core.snapshot.ledger
        assert ledger is not None
        await ledger.flush()
        return await ledger.rows()

    async def ended(self) -> None:
        """Return once nothing runs any more."""
        while self.gateway.core.live:
            await asyncio.sleep(0)
        await self.gateway.settled()

    @property
    def steps(self) -> list[str]:
        return [step_of(request) for request in self.upstream.requests]


@asynccontextmanager
async def running(
    script: Any,
    workflows: str = CHAIN,
    *,
    more: str = "",
    plugins: str = "",
    top: str = "",
    files: Mapping[str, str] | None = None,
    **options: Any,
) -> AsyncIterator[Ran]:
    async with ScriptedUpstream(script) as upstream:
        text = config(workflows, upstream.url, plugins=plugins, top=top, more=more)
        async with running_gateway(text, files={**PROMPTS, **(files or {})}, **options) as gateway:
            yield Ran(gateway, upstream)


def text_of(answer: Any) -> str:
    """Return the words of a plain chat completion."""
    text: str = answer.json()["choices"][0]["message"]["content"]
    return text


def streamed_text(body: bytes) -> str:
    return "".join(
        choice["delta"].get("content") or "" for event in streamed(body) for choice in event.get("choices", ())
    )


def streamed(body: bytes) -> list[Any]:
    return [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]
