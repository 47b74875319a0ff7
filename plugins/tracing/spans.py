"""What an exchange that has ended looks like as spans: OpenTelemetry's names, read off the exchange's own times.

Names are those of the semantic conventions for HTTP and generative AI (opentelemetry-semantic-conventions 0.66b2); what
they have no name for begins with `llm_gateway.`. Nothing here needs OpenTelemetry's packages.

Every id follows from the exchange's own `row_id`: so an attempt's is known when its request goes out, and a child's
parent without asking who that was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal
from urllib.parse import urlsplit

from gateway.plugin import ENDPOINT_NAMES, Attempt, Exchange, TraceContext, UpstreamError, Usage, Work

Kind = Literal["server", "client", "internal"]
OPERATIONS = {
    "embeddings": "embeddings",
    "ollama_embed": "embeddings",
    "ollama_embeddings": "embeddings",
    "completions": "text_completion",
    "ollama_generate": "text_completion",
}
"""Endpoints by what they do; every other that holds a conversation is `chat`."""
PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "gemini": "gcp.gemini",
    "mistral": "mistral_ai",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""Known providers whose name in the conventions is another than here."""
NAMED = ENDPOINT_NAMES - {"batches"}
"""Endpoints whose path is always the same: below the others clients put what they like."""
FAILS_FROM = 500
"""A server's span fails from this status on: what lies below is the client's own fault, says the convention."""
LONGEST = 200
SCALARS = (str, bool, int, float)
_HEX = re.compile("[0-9a-f]{32}")
_FIRST_WORK = 0x8000


@dataclass(slots=True)
class Span:
    """One span. Ids are hex, times Unix nanoseconds; `failed` is why it failed, None when it did not."""

    name: str
    kind: Kind
    trace: TraceContext
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    attributes: dict[str, Any]
    events: Sequence[tuple[str, int, Mapping[str, Any]]] = ()
    failed: str | None = None
    is_remote: bool = field(default=False)
    """Whether the parent is a span of another process."""


def _hex(row_id: str) -> str:
    return row_id if _HEX.fullmatch(row_id) else sha256(row_id.encode()).hexdigest()[:32]


def root_id(row_id: str) -> str:
    """Return the id of the span of the exchange that the ledger calls `row_id`."""
    return _hex(row_id)[:16]


def attempt_id(exchange: Exchange, number: int) -> str:
    """Return the id of the span of an attempt."""
    return f"{_hex(exchange.row_id)[16:28]}{number & 0x7FFF:04x}"


def spans_of(exchange: Exchange, trace: TraceContext, now_s: float, content: Mapping[str, Any] | None) -> list[Span]:
    """Return the spans of an exchange that has ended, its own first. `now_s` is Unix time at that end; `content` what
    the attributes of the answer's attempt say besides, None when nobody wants to know what was said."""
    ended_s = exchange.ended_at_s or exchange.started_at_s
    ahead_s = now_s - ended_s
    own = root_id(exchange.row_id)

    def at(moment_s: float) -> int:
        return int((moment_s + ahead_s) * 1e9)

    spans = [_whole(exchange, trace, own, at(exchange.started_at_s), at(ended_s))]
    winner = answered_by(exchange)
    for attempt in exchange.attempts:
        span = _try(exchange, attempt, trace, own, at(attempt.started_at_s), at(attempt.ended_at_s or ended_s))
        first_s = exchange.first_token_at_s
        if attempt is winner:
            if exchange.request.stream and first_s is not None:
                span.events = (("first_token", at(first_s), {}),)
                since_s = attempt.sent_at_s or attempt.started_at_s
                span.attributes["gen_ai.response.time_to_first_chunk"] = max(0.0, first_s - since_s)
            if content is not None:
                span.attributes.update(content)
        if content is not None and attempt.error is not None:
            span.failed = attempt.error.message
        spans.append(span)
    for number, work in enumerate(exchange.work or ()):
        span_id = f"{_hex(exchange.row_id)[16:28]}{_FIRST_WORK + number:04x}"
        spans.append(_work(work, trace, span_id, own, at(work.started_at_s), at(work.ended_at_s)))
    return spans


def answered_by(exchange: Exchange) -> Attempt | None:
    """Return the attempt whose answer the client got, None when none answered."""
    for attempt in reversed(exchange.attempts):
        if not attempt.lost and (attempt.error is None or attempt.error is exchange.error):
            return attempt
    return None


def _whole(exchange: Exchange, trace: TraceContext, own: str, start_ns: int, end_ns: int) -> Span:
    request, route, error = exchange.request, exchange.route, exchange.error
    attributes: dict[str, Any] = {
        "llm_gateway.request_id": exchange.id,
        "llm_gateway.outcome": exchange.outcome or "failed",
        "llm_gateway.attempts": len(exchange.all_attempts),
    }
    if route is not None:
        attributes["llm_gateway.route"] = route.name
    if exchange.principal is not None:
        attributes["llm_gateway.principal"] = exchange.principal.name
    if (target := exchange.headers.get("x-gateway-target")) is not None:
        attributes["llm_gateway.target"] = target
    if request.model:
        attributes["llm_gateway.model"] = request.model[:LONGEST]
    if exchange.cost_usd is not None:
        attributes["llm_gateway.cost_usd"] = float(exchange.cost_usd)
    if error is not None:
        attributes["error.type"] = error.code
    elif exchange.outcome == "disconnected":
        attributes["error.type"] = "client_left"
    failed = None
    if error is not None and (error.status >= FAILS_FROM or exchange.status < 400):
        failed = error.code
    if exchange.parent_id is not None:  # made in process, for another one
        step = exchange.origin.step if exchange.origin is not None else ""
        if step:
            attributes["llm_gateway.step"] = step[:LONGEST]
        name = f"step {step[:LONGEST]}" if step else f"ask {request.model[:LONGEST]}"
        parent = root_id(exchange.parent_id)
        return Span(name, "internal", trace, own, parent, start_ns, end_ns, attributes, failed=failed)
    endpoint = request.endpoint
    attributes["http.request.method"] = request.method
    attributes["url.path"] = request.path[:LONGEST]
    attributes["url.scheme"] = "https" if request.secure else "http"
    attributes["http.response.status_code"] = exchange.status
    name = request.method
    if endpoint is not None and endpoint.name in NAMED:
        attributes["http.route"] = endpoint.path
        name = f"{name} {endpoint.path}"
    return Span(
        name, "server", trace, own, trace.parent_id, start_ns, end_ns, attributes, failed=failed, is_remote=True
    )


def _try(exchange: Exchange, attempt: Attempt, trace: TraceContext, own: str, start_ns: int, end_ns: int) -> Span:
    target, error = attempt.target, attempt.error
    provider = target.provider
    model = exchange.request.model[:LONGEST] if target.model == "*" else target.model
    operation = operation_of(exchange)
    attributes: dict[str, Any] = {
        "gen_ai.provider.name": PROVIDERS.get(provider.name, provider.name),
        "http.request.method": exchange.request.method,
        "llm_gateway.target": f"{provider.name}/{model}",
        "llm_gateway.attempt": attempt.number,
    }
    if operation:
        attributes["gen_ai.operation.name"] = operation
    if model:
        attributes["gen_ai.request.model"] = model
    if exchange.request.stream:
        attributes["gen_ai.request.stream"] = True
    session = exchange.notes.get("session")
    if isinstance(session, Mapping) and isinstance(session.get("id"), str):
        attributes["gen_ai.conversation.id"] = session["id"]
    host, port = _address(provider.base_url)
    if host:
        attributes["server.address"], attributes["server.port"] = host, port
    if attempt.status is not None:
        attributes["http.response.status_code"] = attempt.status
    if attempt.usage is not None:
        _tell_usage(attributes, attempt.usage)
    if attempt.cost_usd is not None:
        attributes["llm_gateway.cost_usd"] = float(attempt.cost_usd)
    failed = None
    if attempt.lost:
        attributes["llm_gateway.lost"] = True
    if error is not None:
        failed = attributes["error.type"] = error.code
        if isinstance(error, UpstreamError):
            failed = attributes["llm_gateway.error.kind"] = error.kind
            if error.kind == "status" and error.upstream_status is not None:
                attributes["error.type"] = str(error.upstream_status)
                # Not the upstream's own words: some repeat what they were asked.
                failed = f"the upstream answered {error.upstream_status}"
            else:
                attributes["error.type"] = error.kind
    name = f"{operation or exchange.request.method} {model}".rstrip()
    return Span(name, "client", trace, attempt_id(exchange, attempt.number), own, start_ns, end_ns, attributes,
                failed=failed)  # fmt: skip


def _work(work: Work, trace: TraceContext, span_id: str, own: str, start_ns: int, end_ns: int) -> Span:
    """Return the span of what a plugin did besides attempts: a tool's call above all."""
    attributes: dict[str, Any] = {
        f"llm_gateway.{work.kind}.{name}": fact for name, fact in work.facts.items() if isinstance(fact, SCALARS)
    }
    name = f"{work.kind} {work.name}"
    if work.kind == "tool":
        name = f"execute_tool {work.name}"
        attributes |= {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": work.name}
    failed = None
    if not work.ok:
        failed = attributes["error.type"] = "tool_error" if work.kind == "tool" else f"{work.kind}_failed"
    return Span(name, "internal", trace, span_id, own, start_ns, end_ns, attributes, failed=failed)


def operation_of(exchange: Exchange) -> str:
    """Return what the request asks for in the conventions' words, empty for what they have none for."""
    endpoint = exchange.request.endpoint
    if endpoint is None:
        return ""
    return OPERATIONS.get(endpoint.name) or ("chat" if endpoint.is_chat else "")


def _tell_usage(attributes: dict[str, Any], usage: Usage) -> None:
    attributes["gen_ai.usage.input_tokens"] = usage.prompt_tokens
    attributes["gen_ai.usage.output_tokens"] = usage.completion_tokens
    if usage.cached_tokens:
        attributes["gen_ai.usage.cache_read.input_tokens"] = usage.cached_tokens
    if usage.cache_write_tokens:
        attributes["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        attributes["gen_ai.usage.reasoning.output_tokens"] = usage.reasoning_tokens
    if usage.estimated:
        attributes["llm_gateway.usage_estimated"] = True


@lru_cache(maxsize=256)
def _address(base_url: str) -> tuple[str, int]:
    """Return host and port of a provider, an empty host where it is this gateway itself."""
    parts = urlsplit(base_url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
