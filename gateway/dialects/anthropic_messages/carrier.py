"""Another vendor's reasoning inside the `signature` of a thinking block, so that a client hands it back.

The form is `llmgw1.` and base64 of a JSON object. Nothing in it is believed: it is given back only to the vendor
whose name it carries, who checks its own cipher text. It is never sent to Anthropic, which would refuse it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
from msgspec import Struct

from gateway.chat import Reasoning
from gateway.dialects.members import ODD_JSON

PREFIX = "llmgw1."
ORIGIN = "anthropic"


class _Carried(Struct, omit_defaults=True):
    origin: str
    encrypted: str | None = None
    signature: str | None = None
    redacted: bool = False
    id: str | None = None


_decode = msgspec.json.Decoder(_Carried).decode


def pack(signature: str | None, encrypted: str | None, redacted: bool, id: str | None, origin: str) -> str:
    """Return what stands in `signature`: Anthropic's own as it is, another vendor's packed, "" when unsigned."""
    if origin == ORIGIN:
        return signature or ""
    if not (signature or encrypted):
        return ""
    carried = _Carried(origin=origin, encrypted=encrypted, signature=signature, redacted=redacted, id=id)
    return PREFIX + urlsafe_b64encode(msgspec.json.encode(carried)).decode().rstrip("=")


def unpack(text: str, signature: str) -> Reasoning:
    """Return a thinking block in neutral words; a carrier that was tampered with is unsigned reasoning."""
    if not signature:
        return Reasoning(text=text)
    if not signature.startswith(PREFIX):
        return Reasoning(text=text, signature=signature, origin=ORIGIN)
    packed = signature.removeprefix(PREFIX)
    try:
        carried = _decode(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except (*ODD_JSON, ValueError):
        return Reasoning(text=text)
    if carried.origin == ORIGIN:
        return Reasoning(text=text)
    return Reasoning(
        text=text,
        signature=carried.signature,
        encrypted=carried.encrypted,
        redacted=carried.redacted,
        id=carried.id,
        origin=carried.origin,
    )
