"""The Lua that runs inside the server: one script an operation, so that each is one atomic step and one round trip."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.state.store import Bucket, Claim, Lease, Quota


@dataclass(frozen=True, slots=True)
class Script:
    """A script's text and the digest by which a server that has it calls it."""

    text: bytes
    digest: str


def _read(name: str) -> Script:
    text = Path(__file__).with_name(f"{name}.lua").read_bytes()
    return Script(text, hashlib.sha1(text, usedforsecurity=False).hexdigest())


TAKE: Final = _read("take")
SETTLE: Final = _read("settle")
RENEW: Final = _read("renew")
PUSH: Final = _read("push")
ADD: Final = _read("add")


def milliseconds(seconds: float) -> int:
    """Return a lifetime as the server takes it: whole, above 0, and less than three centuries."""
    return max(1, min(round(seconds * 1000), 9_000_000_000_000))


def arguments(claims: list[Claim]) -> list[Any]:
    """Return the four arguments of each claim."""
    out: list[Any] = []
    for claim in claims:
        if isinstance(claim, Bucket):
            out += ("b", claim.amount, claim.burst, repr(float(claim.rate_per_s)))
        elif isinstance(claim, Quota):
            out += ("q", claim.amount, claim.limit, milliseconds(claim.lifetime_s))
        else:
            assert isinstance(claim, Lease)
            out += ("l", claim.holder, claim.limit, milliseconds(claim.lifetime_s))
    return out
