"""The same target for the same conversation (`sticky`), so that the upstream's prompt cache is used."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
from msgspec import Raw
from multidict import istr

from gateway.exchange import ClientRequest, Exchange
from gateway.upstream.balance.candidate import Candidate

SESSION_HEADERS = tuple(
    map(
        istr,
        ("x-session-id", "x-claude-code-session-id", "x-session-affinity", "session-id", "session_id", "thread-id"),
    )
)
"""Where clients say which conversation it is: any; Claude Code 2.1; opencode; Codex 0.169, with an older form."""
ANYBODY = "anonymous"
"""The principal of all who need no key: not one customer, so no reason to stay together."""
_STEPS = float(1 << 52)
_decode_text = msgspec.json.Decoder(str).decode
_scan = json.JSONDecoder().raw_decode


class _Named(msgspec.Struct):
    session_id: str | None = None


_decode_named = msgspec.json.Decoder(_Named).decode


def sticky(candidates: Sequence[Candidate], exchange: Exchange) -> Sequence[Candidate]:
    """Return the candidates in an order that is the conversation's own, whichever process is asked.

    Rendezvous hashing (Thaler and Ravishankar, 1998) with weights: each target draws a lot for the conversation, the
    luckiest goes first. A target that is added takes only its share from the others, and one that fails leaves its
    share to all of them.
    """
    key = conversation_of(exchange)
    lots = [(lot(key, each), -at) for at, each in enumerate(candidates)]
    lots.sort(reverse=True)
    return [candidates[-at] for _, at in lots]


def lot(key: bytes, candidate: Candidate) -> float:
    """Return the lot that a target draws for `key`: the highest is the luckiest."""
    drawn = int.from_bytes(blake2b(candidate.name.encode(), digest_size=8, key=key).digest(), "big")
    return -candidate.target.weight / math.log(((drawn >> 12) + 0.5) / _STEPS)


def conversation_of(exchange: Exchange) -> bytes:
    """Return what tells this exchange's conversation from others, in 32 bytes.

    Its session, as the body or a header names it; the prompt cache key; who asks; or else how it begins: the system
    prompt and the first message, which every turn of it sends again.
    """
    request = exchange.request
    fields = request.members or {}
    named = _session_in_body(request, fields)
    if named is None:
        headers = request.headers
        named = next((value for name in SESSION_HEADERS if (value := headers.get(name))), None)
    if named is not None:
        return _digest("session", named)
    cached = _text(fields.get("prompt_cache_key"))
    if cached:
        return _digest("cache", cached)
    principal = exchange.principal
    if principal is not None and principal.name != ANYBODY:
        return _digest("principal", principal.name)
    return _digest("prefix", beginning(fields))


def _session_in_body(request: ClientRequest, fields: Mapping[str, Raw]) -> str | None:
    """Return the body's `session_id`, also where the session plugin has taken it out of what goes upstream."""
    if "session_id" in fields:
        return _text(fields["session_id"])
    if request.members is None or b'"session_id"' not in request.body:
        return None
    try:
        return _decode_named(request.body).session_id
    except (msgspec.DecodeError, RecursionError):
        return None


def beginning(fields: Mapping[str, Raw]) -> str:
    """Return the system prompt and the first message in a form that stays the same from turn to turn."""
    parts: list[Any] = [_value(fields[name]) for name in ("system", "instructions", "prompt") if name in fields]
    for name in ("messages", "input"):
        raw = fields.get(name)
        if raw is not None:
            parts.append(_first_messages(bytes(raw)))
    return json.dumps(parts, sort_keys=True)


def _first_messages(raw: bytes) -> Any:
    """Return the messages up to the first that is no system message; what follows is not read."""
    try:
        text = raw.decode("utf-8", "surrogatepass").strip()
        if not text.startswith("["):
            return _value(raw)
        found: list[Any] = []
        at = 1
        while True:
            while text[at] in " \t\r\n,":
                at += 1
            if text[at] == "]":
                return found
            message, at = _scan(text, at)
            found.append(_lasting(message))
            if not isinstance(message, dict) or message.get("role") not in ("system", "developer"):
                return found
    except (ValueError, IndexError, RecursionError):
        return None


def _value(raw: Raw | bytes) -> Any:
    try:
        return _lasting(json.loads(bytes(raw)))
    except (ValueError, RecursionError):
        return None


def _lasting(value: Any) -> Any:
    """Return `value` without the marks that clients move from turn to turn: where the prompt cache shall end."""
    if isinstance(value, dict):
        return {key: _lasting(inner) for key, inner in value.items() if key != "cache_control"}
    return [_lasting(inner) for inner in value] if isinstance(value, list) else value


def _text(raw: Raw | None) -> str | None:
    if raw is None:
        return None
    try:
        return _decode_text(raw)
    except msgspec.DecodeError:
        return None


def _digest(kind: str, text: str) -> bytes:
    return blake2b(f"{kind} {text}".encode("utf-8", "surrogatepass"), digest_size=32).digest()
