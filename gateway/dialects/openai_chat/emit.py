"""Writing a chat stream for a client.

Every chunk has the same id, time and model (B01). There is one finish chunk (B07), then the usage chunk when the client
asked for it (B08), then `[DONE]`. Lists inside a delta carry an `index`: the official package's accumulator needs one.
"""

from __future__ import annotations

from typing import Any

from gateway.chat import Event, Failure, Raw, Reasoning, ReasoningDelta, Start, Stop, TextDelta, ToolCallDelta, Usage
from gateway.dialects.freeform import custom_names, unwrapped
from gateway.dialects.json import decode_event, encode
from gateway.dialects.names import original_names
from gateway.dialects.openai_chat.answer import (
    NAME,
    chat_annotations,
    finish_of,
    refusal_text,
    refused_without_words,
    vendor_extra,
)
from gateway.dialects.openai_chat.counts import chat_usage
from gateway.dialects.openai_chat.failure import render_error_event
from gateway.dialects.openai_chat.reply import is_legacy
from gateway.dialects.openai_chat.thinking import block_of
from gateway.dialects.protocol import AnswerContext
from gateway.dialects.sse import event_fields, sse
from gateway.errors import GatewayError, UpstreamError


class _Call:
    __slots__ = ("arguments", "custom", "id", "index", "name", "wrapped")

    def __init__(self, index: int, delta: ToolCallDelta, name: str, custom: bool) -> None:
        self.index = index
        self.id, self.name = delta.id, name
        self.custom, self.wrapped = delta.custom or custom, not delta.custom
        self.arguments: list[str] = []


class ChatStreamRenderer:
    """One per stream."""

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        request = context.request
        self._own = request is not None and request.dialect == NAME
        self._with_usage = self._own and request is not None and request.include_usage
        self._names, self._custom = original_names(request), custom_names(request)
        self._legacy = is_legacy(context)
        self._head: dict[str, Any] = {}
        self._calls: dict[int, _Call] = {}
        self._length = 0
        self._cited = (0, 0)
        self._refused = self._stopped = self._failed = False
        self._annotations: list[dict[str, Any]] = []
        self._thoughts: dict[int, list[str]] = {}
        self._carried = 0
        self._usage: Usage | None = None

    def render(self, event: Event) -> bytes:
        """Return the chunks of one event, possibly none."""
        if self._failed or (self._stopped and not isinstance(event, Usage | Failure)):
            return b""
        match event:
            case TextDelta():
                return self._text(event)
            case ReasoningDelta():
                return self._reasoning(event)
            case ToolCallDelta():
                return self._call(event)
            case Start():
                return self._start(event)
            case Usage():
                self._usage = event
            case Stop():
                return self._stop(event)
            case Failure():
                return self._fail(UpstreamError("error_event", event.message, status=event.status, code=event.code))
            case Raw() if event.dialect == NAME:
                return self._raw(event)
        return b""

    def end(self, duration_ns: int = 0) -> bytes:
        """Return what is still due, and `[DONE]`."""
        if self._failed:
            return b""
        out = b"" if self._stopped else self._stop(Stop("stop"))
        if self._with_usage:
            usage = chat_usage(self._usage or Usage(estimated=True))
            out += sse(encode({**self._head, "choices": [], "usage": usage}))
        self._failed = True
        return out + b"data: [DONE]\n\n"

    def fail(self, error: GatewayError, request_id: str) -> bytes:
        """Return the error event; nothing may follow, and no `[DONE]` will."""
        return b"" if self._failed else self._fail(error)

    def _fail(self, error: GatewayError) -> bytes:
        self._failed = True
        return render_error_event(error)

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        start = b"" if self._head else self._start(Start())
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        body = {**self._head, "choices": [choice]}
        if self._with_usage:
            body["usage"] = None
        return start + sse(encode(body))

    def _start(self, event: Start) -> bytes:
        if self._head:
            return b""
        context = self._context
        self._head = {
            "id": event.id if event.id.startswith("chatcmpl") else f"chatcmpl-{context.id}",
            "object": "chat.completion.chunk",
            "created": event.created_s or int(context.now_s),
            "model": context.model or event.model,
        }
        return self._chunk({"role": "assistant", "content": ""})

    def _raw(self, event: Raw) -> bytes:
        """Return a chunk of the same dialect with this stream's id, time and model (W07)."""
        chunk = decode_event(event_fields(event.data)[1])
        if chunk is None:
            return b""
        start = b"" if self._head else self._start(Start())
        return start + sse(encode({**chunk, **self._head}))

    def _text(self, event: TextDelta) -> bytes:
        if not event.refusal:
            self._length += len(event.text)
        if event.annotations:
            # A citation may come with its text or after it: it cites what came since the one before.
            if event.cited:
                self._cited = (max(0, self._length - event.cited), self._length)
            elif self._cited[1] < self._length:
                self._cited = (self._cited[1], self._length)
            self._annotations += chat_annotations(event.annotations, *self._cited)
        if not event.text:
            return b""
        self._refused = self._refused or event.refusal
        return self._chunk({"refusal" if event.refusal else "content": event.text})

    def _reasoning(self, event: ReasoningDelta) -> bytes:
        texts = self._thoughts.setdefault(event.block, [])
        texts.append(event.text)
        out = self._chunk({"reasoning_content": event.text}) if event.text else b""
        if event.signature is not None or event.encrypted is not None:
            block = block_of(
                Reasoning(
                    text="".join(texts),
                    signature=event.signature,
                    encrypted=event.encrypted,
                    redacted=event.redacted,
                    id=event.id,
                    origin=event.origin,
                )
            )
            out += self._chunk({"thinking_blocks": [{"index": self._carried, **(block or {})}]})
            self._carried += 1
        return out

    def _call(self, event: ToolCallDelta) -> bytes:
        call = self._calls.get(event.index)
        if call is None:
            name = self._names.get(event.name, event.name)
            call = _Call(len(self._calls), event, name, name in self._custom)
            self._calls[event.index] = call
            call.arguments.append(event.arguments)
            if call.custom:
                return b""
            if self._legacy:
                return self._chunk({"function_call": {"name": name, "arguments": event.arguments}})
            function = {"name": name, "arguments": event.arguments}
            piece = {"index": call.index, "id": call.id, "type": "function", "function": function}
            return self._chunk({"tool_calls": [{**piece, **vendor_extra(event.extra or {})}]})
        if not event.arguments:
            return b""
        call.arguments.append(event.arguments)
        return b"" if call.custom else self._arguments(call, event.arguments)

    def _arguments(self, call: _Call, text: str) -> bytes:
        if self._legacy:
            return self._chunk({"function_call": {"arguments": text}})
        return self._chunk({"tool_calls": [{"index": call.index, "function": {"arguments": text}}]})

    def _finish_calls(self) -> bytes:
        """Return what calls still owe: `{}` for one without arguments (B04), the text of a custom one."""
        out = b""
        for call in self._calls.values():
            text = "".join(call.arguments)
            if call.custom:
                custom = {"name": call.name, "input": unwrapped(text) if call.wrapped else text}
                piece = {"index": call.index, "id": call.id, "type": "custom", "custom": custom}
                out += self._chunk({"tool_calls": [piece]})
            elif not text:
                out += self._arguments(call, "{}")
        return out

    def _stop(self, event: Stop) -> bytes:
        out = self._finish_calls()
        if not self._refused and refused_without_words(event.reason, event.extra):
            out += self._chunk({"refusal": refusal_text(event.extra)})
        if self._annotations:
            notes = [{"index": index, **note} for index, note in enumerate(self._annotations)]
            out += self._chunk({"annotations": notes})
        finish = finish_of(event.reason, event.extra, has_calls=bool(self._calls))
        if self._legacy and finish == "tool_calls":
            finish = "function_call"
        out += self._chunk({}, finish)
        self._stopped = True
        return out
