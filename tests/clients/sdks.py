"""The official packages as clients, each asked the same way and heard the same way.

`ask` takes the package's own messages (made by `user`, `echoed` and `results`) and neutral words for everything else;
it uses `create` for a plain answer and the package's own accumulator for a stream. `Got.native` is what the package
made of the answer; `echoed` sends it back as its documentation tells users to.
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from typing import Any, Protocol

from anthropic import AsyncAnthropic
from anthropic import DefaultAsyncHttpxClient as AnthropicHttpxClient
from ollama import AsyncClient
from openai import AsyncOpenAI, ContentFilterFinishReasonError, DefaultAsyncHttpxClient, LengthFinishReasonError

from tests.clients.model import Dialect

KEY = "sk-any-client-key"
ASKED = "asked-model"
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Everything is on loopback; a context of its own for each client would cost 40 ms of reading certificates."""


@dataclass(frozen=True, slots=True)
class Tool:
    name: str
    schema: dict[str, Any]
    description: str = "A tool."


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool answered. `call` is the client's (id, name, arguments); `image` is base64 of a PNG."""

    call: tuple[str, str, dict[str, Any]]
    text: str
    image: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class Got:
    """An answer in neutral words. `usage` is (prompt, completion, cached, reasoning), totals; None where the dialect
    has no number for it."""

    text: str
    thinking: str
    calls: list[tuple[str, str, dict[str, Any]]]
    stop: str
    usage: tuple[int | None, ...]
    native: Any
    refusal: str = ""
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a client wants besides its messages. `choice` is auto, none, required or a tool's name."""

    stream: bool = False
    system: str = ""
    tools: tuple[Tool, ...] = ()
    choice: str = ""
    schema: dict[str, Any] | None = None
    effort: str = ""
    max_tokens: int = 900
    more: dict[str, Any] = field(default_factory=dict)


class Sdk(Protocol):
    name: Dialect

    def client(self, url: str) -> Any: ...

    def user(self, text: str, image: str = "") -> list[Any]: ...

    def echoed(self, got: Got) -> list[Any]: ...

    def results(self, results: list[Result]) -> list[Any]: ...

    async def ask(self, url: str, turns: list[Any], ask: Ask) -> Got: ...


class Chat:
    name: Dialect = "C"

    def client(self, url: str) -> AsyncOpenAI:
        return AsyncOpenAI(
            base_url=f"{url}/v1", api_key=KEY, max_retries=0, http_client=DefaultAsyncHttpxClient(verify=NO_TLS)
        )

    def user(self, text: str, image: str = "") -> list[Any]:
        if not image:
            return [{"role": "user", "content": text}]
        url = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{image}"}}
        return [{"role": "user", "content": [{"type": "text", "text": text}, url]}]

    def echoed(self, got: Got) -> list[Any]:
        return [got.native.to_dict()]

    def results(self, results: list[Result]) -> list[Any]:
        """Chat's tool messages hold text only: a picture goes in a user message after them."""
        out: list[Any] = [{"role": "tool", "tool_call_id": one.call[0], "content": one.text} for one in results]
        for one in results:
            if one.image:
                out += self.user(f"the picture of {one.call[0]}", one.image)
        return out

    async def ask(self, url: str, turns: list[Any], ask: Ask) -> Got:
        body: dict[str, Any] = {"model": ASKED, "max_completion_tokens": ask.max_tokens, **ask.more}
        body["messages"] = [*([{"role": "system", "content": ask.system}] if ask.system else []), *turns]
        if ask.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "function": {"name": t.name, "description": t.description, "parameters": t.schema},
                }
                for t in ask.tools
            ]
        if ask.choice:
            named = {"type": "function", "function": {"name": ask.choice}}
            body["tool_choice"] = ask.choice if ask.choice in {"auto", "none", "required"} else named
        if ask.schema:
            body["response_format"] = {
                "type": "json_schema",
                "json_schema": {"name": "shape", "schema": ask.schema, "strict": True},
            }
        if ask.effort:
            body["reasoning_effort"] = ask.effort
        async with self.client(url) as client:
            if ask.stream:
                completion = await self._streamed(client, body)
            else:
                completion = await client.chat.completions.create(**body)
        choice, usage = completion.choices[0], completion.usage
        message = choice.message
        return Got(
            text=message.content or "",
            thinking=getattr(message, "reasoning_content", None) or "",
            calls=[(c.id, c.function.name, json.loads(c.function.arguments)) for c in message.tool_calls or ()],
            stop=choice.finish_reason,
            usage=(
                usage.prompt_tokens,
                usage.completion_tokens,
                usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0,
                usage.completion_tokens_details.reasoning_tokens if usage.completion_tokens_details else 0,
            ),
            native=message,
            refusal=message.refusal or "",
        )

    async def _streamed(self, client: AsyncOpenAI, body: dict[str, Any]) -> Any:
        """Use `chat.completions.stream`, which raises for the two ends that leave an answer unfinished."""
        async with client.chat.completions.stream(**body, stream_options={"include_usage": True}) as stream:
            try:
                async for _ in stream:
                    pass
            except (LengthFinishReasonError, ContentFilterFinishReasonError):
                async for _ in stream._raw_stream:  # the chunk with the usage
                    stream._state.handle_chunk(_)
            return stream.current_completion_snapshot


class Responses:
    name: Dialect = "R"

    def client(self, url: str) -> AsyncOpenAI:
        return AsyncOpenAI(
            base_url=f"{url}/v1", api_key=KEY, max_retries=0, http_client=DefaultAsyncHttpxClient(verify=NO_TLS)
        )

    def user(self, text: str, image: str = "") -> list[Any]:
        if not image:
            return [{"role": "user", "content": text}]
        url = {"type": "input_image", "image_url": f"data:image/png;base64,{image}", "detail": "auto"}
        return [{"role": "user", "content": [{"type": "input_text", "text": text}, url]}]

    def echoed(self, got: Got) -> list[Any]:
        return [item.to_dict() for item in got.native.output]

    def results(self, results: list[Result]) -> list[Any]:
        def output(one: Result) -> Any:
            if not one.image:
                return one.text
            url = {"type": "input_image", "image_url": f"data:image/png;base64,{one.image}", "detail": "auto"}
            return [{"type": "input_text", "text": one.text}, url]

        return [{"type": "function_call_output", "call_id": one.call[0], "output": output(one)} for one in results]

    async def ask(self, url: str, turns: list[Any], ask: Ask) -> Got:
        body: dict[str, Any] = {"model": ASKED, "max_output_tokens": ask.max_tokens, "input": turns, "store": False}
        body |= ask.more
        if ask.system:
            body["instructions"] = ask.system
        if ask.tools:
            body["tools"] = [
                {
                    "type": "function",
                    "name": t.name,
                    "description": t.description,
                    "parameters": t.schema,
                    "strict": False,
                }
                for t in ask.tools
            ]
        if ask.choice:
            named = {"type": "function", "name": ask.choice}
            body["tool_choice"] = ask.choice if ask.choice in {"auto", "none", "required"} else named
        if ask.schema:
            body["text"] = {"format": {"type": "json_schema", "name": "shape", "schema": ask.schema, "strict": True}}
        if ask.effort:
            body |= {"reasoning": {"effort": ask.effort}, "include": ["reasoning.encrypted_content"]}
        kinds: list[str] = []
        async with self.client(url) as client:
            if ask.stream:
                async with client.responses.stream(**body) as stream:
                    response: Any = None
                    async for event in stream:
                        kinds.append(event.type)
                        if event.type in {"response.completed", "response.incomplete"}:
                            response = event.response
            else:
                response = await client.responses.create(**body)
        parts = [part for item in response.output if item.type == "message" for part in item.content]
        thoughts = [item for item in response.output if item.type == "reasoning"]
        calls = [item for item in response.output if item.type == "function_call"]
        usage = response.usage
        incomplete = response.incomplete_details.reason if response.incomplete_details else ""
        return Got(
            text="".join(part.text for part in parts if part.type == "output_text"),
            thinking="".join(
                part.text for item in thoughts for part in (item.summary or getattr(item, "content", None) or ())
            ),
            calls=[(item.call_id, item.name, json.loads(item.arguments)) for item in calls],
            stop=incomplete or ("tool_calls" if calls else response.status),
            usage=(
                usage.input_tokens,
                usage.output_tokens,
                usage.input_tokens_details.cached_tokens,
                usage.output_tokens_details.reasoning_tokens,
            ),
            native=response,
            refusal="".join(part.refusal for part in parts if part.type == "refusal"),
            kinds=tuple(kinds),
        )


class Messages:
    name: Dialect = "M"

    def client(self, url: str) -> AsyncAnthropic:
        return AsyncAnthropic(base_url=url, api_key=KEY, max_retries=0, http_client=AnthropicHttpxClient(verify=NO_TLS))

    def user(self, text: str, image: str = "") -> list[Any]:
        if not image:
            return [{"role": "user", "content": text}]
        return [{"role": "user", "content": [{"type": "text", "text": text}, self._picture(image)]}]

    def echoed(self, got: Got) -> list[Any]:
        return [{"role": "assistant", "content": got.native.content}]

    def results(self, results: list[Result]) -> list[Any]:
        blocks = []
        for one in results:
            content: list[Any] = [{"type": "text", "text": one.text}]
            if one.image:
                content.append(self._picture(one.image))
            block = {"type": "tool_result", "tool_use_id": one.call[0], "content": content}
            blocks.append({**block, "is_error": True} if one.is_error else block)
        return [{"role": "user", "content": blocks}]

    def _picture(self, data: str) -> dict[str, Any]:
        return {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}}

    async def ask(self, url: str, turns: list[Any], ask: Ask) -> Got:
        body: dict[str, Any] = {"model": ASKED, "max_tokens": ask.max_tokens, "messages": turns, **ask.more}
        if ask.system:
            body["system"] = ask.system
        if ask.tools:
            body["tools"] = [
                {"name": t.name, "description": t.description, "input_schema": t.schema} for t in ask.tools
            ]
        if ask.choice:
            named = {"type": "tool", "name": ask.choice}
            words = {"auto": {"type": "auto"}, "none": {"type": "none"}, "required": {"type": "any"}}
            body["tool_choice"] = words.get(ask.choice, named)
        if ask.schema:
            body["output_config"] = {"format": {"type": "json_schema", "schema": ask.schema}}
        if ask.effort:
            body["thinking"] = {"type": "adaptive"}
            body["output_config"] = {**body.get("output_config", {}), "effort": ask.effort}
        async with self.client(url) as client:
            message: Any
            if ask.stream:
                async with client.messages.stream(**body) as stream:
                    message = await stream.get_final_message()
            else:
                message = await client.messages.create(**body)
        usage = message.usage
        cached = usage.cache_read_input_tokens or 0
        details = usage.output_tokens_details
        return Got(
            text="".join(block.text for block in message.content if block.type == "text"),
            thinking="".join(block.thinking for block in message.content if block.type == "thinking"),
            calls=[(block.id, block.name, block.input) for block in message.content if block.type == "tool_use"],
            stop=message.stop_reason,
            usage=(
                usage.input_tokens + cached + (usage.cache_creation_input_tokens or 0),
                usage.output_tokens,
                cached,
                details.thinking_tokens if details else 0,
            ),
            native=message,
        )


class Ollama:
    name: Dialect = "O"

    def client(self, url: str) -> AsyncClient:
        return AsyncClient(host=url, verify=NO_TLS)

    def user(self, text: str, image: str = "") -> list[Any]:
        return [{"role": "user", "content": text, **({"images": [image]} if image else {})}]

    def echoed(self, got: Got) -> list[Any]:
        return [got.native]

    def results(self, results: list[Result]) -> list[Any]:
        return [
            {
                "role": "tool",
                "tool_name": one.call[1],
                "content": one.text,
                **({"images": [one.image]} if one.image else {}),
            }
            for one in results
        ]

    async def ask(self, url: str, turns: list[Any], ask: Ask) -> Got:
        body: dict[str, Any] = {"model": ASKED, "options": {"num_predict": ask.max_tokens}, **ask.more}
        body["messages"] = [*([{"role": "system", "content": ask.system}] if ask.system else []), *turns]
        if ask.tools:
            body["tools"] = [
                {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.schema}}
                for t in ask.tools
            ]
        if ask.schema:
            body["format"] = ask.schema
        if ask.effort:
            body["think"] = ask.effort
        client = self.client(url)
        if ask.stream:
            lines = [line async for line in await client.chat(**body, stream=True)]
        else:
            lines = [await client.chat(**body, stream=False)]
        end = lines[-1]
        assert end.done
        message = lines[0].message.model_copy(
            update={
                "content": "".join(line.message.content or "" for line in lines),
                "thinking": "".join(line.message.thinking or "" for line in lines) or None,
                "tool_calls": [call for line in lines for call in line.message.tool_calls or ()] or None,
            }
        )
        return Got(
            text=message.content or "",
            thinking=message.thinking or "",
            calls=[("", c.function.name, dict(c.function.arguments)) for c in message.tool_calls or ()],
            stop=end.done_reason or "",
            usage=(end.prompt_eval_count, end.eval_count, None, None),
            native=message,
        )


SDKS: dict[Dialect, Sdk] = {sdk.name: sdk for sdk in (Chat(), Messages(), Responses(), Ollama())}
