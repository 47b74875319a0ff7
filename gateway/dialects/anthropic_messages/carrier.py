"""Another vendor's reasoning inside the `signature` of a thinking block, so that a client hands it back.

The form is `llmgw1.` and base64 of a JSON object. Nothing in it is believed: it is given back only to the vendor
whose name it carries, who checks its own cipher text. It is never sent to Anthropic, which would refuse it.
"""

from __future__ import annotations

import re
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
_FOREIGN = re.compile(rb'"signature"\s*:\s*"(?:"|llmgw1\.)')


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


def holds_foreign_thinking(body: bytes) -> bool:
    """Return whether a Messages request hands back thinking that Anthropic never signed.

    Another vendor thought it in an earlier turn. Anthropic refuses such a block, so this request must be rendered
    (which leaves the block out) where it would otherwise go upstream byte for byte. Inside a JSON string
    the quotation marks would be escaped, so a text that speaks of signatures is not mistaken for one.
    """
    return b'"signature"' in body and _FOREIGN.search(body) is not None
