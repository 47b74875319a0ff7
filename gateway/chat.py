"""The neutral chat: what all four dialects say, in one vocabulary.

A request is a `ChatRequest` of `Message`s made of parts; a plain answer is a `ChatReply`; a streamed
answer is a sequence of events: Start, TextDelta, ReasoningDelta, ToolCallDelta, Usage, Stop, Failure, Raw.
Dialects translate between these and their own bytes (hub and spoke: N dialects, not N × N).

`extra` on a part, a tool or a message holds fields that only the request's own dialect knows; that dialect
renders them back, another leaves them out with notice. On an answer's parts they are left out quietly, and so is
a name that begins with `@`: the source's own book-keeping, such as the ids of Responses' items.

JSON that must survive unchanged (tool arguments, schemas) travels as JSON text: big integers, `1.0`
and key order stay what they were. Structs are msgspec's because they are made once per streamed event; the collector
does not track them (`gc=False`), because they are made of finished parts, so no cycle can go through them, and a long
conversation is a hundred thousand objects that it would walk again and again.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct, field

JSON = Any
Role = Literal["system", "developer", "user", "assistant", "tool"]
StopReason = Literal["stop", "length", "tool_calls", "refusal", "pause"]
"""`stop` end of turn or a stop sequence · `length` token limit or context full · `refusal` the model's
or a content filter's · `pause` Anthropic's pause_turn."""


class Text(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A run of text. `annotations` holds citations as the source dialect wrote them."""

    text: str
    cache_control: JSON = None
    annotations: tuple[JSON, ...] = ()
    extra: dict[str, JSON] = field(default_factory=dict)


class Refusal(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    text: str


class Image(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """An image: base64 `data` with its `media_type`, or a `url`, or a provider's `file_id`."""

    media_type: str = ""
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    detail: str | None = None
    cache_control: JSON = None
    extra: dict[str, JSON] = field(default_factory=dict)


class Document(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A file: base64 `data`, or plain `text`, or a `url`, or a `file_id`; or `parts` (a block list)."""

    media_type: str = ""
    data: str | None = None
    text: str | None = None
    url: str | None = None
    file_id: str | None = None
    title: str | None = None
    context: str | None = None
    parts: tuple[Part, ...] = ()
    cache_control: JSON = None
    extra: dict[str, JSON] = field(default_factory=dict)


class Audio(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    format: str
    data: str


class Reasoning(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """One block of thinking. `signature` is Anthropic's, `encrypted` OpenAI's or a redacted block's data;
    both are bound to the vendor named in `origin` and mean nothing to another."""

    text: str = ""
    signature: str | None = None
    encrypted: str | None = None
    redacted: bool = False
    id: str | None = None
    origin: str = ""
    extra: dict[str, JSON] = field(default_factory=dict)


class ToolCall(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A call the model made; `arguments` is the JSON text it wrote, possibly invalid. Of a `custom` (free-form)
    tool's call it is the text itself."""

    id: str
    name: str
    arguments: str = "{}"
    custom: bool = False
    extra: dict[str, JSON] = field(default_factory=dict)
    cache_control: JSON = None


class ToolResult(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    call_id: str
    parts: tuple[Part, ...] = ()
    is_error: bool = False
    name: str | None = None
    cache_control: JSON = None
    extra: dict[str, JSON] = field(default_factory=dict)


class Opaque(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """A block only its own dialect knows; others leave it out with notice."""

    dialect: str
    kind: str
    value: JSON


Part = Text | Refusal | Image | Document | Audio | Reasoning | ToolCall | ToolResult | Opaque


class Message(Struct, frozen=True, kw_only=True, gc=False):
    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    extra: dict[str, JSON] = field(default_factory=dict)


class Tool(Struct, frozen=True, kw_only=True, gc=False):
    """A tool offered to the model. `kind` is `function`, `custom` (free-form text input) or a server
    tool's own type; `parameters` is a JSON Schema as JSON text, None when absent. `value` holds a
    non-function tool whole, as `dialect` wrote it."""

    name: str
    description: str | None = None
    parameters: str | None = None
    strict: bool | None = None
    kind: str = "function"
    cache_control: JSON = None
    dialect: str = ""
    value: JSON = None
    extra: dict[str, JSON] = field(default_factory=dict)


class ToolChoice(Struct, frozen=True, kw_only=True, gc=False):
    mode: Literal["auto", "required", "none", "tool"]
    name: str | None = None
    allowed: tuple[str, ...] = ()


class OutputFormat(Struct, frozen=True, kw_only=True, gc=False):
    """Structured output: any JSON object, or one that fits `schema` (JSON text)."""

    kind: Literal["json_object", "json_schema"]
    name: str | None = None
    schema: str | None = None
    strict: bool | None = None
    description: str | None = None


class Thinking(Struct, frozen=True, kw_only=True, gc=False):
    """How much to reason: an `effort` word, or a budget in tokens; `mode` as Anthropic names it."""

    mode: Literal["effort", "budget", "adaptive", "disabled"]
    effort: str | None = None
    budget_tokens: int | None = None
    display: str | None = None
    value: JSON = None


class ChatRequest(Struct, frozen=True, kw_only=True, gc=False):
    """One request in neutral words; `dialect` names who wrote it.

    `extra` holds that dialect's fields with no neutral name; the same dialect renders them back,
    another reports them as dropped. `include_usage` is OpenAI chat's stream option; `max_tokens_name` which
    of its names for the limit was used. `instructions` says that the first system message was Responses' field
    of that name. `unread` names members at places that keep nothing they do not know: no dialect can render
    them, so every renderer reports them.
    """

    dialect: str
    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    instructions: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_tokens: int | None = None
    max_tokens_name: str = ""
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    n: int | None = None
    seed: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    output: OutputFormat | None = None
    thinking: Thinking | None = None
    user: str | None = None
    metadata: JSON = None
    service_tier: str | None = None
    extra: dict[str, JSON] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


# --- answers -------------------------------------------------------------------------------------


class Usage(Struct, frozen=True, kw_only=True, tag=True, gc=False):
    """Tokens of one answer, as totals so far (never increments).

    `prompt_tokens` counts all input, cached reads and writes included; `completion_tokens` all output,
    reasoning included. `estimated` marks numbers the gateway counted itself.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0
    estimated: bool = False
    extra: dict[str, JSON] = field(default_factory=dict)

    @property
    def total_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class ChatReply(Struct, frozen=True, kw_only=True, gc=False):
    """A plain answer. `created_s` is Unix time in seconds; `id` the upstream's own, possibly empty."""

    id: str
    model: str
    created_s: int
    parts: tuple[Part, ...]
    stop: StopReason = "stop"
    stop_sequence: str | None = None
    usage: Usage | None = None
    extra: dict[str, JSON] = field(default_factory=dict)


class Start(Struct, frozen=True, tag=True, gc=False):
    """The stream's head: upstream's id (may be empty), model and creation time (0 when unknown)."""

    id: str = ""
    model: str = ""
    created_s: int = 0


class TextDelta(Struct, frozen=True, tag=True, gc=False):
    """More text. `refusal` marks a refusal's words; `annotations` are citations of the source dialect, about the last
    `cited` characters so far (0: the source did not say)."""

    text: str
    refusal: bool = False
    annotations: tuple[JSON, ...] = ()
    cited: int = 0


class ReasoningDelta(Struct, frozen=True, tag=True, gc=False):
    """More thinking. `block` counts reasoning blocks from 0; `signature`, `encrypted` and `redacted`
    (see `Reasoning`) arrive whole, usually last."""

    text: str = ""
    block: int = 0
    signature: str | None = None
    encrypted: str | None = None
    redacted: bool = False
    id: str | None = None
    origin: str = ""


class ToolCallDelta(Struct, frozen=True, tag=True, gc=False):
    """More of a tool call. `index` counts calls from 0 in order of appearance; the first delta of an
    index has `id` and `name` complete, and in `extra` what ToolCall has there, None for nothing;
    `arguments` is the next piece of JSON text."""

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""
    custom: bool = False
    extra: JSON = None


class Stop(Struct, frozen=True, tag=True, gc=False):
    """The end of the answer. `extra` is what only the source dialect says of it (Anthropic's stop_details)."""

    reason: StopReason
    sequence: str | None = None
    extra: dict[str, JSON] = field(default_factory=dict)


class Failure(Struct, frozen=True, tag=True, gc=False):
    """The stream failed: the upstream said so, or it broke. Nothing follows."""

    message: str
    code: str = "upstream_error"
    status: int = 502


class Raw(Struct, frozen=True, tag=True, gc=False):
    """A wire event with no neutral meaning, whole and as it was framed; only `dialect` renders it back."""

    dialect: str
    data: bytes


Event = Start | TextDelta | ReasoningDelta | ToolCallDelta | Usage | Stop | Failure | Raw
