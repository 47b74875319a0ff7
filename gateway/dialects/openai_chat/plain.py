"""A plain answer of any OpenAI path, read no further than its usage."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from gateway.chat import Usage
from gateway.dialects.json import decode_answer, decode_any, encode
from gateway.dialects.openai_chat.counts import usage_of
from gateway.dialects.openai_chat.failure import error_in
from gateway.errors import UpstreamError

_ABSENT = Raw(b"")


class _Answer(Struct):
    """The members that say whether this is an answer, and what it cost; the rest is skipped, not decoded."""

    usage: Raw = _ABSENT
    x_groq: Raw = _ABSENT
    error: Raw = _ABSENT
    object: Raw = _ABSENT
    status: Raw = _ABSENT
    type: Raw = _ABSENT


class _Details(Struct):
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


class _Counts(Struct):
    """What OpenAI itself sends. Anything else, a null or a name of another vendor's, takes the long way."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


_decode_counts = msgspec.json.Decoder(_Counts).decode
_NO_DETAILS = _Details()
_VENDOR_CACHE, _VENDOR_CACHED = b"cache_hit", b'"cached_tokens":'


def _plain_counts(usage: Raw) -> Usage | None:
    """Return the usage when it is of OpenAI's own form and its sums hold, else None: decoding it costs a microsecond,
    looking through it ten."""
    try:
        counts = _decode_counts(usage)
    except msgspec.DecodeError:
        return None
    prompt, completion = counts.prompt_tokens, counts.completion_tokens
    if prompt < 0 or completion < 0 or prompt + completion != counts.total_tokens or counts.total_tokens > 1 << 53:
        return None
    read, written = counts.prompt_tokens_details, counts.completion_tokens_details
    if read is None:
        text = bytes(usage)
        if _VENDOR_CACHE in text or _VENDOR_CACHED in text:
            return None
        if written is None:
            return Usage(prompt_tokens=prompt, completion_tokens=completion)
        read = _NO_DETAILS
    reasoning = (written or _NO_DETAILS).reasoning_tokens
    if min(read.cached_tokens, read.cache_write_tokens) < 0 or not 0 <= reasoning <= completion:
        return None
    if read.cached_tokens + read.cache_write_tokens > prompt:
        return None
    return Usage(
        prompt_tokens=prompt,
        completion_tokens=completion,
        cached_tokens=read.cached_tokens,
        cache_write_tokens=read.cache_write_tokens,
        reasoning_tokens=reasoning,
    )


_decode = msgspec.json.Decoder(_Answer).decode


def usage(body: bytes) -> Usage | None:
    """Return a plain answer's usage, None when it has none.

    Raises: UpstreamError(bad_response) when the body is no JSON object, UpstreamError(error_event) when it is an
    error object under a 200, or a response that failed.
    """
    try:
        answer = _decode(body)
    except RecursionError:
        return None  # deeper than can be read: it passes unread
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = _decode(encode(decode_answer(body)))  # says what is wrong, or mends the text for this reading
    if (
        (answer.error is not _ABSENT and bytes(answer.error) != b"null")
        or (answer.object is not _ABSENT and bytes(answer.object) == b'"error"')
        or (answer.type is not _ABSENT and bytes(answer.type) == b'"error"')
        or (answer.status is not _ABSENT and bytes(answer.status) == b'"failed"')
    ):
        found = error_in(decode_answer(body))
        if found is not None:
            raise found
        if bytes(answer.status) == b'"failed"':
            raise UpstreamError("error_event", "the response failed")
    counted = None
    if answer.usage is not _ABSENT and bytes(answer.usage) != b"null":
        counted = _plain_counts(answer.usage) or usage_of(decode_any(answer.usage))
    if counted is None and answer.x_groq is not _ABSENT and bytes(answer.x_groq) != b"null":
        groq = decode_any(answer.x_groq)
        counted = usage_of(groq.get("usage")) if isinstance(groq, dict) else None
    return counted
