"""The client's body: read within its limits, decoded no further than routing needs.

What is decided on is what is sent: `fields` are the body's own top-level members, and the upstream body is
written from them. A second spelling of a member the gateway acts on is refused.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec
from aiohttp import HttpVersion11, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError
from msgspec import Raw

from gateway.attempts.multipart import find_model
from gateway.dialects.endpoints import Endpoint
from gateway.errors import BadRequest, RequestTimeout, TooLarge, UpstreamError
from gateway.exchange import ClientRequest
from gateway.server.quick import Quick
from gateway.upstream.inflate import Inflater, can_inflate

ACTED_ON = frozenset(
    {"model", "stream", "stream_options", "messages", "input", "prompt", "system", "instructions", "tools",
     "tool_choice", "session_id", "max_tokens", "max_completion_tokens", "max_output_tokens", "n", "user", "metadata"}
)  # fmt: skip
"""Members whose second spelling could make the upstream read something else than the gateway did."""
INLINE_BYTES = 4096
"""Compressed bodies longer than this are inflated in a thread: the most that is taken may take a tenth of a second."""
LONGEST_MODEL = 256
_decode_fields = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode
_CHAT = (("messages",),)
_BRACKET = 0x5B
_WELL_SPELT = ACTED_ON | {
    "temperature", "top_p", "n", "stop", "user", "tool_choice", "stream_options", "max_completion_tokens", "system",
    "metadata", "response_format", "seed", "reasoning_effort", "parallel_tool_calls", "store", "instructions",
    "options",
}  # fmt: skip
"""Members that need no second look; looking at every name of every request would cost more than it is worth."""
_TOKEN = re.compile(rb"""("[^"\\]*+(?:\\.[^"\\]*+)*+")\s*+:|"[^"\\]*+(?:\\.[^"\\]*+)*+"|[][{}]""")
"""A member's name, another string, a bracket. Nothing of what it matches needs a second try."""


class BrokenBody(BadRequest):
    """A body whose framing or compression cannot be read: whatever follows it on the connection cannot be either."""


def body_at_hand(http: web.BaseRequest | Quick, max_bytes: int) -> bytes | None:
    """Return the body when it came whole with its head and plain, as most do; None leaves it to `read_body`."""
    if isinstance(http, Quick):
        body = http.body
        if len(body) > max_bytes:
            raise TooLarge(f"the body is {len(body)} bytes; at most {max_bytes} are taken")
        return body
    payload = http.content
    if not payload.is_eof() or payload.exception() is not None or hdrs.CONTENT_ENCODING in http.headers:
        return None
    body = payload.read_nowait()
    if len(body) > max_bytes:
        raise TooLarge(f"the body is {len(body)} bytes; at most {max_bytes} are taken")
    return body


async def read_body(http: web.BaseRequest, max_bytes: int, timeout_s: float) -> bytes:
    """Return the whole body, compression taken off; a client that expects `100 Continue` gets it.

    Raises: TooLarge, RequestTimeout, BrokenBody, BadRequest (an expectation that is not known).
    """
    payload = http.content
    headers = http.headers
    try:
        if payload.is_eof():
            body = payload.read_nowait()
        else:
            length = http.content_length
            if length is not None and length > max_bytes:
                raise TooLarge(f"the body is {length} bytes; at most {max_bytes} are taken")
            if hdrs.EXPECT in headers:
                _continue(http)
            async with asyncio.timeout(timeout_s):
                body = await _collect(payload, max_bytes)
    except TimeoutError:
        raise RequestTimeout(f"the body did not arrive within {timeout_s:g} s") from None
    except (web.RequestPayloadError, HttpProcessingError) as error:
        raise BrokenBody("the body's chunks cannot be read") from error
    if len(body) > max_bytes:
        raise TooLarge(f"the body is {len(body)} bytes; at most {max_bytes} are taken")
    if hdrs.CONTENT_ENCODING in headers and body:
        encoding = ",".join(headers.getall(hdrs.CONTENT_ENCODING))
        if len(body) <= INLINE_BYTES:
            return _inflate(body, encoding, max_bytes)
        return await asyncio.to_thread(_inflate, body, encoding, max_bytes)
    return body


def _inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Return `body` decompressed. Raises: TooLarge, BrokenBody when it is malformed or cut, BadRequest."""
    if not can_inflate(encoding):
        raise BadRequest("the body's content-encoding is not one that is taken; send gzip, deflate or none")
    inflater = Inflater(encoding, max_bytes)
    try:
        plain = inflater.feed(body)
        inflater.end()
    except UpstreamError as error:  # the inflater was written for answers
        if inflater.is_over:
            raise TooLarge(f"the body is over {max_bytes} bytes once decompressed, the most that is taken") from None
        raise BrokenBody("the body is not compressed as it says, or cut short") from error
    return plain


def _continue(http: web.BaseRequest) -> None:
    if http.headers[hdrs.EXPECT].lower() != "100-continue":
        raise BadRequest("the only expectation served is 100-continue")
    if http.version == HttpVersion11 and http.transport is not None:
        http.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def _collect(payload: Any, max_bytes: int) -> bytes:
    pieces = []
    size = 0
    while piece := await payload.readany():
        size += len(piece)
        if size > max_bytes:
            raise TooLarge(f"the body is over {max_bytes} bytes, the most that is taken")
        pieces.append(piece)
    return b"".join(pieces)


def decode(request: ClientRequest, endpoint: Endpoint) -> None:
    """Fill in `fields`, `model` and `stream`, and check what a request of this endpoint must have.

    Raises: BadRequest, with `param` naming the member.
    """
    if endpoint.kind != "chat":
        kind = request.headers.get(hdrs.CONTENT_TYPE, "")
        if kind[:10].lower() == "multipart/":
            request.model = _checked_model(find_model(request.body, kind))
            return
        if endpoint.kind == "pass" and not request.body:
            return
    body = request.body
    fields, request.is_as_sent = top_level(body)
    request.members = fields
    model = fields.get("model")
    if model is None and endpoint.name == "ollama_show" and "name" in fields:
        model = fields["model"] = fields.pop("name")  # what older clients call it, LiteLLM among them (November 2026)
    if model is not None:
        request.model = _model(bytes(model))
    elif endpoint.kind != "pass":
        raise BadRequest("the request names no model; set `model`", param="model")
    asked = fields.get("stream")
    if asked is None:
        request.stream = endpoint.stream_default
    else:
        stream = bytes(asked)
        if stream not in (b"true", b"false", b"null"):
            raise BadRequest("`stream` must be true or false", param="stream")
        request.stream = stream == b"true" or (stream == b"null" and endpoint.stream_default)
    for names in endpoint.required:
        for name in names:
            if name in fields:
                break
        else:
            raise BadRequest(f"the request has no `{names[0]}`", param=names[0])
    messages = fields.get("messages")
    if messages is not None and endpoint.required == _CHAT and memoryview(messages)[0] != _BRACKET:
        raise BadRequest("`messages` must be a list", param="messages")


def top_level(body: bytes) -> tuple[dict[str, Raw], bool]:
    """Return the members of a JSON object as raw bytes, and whether they are all of it, one after the other with
    nothing between. Raises: BadRequest for anything else.

    Cheap when nothing is odd: a body that is exactly as long as its members written again can hide no second copy,
    white space apart; otherwise its keys are looked at one by one.
    """
    try:
        fields = _decode_fields(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"the body is not a JSON object: {error}") from None
    except RecursionError:
        raise BadRequest("the body is not usable JSON: it is nested too deeply") from None
    # With white space between them, a name twice or an escape in one it is longer.
    is_compact = sum(map(len, fields)) + sum(map(len, fields.values())) + 4 * len(fields) + 1 == len(body)
    if not is_compact and len(_encode(fields)) != len(body):
        _refuse_second_spellings(body, fields)
    if not _WELL_SPELT.issuperset(fields):
        for name in fields.keys() - _WELL_SPELT:
            if name.casefold() in ACTED_ON:
                raise BadRequest(
                    f"the body spells `{name.casefold()}` as `{name}`; servers differ on what that means",
                    param=name.casefold(),
                )
    return fields, is_compact


def _refuse_second_spellings(body: bytes, fields: dict[str, Raw]) -> None:
    if len(_compact(_encode(fields))) == len(_compact(body)):
        return
    seen: set[str] = set()
    for name in _names(body):
        if name in seen and name.casefold() in ACTED_ON:
            raise BadRequest(f"the body has `{name}` twice; send it once", param=name)
        seen.add(name)


def _compact(body: bytes) -> bytes:
    return msgspec.json.format(body, indent=-1)


def _names(body: bytes) -> Iterator[str]:
    """Yield the names of a valid object's own members as often as they stand there."""
    depth = 0
    for token in _TOKEN.finditer(body):
        found = token.group()
        if found in b"{[":
            depth += 1
        elif found in b"}]":
            depth -= 1
        elif depth == 1 and token[1] is not None:
            yield msgspec.json.decode(token[1], type=str)


@lru_cache(maxsize=1024)
def _model(raw: bytes) -> str:
    """Return the model that a JSON value names. Raises: BadRequest. Remembered: names are few, requests many."""
    try:
        return _checked_model(msgspec.json.decode(raw, type=str))
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadRequest("`model` must be a string", param="model") from None


def _checked_model(model: str) -> str:
    """Return `model` when it may stand in headers, logs and labels. Raises: BadRequest."""
    if not model:
        raise BadRequest("`model` is empty; name a model", param="model")
    if len(model) > LONGEST_MODEL or not (model.isascii() and model.isprintable()):
        raise BadRequest(f"`model` must be at most {LONGEST_MODEL} printable ASCII characters", param="model")
    return model
