"""Takes the usage that the gateway asked for out of a chat stream again: its client did not ask (P14).

With `stream_options.include_usage` OpenAI sends one more event, and `usage: null` in every other. Both go; every other
byte stays.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw

from gateway.dialects.sse import event_fields

_LAST: Final = b',"usage":null}\n\n'
_MEMBER: Final = re.compile(rb',\s*"usage"\s*:\s*null|"usage"\s*:\s*null\s*,\s*')
_decode = msgspec.json.Decoder(dict[str, Raw]).decode
_encode = msgspec.json.encode


def without_null_usage(event: bytes) -> bytes:
    """Return a chunk without the `usage: null` of its object; one that has none as it came."""
    if event.endswith(_LAST):  # OpenAI's own form, as nearly every chunk has it
        return event[: -len(_LAST)] + b"}\n\n"
    if event.find(b'"usage"') < 0:
        return event
    try:
        fields = _decode(event_fields(event)[1])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return event
    if bytes(fields.get("usage", b"")) != b"null":
        return event
    found = _MEMBER.findall(event)
    if len(found) == 1:
        return _MEMBER.sub(b"", event)
    start, end = event.find(b"{"), event.rfind(b"}")  # a member of the same name further in: written again instead
    del fields["usage"]
    return event[:start] + _encode(fields) + event[end + 1 :]
