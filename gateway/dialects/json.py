"""JSON as the dialects use it: bytes in, bytes out, odd input answered with an error and never a crash.

What must survive as text (tool arguments, schemas) is cut out of the body with msgspec's Raw, so that big integers,
`1.0`, key order and escapes stay what they were.
"""

from __future__ import annotations

import json as stdlib
import re
from math import isfinite
from typing import Any

import msgspec

from gateway.errors import BadRequest, UpstreamError

encode = msgspec.json.encode
decode_any = msgspec.json.Decoder().decode
_decode_raw = msgspec.json.Decoder(msgspec.Raw).decode
_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LONE_SURROGATE = re.compile("[\\ud800-\\udfff]")


def decode_object(body: bytes) -> dict[str, Any]:
    """Return a request body's members. Raises: BadRequest when it is not a JSON object."""
    try:
        value = decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}", code="invalid_request") from None
    if not isinstance(value, dict):
        raise BadRequest('the body is not a JSON object; send {"model": …}')
    return value


def decode_answer(body: bytes) -> dict[str, Any]:
    """Return an answer's members. Raises: UpstreamError(bad_response) when it is not a JSON object."""
    try:
        value = _decode_odd(body)
    except (ValueError, RecursionError):
        raise UpstreamError("bad_response", "the upstream's answer is not JSON") from None
    if not isinstance(value, dict):
        raise UpstreamError("bad_response", "the upstream's answer is not a JSON object")
    return value


def decode_event(data: bytes) -> dict[str, Any] | None:
    """Return a streamed event's object, None when it is not one. Never raises."""
    try:
        value = _decode_odd(data)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _decode_odd(data: bytes) -> Any:
    """Return what an upstream said. Raises: ValueError, RecursionError.

    Servers that cut text in UTF-16 send half of a surrogate pair as an escape, which msgspec refuses: the second
    reading takes it and puts U+FFFD in its place, since UTF-8 cannot carry it either; null for a number that is
    larger than any float.
    """
    try:
        return decode_any(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        value = stdlib.loads(data.decode("utf-8", "replace"), strict=False, parse_float=_finite)
        return decode_any(_LONE_SURROGATE.sub("\ufffd", stdlib.dumps(value, ensure_ascii=False)))


def _finite(text: str) -> float | None:
    number = float(text)
    return number if isfinite(number) else None


def text_of(value: object) -> str:
    """Return `value` as compact JSON text."""
    return encode(value).decode()


def is_json_object(text: str) -> bool:
    """Return whether `text` is a JSON object, whatever its numbers are; never raises."""
    try:
        _decode_members(text)
        return True
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False


def raw(text: str) -> msgspec.Raw:
    """Return JSON text to be put into an encoded object as it is; the caller knows that it is valid."""
    return msgspec.Raw(text.encode("utf-8", "replace"))


def valid_json(text: str) -> bool:
    """Return whether `text` is JSON of any kind; never raises."""
    try:
        _decode_raw(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
    return True
