"""The request that goes upstream: what was decided on is what is sent.

On a same-dialect route the client's top-level members are written again as they came, byte for byte, with
the model name and the route's own edits put in; anywhere else the neutral request is rendered.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import lru_cache
from typing import Any

import msgspec
from msgspec import Raw
from multidict import CIMultiDictProxy

from gateway.attempts.multipart import with_model
from gateway.dialects.anthropic_messages.carrier import holds_foreign_thinking
from gateway.dialects.anthropic_messages.traits import signs_thinking
from gateway.dialects.endpoints import Endpoint
from gateway.dialects.protocol import Dialect, Rendered
from gateway.dialects.protocol import Target as RenderTarget
from gateway.errors import BadRequest
from gateway.exchange import Attempt, Exchange
from gateway.relay.headers import HOP_BY_HOP, connection_listed
from gateway.route import Target
from gateway.secret import Secret
from gateway.trace import incoming_trace, made_for
from gateway.upstream.provider import Provider

CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key"})
NEVER_UPSTREAM = (
    HOP_BY_HOP
    | CREDENTIALS
    | frozenset(
        {"host", "content-length", "content-encoding", "accept-encoding", "expect", "cookie", "origin", "referer"}
    )
    | frozenset({"x-request-id", "x-session-id", "x-real-ip", "forwarded", "x-forwarded-for", "x-forwarded-host"})
    | frozenset({"x-forwarded-proto", "x-forwarded-port"})
)
"""SECURITY: the client's credentials are for the gateway; the rest is this connection's, or written anew."""
DEFAULT_ANTHROPIC_VERSION = "2023-06-01"
TRACE = frozenset({"traceparent", "tracestate"})
USAGE_ASKED = frozenset({"chat_completions", "completions"})
"""The endpoints whose streams state their usage only when asked."""
_encode = msgspec.json.encode
_decode_members = msgspec.json.Decoder(dict[str, Raw]).decode


def model_for(exchange: Exchange, target: Target) -> str:
    """Return the model name the upstream gets; `*` keeps the client's."""
    return exchange.request.model if target.model == "*" else target.model


def native_body(attempt: Attempt, *, wants_usage: bool = False) -> bytes:
    """Return the client's body for a target that serves this endpoint itself.

    With `wants_usage` a stream's usage is asked for where the client did not, noted in `attempt.asked_usage`.
    """
    exchange, target = attempt.exchange, attempt.target
    request = exchange.request
    fields = request.members
    if fields is None:
        kind = request.headers.get("content-type", "")
        if request.model and target.model != "*" and kind.lower().startswith("multipart/"):
            return with_model(request.body, kind, target.model)
        return request.body
    asks = (
        request.stream
        and (wants_usage or _counts_tokens(exchange))
        and may_ask_usage(request.endpoint, target.provider)
    )
    if not target.params and not target.override and not asks:
        if target.model == "*":
            return request.body if request.is_as_sent else _encode(fields)
        if request.is_as_sent:
            return spliced(request.body, fields, _written(target.model))
    fields = dict(fields)
    if target.model != "*" and "model" in fields:
        fields["model"] = Raw(_written(target.model))
    for name, value in target.params.items():
        if name not in fields:
            fields[name] = Raw(_encode(value))
    for name, value in target.override.items():
        fields[name] = Raw(_encode(value))
    if asks and (options := asking_usage(fields.get("stream_options"))) is not None:
        fields["stream_options"] = options
        attempt.asked_usage = True
    return _encode(fields)


def spliced(body: bytes, members: Mapping[str, Raw], model: bytes) -> bytes:
    """Return `body`, which is `members` one after the other with nothing between, with another model."""
    at = 9  # behind `{"model":`
    for name, value in members.items():
        if name == "model":
            return body[:at] + model + body[at + len(value) :]
        at += len(name) + len(value) + 4
    return body


@lru_cache(maxsize=1024)
def _written(model: str) -> bytes:
    return _encode(model)


def may_ask_usage(endpoint: Endpoint | None, provider: Provider) -> bool:
    """Return whether a stream of `endpoint` may be asked for its usage there (P14)."""
    return endpoint is not None and endpoint.name in USAGE_ASKED and provider.quirks.get("stream_usage") is not False


def asking_usage(options: Raw | None) -> Raw | None:
    """Return `stream_options` that ask for usage; None where the client asks itself, or wrote what only the upstream
    can judge."""
    if options is None or bytes(options) == b"null":
        return Raw(b'{"include_usage":true}')
    try:
        members = _decode_members(options)
    except msgspec.DecodeError:
        return None
    if bytes(members.get("include_usage", b"")) == b"true":
        return None
    members["include_usage"] = Raw(b"true")
    return Raw(_encode(members))


def must_be_rendered(exchange: Exchange, target: Target) -> bool:
    """Return whether a body that could go as it is would be refused: another vendor, in an earlier turn, thought
    what a Messages client now hands back to Claude, who takes only thinking signed by Claude (K08)."""
    endpoint = exchange.request.endpoint
    return (
        endpoint is not None
        and endpoint.name == "messages"
        and target.provider.dialect == "anthropic"
        and signs_thinking(model_for(exchange, target))
        and holds_foreign_thinking(exchange.request.body)
    )


def _counts_tokens(exchange: Exchange) -> bool:
    """Return whether the caller's own limits count tokens: no plugin knows that of a route when it is loaded."""
    return exchange.principal is not None and "tokens" in exchange.principal.limits


def rendered_body(attempt: Attempt, dialect: Dialect, model: str, *, wants_usage: bool = False) -> Rendered:
    """Return the neutral request in the target's dialect; `wants_usage` as for `native_body`.

    Raises: BadRequest for what it cannot say.
    """
    exchange, target = attempt.exchange, attempt.target
    chat = exchange.chat
    if (
        chat.stream
        and (wants_usage or _counts_tokens(exchange))
        and chat.dialect == dialect.name == "openai_chat"  # from other dialects usage is always asked for
        and not chat.include_usage
        and may_ask_usage(exchange.request.endpoint, target.provider)
    ):
        chat = msgspec.structs.replace(chat, include_usage=True)
        attempt.asked_usage = True
    provider = target.provider
    goal = RenderTarget(model=model, quirks=provider.quirks, params=target.params)
    rendered = dialect.render_request(chat, goal)
    route = exchange.route
    if rendered.dropped and route is not None and route.on_unsupported == "error":
        names = ", ".join(rendered.dropped)
        raise BadRequest(
            f"{provider.name} cannot take: {names}; leave it out or ask another model", param=rendered.dropped[0]
        )
    if target.params or target.override:
        fields: dict[str, Any] = msgspec.json.decode(rendered.body, type=dict[str, Raw])
        fields = {
            **{name: value for name, value in target.params.items() if name not in fields},
            **fields,
            **target.override,
        }
        rendered = Rendered(body=_encode(fields), headers=rendered.headers, dropped=rendered.dropped)
    return rendered


def headers_for(
    attempt: Attempt, provider: Provider, key: Secret | None, *, native: bool, extra: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return every header of the upstream request but `host` and the framing."""
    exchange = attempt.exchange
    client = exchange.request.headers
    is_json = exchange.request.members is not None
    taken = exchange.request.credential_header
    headers = client_headers(client, provider, is_json=is_json, taken=taken) if native else []
    if "anthropic-beta" in client and provider.dialect not in ("anthropic", "echo"):
        headers = [pair for pair in headers if pair[0].lower() != "anthropic-beta"]
    if is_json:
        headers.append(("content-type", "application/json"))
    headers.append(("accept-encoding", "identity"))
    headers.append(("x-request-id", exchange.id))
    if "traceparent" not in client:
        headers.append(("traceparent", made_for(exchange.id)))
    else:
        headers = [*_without(headers, TRACE), *_passed_on(client, exchange.id)]
    if key is not None:
        name = provider.quirks.get("key_header") or (
            "x-api-key" if provider.dialect == "anthropic" else "authorization"
        )
        headers.append((str(name), f"Bearer {key.reveal()}" if name == "authorization" else key.reveal()))
    if extra:
        headers.extend(extra.items())
    if (
        provider.dialect == "anthropic"
        and "anthropic-version" not in extra
        and (not native or "anthropic-version" not in client)
    ):
        headers.append(("anthropic-version", DEFAULT_ANTHROPIC_VERSION))
    for more in (attempt.request_headers, provider.headers):
        if more:
            headers = _without(headers, {name.lower() for name in more})
            headers.extend(more.items())
    return headers


def _without(headers: list[tuple[str, str]], names: Set[str]) -> list[tuple[str, str]]:
    return [pair for pair in headers if pair[0].lower() not in names]


def _passed_on(client: CIMultiDictProxy[str], request_id: str) -> list[tuple[str, str]]:
    """Return the client's trace as it came, or one of the gateway's own where it is not as the standard has it."""
    context = incoming_trace(client)
    if context is None:
        return [("traceparent", made_for(request_id))]
    given = [("traceparent", client["traceparent"])]
    return [*given, ("tracestate", context.state)] if context.state else given


def client_headers(
    headers: CIMultiDictProxy[str], provider: Provider, *, is_json: bool = False, taken: str = ""
) -> list[tuple[str, str]]:
    """Return the client's end-to-end headers; with `auth: passthrough` its credential too, but never the one in the
    header `taken`, which let it into this gateway.

    `is_json` leaves out the content type: what was read as JSON is sent as JSON, whatever the client called it.
    """
    named = connection_listed(headers)
    kept = [pair for pair in headers.items() if may_go_upstream(pair[0], is_json, provider.dialect)]
    if named:
        kept = [pair for pair in kept if pair[0].lower() not in named]
    if provider.auth == "passthrough":
        kept += [pair for pair in headers.items() if pair[0].lower() in CREDENTIALS and pair[0].lower() != taken]
    return kept


@lru_cache(maxsize=1024)
def may_go_upstream(name: str, is_json: bool, dialect: str) -> bool:
    """Return whether a client's header of that name, whatever its case, goes upstream. Remembered: names are few.

    Anthropic's own headers go to who speaks its dialect and to no one else (G15).
    """
    lower = name.lower()
    if lower in NEVER_UPSTREAM or lower.startswith("x-gateway-"):
        return False
    if lower.startswith("anthropic-") and dialect != "anthropic":
        return False
    return not (is_json and lower == "content-type")


def joined(base_path: str, tail: str) -> str:
    """Return `base_path` with `tail` appended, a `v1` that both have counted once."""
    if base_path.endswith("/v1") and (tail == "/v1" or tail.startswith("/v1/")):
        tail = tail[3:]
    return (base_path + tail) or "/"
