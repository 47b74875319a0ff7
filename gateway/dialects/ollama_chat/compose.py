"""An /api/chat or /api/generate request from neutral words.

Quirks read here, from config/providers.yaml: `num_ctx` · `keep_alive` · `think_levels` (the model takes low, medium,
high instead of true) · `tool_call_ids` (the server knows `id` and `tool_call_id`).
"""

from __future__ import annotations

from typing import Any

from gateway.chat import (
    Audio,
    ChatRequest,
    Document,
    Image,
    Message,
    Opaque,
    OutputFormat,
    Part,
    Reasoning,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from gateway.dialects.arguments import is_lost, object_of
from gateway.dialects.freeform import as_function
from gateway.dialects.json import raw
from gateway.dialects.members import body_bytes
from gateway.dialects.notice import Dropped, field_name, thinking_losses, unvendored
from gateway.dialects.ollama_chat.images import data_of
from gateway.dialects.ollama_chat.options import OWN, write_options
from gateway.dialects.ollama_chat.request import CHAT, DIALECTS, fields_of
from gateway.dialects.pairing import paired
from gateway.dialects.protocol import Rendered, Target
from gateway.dialects.stored import refuse_stored
from gateway.errors import BadRequest

EMPTY_SCHEMA = '{"type":"object","properties":{}}'
ERROR_PREFIX = "[tool error] "
_LEVELS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_BOUND = ("anthropic", "openai_responses")
_OWN_GENERATE = frozenset(("suffix", "template", "context", "raw", "width", "height", "steps"))


def render_chat(chat: ChatRequest, target: Target) -> Rendered:
    """Return an /api/chat request. Raises: BadRequest for what Ollama cannot be asked."""
    refuse_stored(chat)
    dropped = Dropped()
    own = chat.dialect in DIALECTS
    body: dict[str, Any] = {"model": target.model, "messages": _History(chat, target, dropped).messages()}
    tools = _tools(chat, own, dropped)
    if tools:
        body["tools"] = tools
    _write_rest(body, chat, target, own, dropped)
    return Rendered(body=body_bytes(body), dropped=dropped.names)


def render_generate(chat: ChatRequest, target: Target) -> Rendered:
    """Return an /api/generate request: system texts together, everything else in order as one prompt."""
    refuse_stored(chat)
    dropped = Dropped()
    own = chat.dialect in DIALECTS
    messages = _History(chat, target, dropped).messages()
    body: dict[str, Any] = {"model": target.model}
    body["prompt"] = "\n\n".join(message["content"] for message in messages if message["role"] != "system")
    if system := "\n\n".join(message["content"] for message in messages if message["role"] == "system"):
        body["system"] = system
    if images := [data for message in messages for data in message.get("images", ())]:
        body["images"] = images
    if chat.tools:
        dropped.add("tools")
    _write_rest(body, chat, target, own, dropped)
    return Rendered(body=body_bytes(body), dropped=dropped.names)


class _History:
    """Writes the messages of one request."""

    def __init__(self, chat: ChatRequest, target: Target, dropped: Dropped) -> None:
        self._chat, self._dropped = chat, dropped
        self._ids = bool(target.quirks.get("tool_call_ids")) or chat.dialect == CHAT
        self._own = chat.dialect in DIALECTS
        calls = (part for message in chat.messages for part in message.parts if isinstance(part, ToolCall))
        self._names = {call.id: call.name for call in calls}

    def messages(self) -> list[dict[str, Any]]:
        """Return the messages; images in results follow in a message of the user's, after all results of a turn."""
        out: list[dict[str, Any]] = []
        pictures: list[dict[str, Any]] = []
        for message in self._chat.messages if self._own else paired(self._chat.messages, in_order=True):
            results = [part for part in message.parts if isinstance(part, ToolResult)]
            rest = tuple(part for part in message.parts if not isinstance(part, ToolResult))
            if results and not rest and not self._own:
                self._dropped.add_set(message.extra)
            for result in results:
                out.append(self._result(result, pictures))
            if rest or not results:
                out += pictures
                pictures = []
                out.append(self._message(message, rest))
        out += pictures
        # A message of which nothing could be carried is left out, unless the chat would then be empty.
        said = [wire for wire in out if self._own or wire.keys() > {"role", "content"} or wire["content"].strip()]
        return said or out

    def _message(self, message: Message, parts: tuple[Part, ...]) -> dict[str, Any]:
        if not self._own:
            self._dropped.add_set((("name", message.name), *message.extra.items()))
        role = "system" if message.role == "developer" else message.role
        wire: dict[str, Any] = {"role": role, "content": self._content(parts)}
        if thinking := self._thinking(parts):
            wire["thinking"] = thinking
        if images := self._images(parts):
            wire["images"] = images
        if calls := [self._call(part) for part in parts if isinstance(part, ToolCall)]:
            wire["tool_calls"] = calls
        return wire | (message.extra if self._own else {})

    def _content(self, parts: tuple[Part, ...]) -> str:
        texts = [text for part in parts if (text := self._text(part))]
        return "\n".join(texts)

    def _text(self, part: Part) -> str:
        if not self._own:
            if getattr(part, "cache_control", None) is not None:
                self._dropped.add("cache_control")
            if not isinstance(part, ToolCall):
                self._dropped.add_set(getattr(part, "extra", {}))
        match part:
            case Text() | Refusal():
                return part.text
            case Document():
                return self._document(part)
            case Audio():
                self._dropped.add("input_audio")
            case Opaque():
                self._dropped.add(part.kind)
        return ""

    def _document(self, part: Document) -> str:
        text = part.text if part.text is not None else self._content(part.parts)
        if not text:
            name = "file_id" if part.file_id and part.data is None else "file_url" if part.url else "file_data"
            self._dropped.add(name if self._chat.dialect != "anthropic" or part.file_id else "document")
            return ""
        title = ", ".join(word for word in (part.title, part.context) if word)
        return f"{title}\n{text}" if title else text

    def _thinking(self, parts: tuple[Part, ...]) -> str:
        """Return what the model thought aloud; what is bound to a vendor stays with that vendor."""
        texts: list[str] = []
        for part in parts:
            if isinstance(part, Reasoning) and part.origin in _BOUND and (part.encrypted or part.signature):
                self._dropped.add(field_name("thinking", self._chat.dialect))
            elif isinstance(part, Reasoning) and part.text:
                texts.append(part.text)
        return "".join(texts)

    def _images(self, parts: tuple[Part, ...]) -> list[str]:
        """Return the images' base64. They stand after all text: a text after one loses its place, with notice."""
        found: list[str] = []
        for part in parts:
            if isinstance(part, Image):
                data = data_of(part)
                if data is None:
                    self._dropped.add("file_id" if part.url is None else field_name("image", self._chat.dialect))
                    continue
                found.append(data)
                if part.detail is not None:
                    self._dropped.add("detail")
            elif isinstance(part, Text) and found:
                self._dropped.add("image_order")
        return found

    def _call(self, call: ToolCall) -> dict[str, Any]:
        wire: dict[str, Any] = {"id": call.id} if self._ids else {}
        if not self._own:
            self._dropped.add_set((*unvendored(call.extra).items(), ("cache_control", call.cache_control)))
        arguments = object_of(call)
        if is_lost(call, arguments):
            self._dropped.add("arguments")
        return wire | {"function": {"name": call.name, "arguments": arguments}}

    def _result(self, result: ToolResult, pictures: list[dict[str, Any]]) -> dict[str, Any]:
        content = self._content(result.parts)
        if not self._own:
            self._dropped.add_set((*result.extra.items(), ("cache_control", result.cache_control)))
        name = self._names.get(result.call_id) or result.name or ""
        wire: dict[str, Any] = {"role": "tool", "content": ERROR_PREFIX + content if result.is_error else content}
        wire["tool_name"] = name
        if self._ids:
            wire["tool_call_id"] = result.call_id
        if images := self._images(result.parts):
            pictures.append({"role": "user", "content": f"Images in the result of {name}:", "images": images})
        return wire


def _tools(chat: ChatRequest, own: bool, dropped: Dropped) -> list[dict[str, Any]]:
    """Return the tools; a choice among them can only be emulated by leaving the others out."""
    choice = chat.tool_choice
    if choice is not None and choice.mode == "none":
        return []
    ours = {tool.name for tool in chat.tools if tool.kind in ("function", "custom")}
    allowed = set(choice.allowed) if choice is not None else set()
    if choice is not None and choice.mode in ("required", "tool"):
        dropped.add("tool_choice")
        allowed |= {choice.name} & ours if choice.name else set()
    if chat.parallel_tool_calls is False and chat.tools:
        dropped.add("parallel_tool_calls")
    tools = (tool for tool in chat.tools if not allowed or tool.name in allowed or tool.name not in ours)
    return [wire for tool in tools if (wire := _tool(tool, own, dropped)) is not None]


def _tool(tool: Tool, own: bool, dropped: Dropped) -> dict[str, Any] | None:
    if tool.kind == "custom":
        tool = as_function(tool)
    elif tool.kind != "function":
        if own and tool.dialect == CHAT:
            return dict(tool.value)
        dropped.add(tool.kind)
        return None
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = raw(tool.parameters or EMPTY_SCHEMA)
    if own:
        function |= tool.extra
    else:
        dropped.add_set(tool.extra)
        dropped.add_set({"cache_control": tool.cache_control, "strict": tool.strict})
    return {"type": "function", "function": function}


def _write_rest(body: dict[str, Any], chat: ChatRequest, target: Target, own: bool, dropped: Dropped) -> None:
    """Write what both requests share. `stream` is always said: Ollama streams when it is absent."""
    if chat.n is not None and chat.n > 1:
        raise BadRequest("n: this target gives one answer a request; send n requests instead", param="n")
    if chat.max_tokens == 0 and chat.dialect == "anthropic":  # it would only warm a cache there
        raise BadRequest("max_tokens must be at least 1 for this target", param="max_tokens")
    body["stream"] = chat.stream
    if chat.output is not None:
        body["format"] = _format(chat.output)
        dropped.add_set({"description": chat.output.description})
    think = _think(chat.thinking, target, own)
    if think is not None:
        body["think"] = think
    if options := write_options(chat, own, target.quirks.get("num_ctx")):
        body["options"] = options
    if target.quirks.get("keep_alive") is not None:
        body["keep_alive"] = target.quirks["keep_alive"]
    dropped.add(*chat.unread)
    if own:
        fields = {name: value for name, value in fields_of(chat).items() if name not in OWN}
        if "prompt" not in body:
            dropped.add(*(name for name in fields if name in _OWN_GENERATE))
            fields = {name: value for name, value in fields.items() if name not in _OWN_GENERATE}
        body |= fields
        return
    dropped.add_set(chat.extra)
    dropped.add(*thinking_losses(chat))
    if chat.user is not None and chat.extra.get("safety_identifier") != chat.user:
        dropped.add(field_name("user", chat.dialect))
    dropped.add_set({"metadata": chat.metadata, "service_tier": chat.service_tier})


def _format(output: OutputFormat) -> Any:
    """Return `format`: the schema itself, never OpenAI's wrapper of it."""
    return raw(output.schema) if output.kind == "json_schema" and output.schema is not None else "json"


def _think(thinking: Thinking | None, target: Target, own: bool) -> bool | str | None:
    """Return `think`: on or off, or a level for the models that know levels and cannot be turned off."""
    if thinking is None or (thinking.mode == "effort" and thinking.effort is None):
        return None
    if thinking.mode == "disabled" or thinking.effort == "none":
        return False
    if own and thinking.effort is not None:
        return thinking.effort
    if target.quirks.get("think_levels", "gpt-oss" in target.model):
        return _LEVELS.get(thinking.effort or "medium", "medium")
    return True
