"""`use: file.py:graph`: a LangGraph graph of the operator's own, whose nodes ask models through the gateway.

A node finds what it needs in `config["configurable"]`: `ask` and `stream` (see `Asker`), `request_id` and `principal`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Any

import msgspec

from gateway.plugin import (
    BadRequest,
    ConfigError,
    Event,
    Image,
    InternalError,
    Message,
    Refusal,
    Start,
    Stop,
    Text,
    TextDelta,
    Usage,
)  # fmt: skip

from .gates import Output
from .graph import Graph, Keeper
from .run import Run
from .steps import Step

WAITING = 16
"""How many events may wait for a client that reads slowly before `stream` waits too."""
_ROLES = {"human": "user", "ai": "assistant", "system": "system", "developer": "system"}


class Asker:
    """What a node asks models with, as the caller would: under its request id, its budget and its deadline."""

    def __init__(self, run: Run, told: asyncio.Queue[Any]) -> None:
        self._run, self._told = run, told
        self.stop = Stop("stop")
        self.has_told = False

    async def ask(
        self,
        model: str,
        messages: str | Sequence[Any],
        *,
        step: str = "",
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout_s: float | None = None,
        schema: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the model's answer as text; with a JSON Schema as `schema`, the object, which fits it.

        `messages` is the user's text, or a list of {"role", "content"} or of LangChain's messages. Raises:
        GatewayError, whose message names `step` (the model where that is left out).
        """
        asked = self._step(model, step, temperature, max_tokens, timeout_s, schema)
        said = await self._run.ask(asked, messages_of(messages))
        return said if schema is None else msgspec.json.decode(said)

    async def stream(
        self,
        model: str,
        messages: str | Sequence[Any],
        *,
        step: str = "",
        temperature: float | None = None,
        max_tokens: int | None = None,
        timeout_s: float | None = None,
    ) -> str:
        """Ask as `ask` does, and let the client have the words as they come: they are the answer, or the next part of
        it. Return them."""
        words = []
        asked = self._step(model, step, temperature, max_tokens, timeout_s, None)
        async with aclosing(self._run.answer(asked, messages_of(messages))) as events:
            async for event in events:
                if isinstance(event, Stop):
                    self.stop = event
                elif not isinstance(event, Start | Usage):
                    if isinstance(event, TextDelta):
                        words.append(event.text)
                    self.has_told = True
                    await self._told.put(event)
        return "".join(words)

    def _step(self, model: str, name: str, temperature: Any, max_tokens: Any, timeout_s: Any, schema: Any) -> Step:
        try:
            output = None if schema is None else Output(json.dumps(schema), {}, name or model)
        except ConfigError as error:
            raise InternalError(f'step "{name or model}": {error}') from error
        return Step(
            name=name or model,
            model=model,
            temperature=temperature,
            max_tokens=max_tokens,
            timeout_s=timeout_s,
            output=output,
        )


class Own:
    """A graph of the operator's own. What its nodes `stream` is the answer; else the last message of its state is."""

    def __init__(self, graph: Any, keeper: Keeper | None) -> None:
        """`graph` is compiled, or still to be."""
        self._graph = Graph(graph, keeper)

    async def events(self, run: Run) -> AsyncGenerator[Event, None]:
        """Yield the answer. Raises: GatewayError; whatever a node raises."""
        told: asyncio.Queue[Any] = asyncio.Queue(WAITING)
        asker = Asker(run, told)
        driven = asyncio.create_task(self._drive(run, asker))
        driven.add_done_callback(lambda _: told.put_nowait(None) if told.empty() else None)
        try:
            yield run.start()
            while not (driven.done() and told.empty()):
                if (event := await told.get()) is not None:
                    yield event
            last = await driven
        finally:
            driven.cancel()
            await asyncio.wait([driven])
        if not asker.has_told:
            yield TextDelta(final_words(last, run.name))
        yield run.usage
        yield asker.stop

    async def _drive(self, run: Run, asker: Asker) -> Mapping[str, Any]:
        principal = run.exchange.principal
        return await self._graph.run(
            run,
            {"messages": [plain(message) for message in run.conversation]},
            ask=asker.ask,
            stream=asker.stream,
            request_id=run.exchange.id,
            principal=principal.name if principal is not None else "",
        )


def plain(message: Message) -> dict[str, Any]:
    """Return a message as {"role", "content"}, which LangChain and everybody else understands.

    Raises: BadRequest for what has no place there.
    """
    role = "system" if message.role == "developer" else message.role
    parts: list[dict[str, Any]] = []
    for part in message.parts:
        match part:
            case Text() | Refusal():
                parts.append({"type": "text", "text": part.text})
            case Image(url=str(url)):
                parts.append({"type": "image_url", "image_url": {"url": url}})
            case Image(data=str(data), media_type=kind):
                parts.append({"type": "image_url", "image_url": {"url": f"data:{kind};base64,{data}"}})
            case _:
                raise BadRequest("this workflow takes text and images only", param="messages")
    if all(part["type"] == "text" for part in parts):
        return {"role": role, "content": "\n\n".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def messages_of(given: str | Sequence[Any]) -> list[Message]:
    """Return what a node wrote as the gateway's messages. Raises: InternalError."""
    if isinstance(given, str):
        return [Message(role="user", parts=(Text(text=given),))]
    found = []
    for one in given:
        role, content = _role_and_content(one)
        role = _ROLES.get(role, role)
        if role not in ("system", "user", "assistant"):
            raise InternalError(
                f'a node asks with a message of the role "{role}"; there are system, user and assistant'
            )
        found.append(Message(role=role, parts=tuple(_parts(content))))  # type: ignore[arg-type]  # one of the three
    return found


def _role_and_content(message: Any) -> tuple[str, Any]:
    if isinstance(message, Mapping):
        return str(message.get("role", message.get("type", ""))), message.get("content", "")
    if isinstance(message, tuple) and len(message) == 2:
        return str(message[0]), message[1]
    return str(getattr(message, "type", type(message).__name__)), getattr(message, "content", "")


def _parts(content: Any) -> list[Text | Image]:
    if isinstance(content, str):
        return [Text(text=content)]
    found: list[Text | Image] = []
    for part in content if isinstance(content, list) else ():
        if isinstance(part, str):
            found.append(Text(text=part))
        elif part.get("type") == "text":
            found.append(Text(text=part.get("text", "")))
        elif part.get("type") == "image_url":
            url = part["image_url"]
            found.append(Image(url=url if isinstance(url, str) else url.get("url", "")))
        else:
            raise InternalError(
                f'a node asks with content of the type "{part.get("type")}"; there are text and image_url'
            )
    return found


def final_words(state: Any, name: str) -> str:
    """Return the text of the state's last message. Raises: InternalError when it is nobody's answer."""
    messages = state.get("messages") if isinstance(state, Mapping) else None
    if isinstance(messages, list) and messages:
        role, content = _role_and_content(messages[-1])
        if _ROLES.get(role, role) == "assistant":
            return "".join(part.text for part in _parts(content) if isinstance(part, Text))
    raise InternalError(f'the graph of "{name}" ended without an answer: its last message is not the assistant\'s')
