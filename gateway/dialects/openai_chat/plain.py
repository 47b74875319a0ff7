"""A plain answer of any OpenAI path, read no further than its usage."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from gateway.chat import Usage
from gateway.dialects.json import decode_answer, decode_any
from gateway.dialects.openai_chat.counts import usage_of
from gateway.dialects.openai_chat.failure import error_in
from gateway.errors import UpstreamError


class _Answer(Struct):
    """The members that say whether this is an answer, and what it cost; the rest is skipped, not decoded."""

    usage: Raw = Raw(b"")
    x_groq: Raw = Raw(b"")
    error: Raw = Raw(b"")
    object: Raw = Raw(b"")
    status: Raw = Raw(b"")
    type: Raw = Raw(b"")


_decode = msgspec.json.Decoder(_Answer).decode
_NOTHING = (b"", b"null")


def usage(body: bytes) -> Usage | None:
    """Return a plain answer's usage, None when it has none.

    Raises: UpstreamError(bad_response) when the body is no JSON object, UpstreamError(error_event) when it is an
    error object under a 200, or a response that failed.
    """
    try:
        answer = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        decode_answer(body)
        raise UpstreamError("bad_response", "the upstream's answer is not JSON") from None
    if (
        bytes(answer.error) not in _NOTHING
        or bytes(answer.object) == b'"error"'
        or bytes(answer.type) == b'"error"'
        or bytes(answer.status) == b'"failed"'
    ):
        found = error_in(decode_answer(body))
        if found is not None:
            raise found
        if bytes(answer.status) == b'"failed"':
            raise UpstreamError("error_event", "the response failed")
    counted = usage_of(decode_any(answer.usage)) if bytes(answer.usage) not in _NOTHING else None
    if counted is None and bytes(answer.x_groq) not in _NOTHING:
        groq = decode_any(answer.x_groq)
        counted = usage_of(groq.get("usage")) if isinstance(groq, dict) else None
    return counted
