"""Another vendor's reasoning inside `encrypted_content`, so that a client hands it back (K11).

The form is `llmgw1.`, a digest, a dot, and base64 of a JSON object. The digest only tells a whole carrier from a cut
one: nothing in it is believed, it is given back only to the vendor whose name it carries, who checks its own signature.
It is never sent to OpenAI, which would refuse it.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import sha256

import msgspec
from msgspec import Struct

from gateway.chat import Reasoning

ORIGIN = "openai_responses"
PREFIX = "llmgw1."


class _Carried(Struct, omit_defaults=True):
    origin: str
    text: str = ""
    encrypted: str | None = None
    signature: str | None = None
    redacted: bool = False
    id: str | None = None


_decode = msgspec.json.Decoder(_Carried).decode


def pack(reasoning: Reasoning) -> str | None:
    """Return what stands in `encrypted_content`: OpenAI's own as it is, another vendor's packed, None for neither."""
    if reasoning.origin in (ORIGIN, "") and reasoning.signature is None:
        return reasoning.encrypted
    if reasoning.signature is None and reasoning.encrypted is None:
        return None
    carried = _Carried(
        origin=reasoning.origin or "anthropic",
        text=reasoning.text,
        encrypted=reasoning.encrypted,
        signature=reasoning.signature,
        redacted=reasoning.redacted,
        id=reasoning.id,
    )
    packed = urlsafe_b64encode(msgspec.json.encode(carried)).decode().rstrip("=")
    return f"{PREFIX}{_digest(packed)}.{packed}"


def unpack(encrypted: str) -> Reasoning | None:
    """Return the foreign reasoning a carrier holds, None for what is OpenAI's own or was damaged."""
    digest, _, packed = encrypted.removeprefix(PREFIX).partition(".")
    if not encrypted.startswith(PREFIX) or digest != _digest(packed):
        return None
    try:
        carried = _decode(urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    except (msgspec.DecodeError, ValueError):
        return None
    return Reasoning(
        text=carried.text,
        encrypted=carried.encrypted,
        signature=carried.signature,
        redacted=carried.redacted,
        id=carried.id,
        origin=carried.origin,
    )


def is_carrier(encrypted: str | None) -> bool:
    """Return whether this is the gateway's own form, which no vendor can read."""
    return encrypted is not None and encrypted.startswith(PREFIX)


def _digest(packed: str) -> str:
    return sha256(packed.encode()).hexdigest()[:12]
