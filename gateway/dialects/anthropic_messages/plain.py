"""A plain Messages answer, read only as far as its usage."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from gateway.chat import Usage
from gateway.dialects.anthropic_messages.counts import parse_usage
from gateway.dialects.anthropic_messages.failure import error_of
from gateway.dialects.json import decode_answer, decode_any

_ABSENT = Raw(b"null")


class _Answer(Struct):
    type: str = ""
    error: Raw = _ABSENT
    usage: Raw = _ABSENT


_decode = msgspec.json.Decoder(_Answer).decode


def usage(body: bytes) -> Usage | None:
    """Return a plain answer's usage, None when it has none.

    A count_tokens answer has none: counting is free and no token was used.
    Raises: UpstreamError(bad_response) for what is not a JSON object, (error_event) for an error under a 200.
    """
    try:
        answer = _decode(body)
    except RecursionError:
        return None  # deeper than can be read: it passes unread
    except (msgspec.DecodeError, UnicodeError):
        wire = decode_answer(body)  # says what is wrong, or gives an object with an odd `type`
        return parse_usage(wire.get("usage"))
    error = decode_any(answer.error)
    if error or answer.type == "error":
        raise error_of("error_event", error)
    return parse_usage(decode_any(answer.usage))
