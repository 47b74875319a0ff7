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


class _Ordinary(Struct):
    """An answer as nearly all are, told from any other by whether it fits: no error beside it, counts as OpenAI has
    them."""

    usage: _Counts | None = None
    error: None = None
    x_groq: None = None
    object: str = ""
    status: str = ""
    type: str = ""


_decode = msgspec.json.Decoder(_Answer).decode
_decode_ordinary = msgspec.json.Decoder(_Ordinary).decode
_NO_DETAILS = _Details()
_CACHE = b"cache"


def _ordinary(body: bytes) -> Usage | None:
    """Return the usage of an answer as nearly all are, whose sums hold; None for one that has to be looked through,
    which costs ten times as much."""
    try:
        answer = _decode_ordinary(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    counts = answer.usage
    if counts is None or answer.object == "error" or answer.type == "error" or answer.status == "failed":
        return None
    prompt, completion = counts.prompt_tokens, counts.completion_tokens
    if prompt < 0 or completion < 0 or prompt + completion != counts.total_tokens or counts.total_tokens > 1 << 53:
        return None
    read, made = counts.prompt_tokens_details, counts.completion_tokens_details
    if read is None:
        if body.find(_CACHE) >= 0:  # the vendors' own names for what was read from one: `in` would cost twice as much
            return None
        if made is None:
            return Usage(prompt_tokens=prompt, completion_tokens=completion)
        read = _NO_DETAILS
    reasoning = (made or _NO_DETAILS).reasoning_tokens
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


def usage(body: bytes) -> Usage | None:
    """Return a plain answer's usage, None when it has none.

    Raises: UpstreamError(bad_response) when the body is no JSON object, UpstreamError(error_event) when it is an
    error object under a 200, or a response that failed.
    """
    ordinary = _ordinary(body)
    if ordinary is not None:
        return ordinary
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
        counted = usage_of(decode_any(answer.usage))
    if counted is None and answer.x_groq is not _ABSENT and bytes(answer.x_groq) != b"null":
        groq = decode_any(answer.x_groq)
        counted = usage_of(groq.get("usage")) if isinstance(groq, dict) else None
    return counted
