"""Reasoning that another provider signed or sealed, taken out when a request fails over (K09).

A signature, and what is encrypted for the next turn, is good with the organisation and model that made it; anyone else
refuses the request for it. Who made it cannot be read off, so what counts is where the conversation is at home: the
first target of an ordered route, else whoever this exchange asked first. There it goes back byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Raw

from gateway.exchange import Exchange
from gateway.route import Target

LEFT_OUT = {"anthropic": "thinking", "openai_responses": "reasoning"}
"""What is left out, as the dialect calls it; the other dialects have no such thing."""
_MARKS = {"anthropic": (b'"signature"', b'"redacted_thinking"'), "openai_responses": (b'"reasoning"',)}
_encode = msgspec.json.encode


class _Block(msgspec.Struct):
    type: str = ""
    signature: str | None = None


class _Asked(msgspec.Struct):
    type: str = ""


_list_of = msgspec.json.Decoder(list[Raw]).decode
_members_of = msgspec.json.Decoder(dict[str, Raw]).decode
_block_of = msgspec.json.Decoder(_Block).decode
_asked_of = msgspec.json.Decoder(_Asked).decode


def is_abroad(exchange: Exchange, target: Target) -> bool:
    """Return whether `target` is another provider's than the one the conversation is at home with."""
    route = exchange.route
    provider = target.provider
    if route is not None and route.balance == "ordered":
        if provider is route.targets[0].provider:
            return False
        home = next((each.provider for each in route.targets if each.provider.enabled), provider)
        return provider is not home
    return bool(exchange.attempts) and exchange.attempts[0].target.provider is not provider


def holds_reasoning(body: bytes, dialect: str) -> bool:
    """Return whether a body in `dialect` may hand back reasoning that its reader would judge."""
    return dialect in _MARKS and any(mark in body for mark in _MARKS[dialect])


def without_reasoning(body: bytes, dialect: str) -> bytes | None:
    """Return a request's body without signed or sealed reasoning; None when it holds none. Every other value keeps its
    bytes. What is no such request is left to the upstream to refuse."""
    try:
        fields = _members_of(body)
        changed = _of_messages(fields) if dialect == "anthropic" else _of_input(fields)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return _encode({**fields, **changed}) if changed else None


def _of_input(fields: Mapping[str, Raw]) -> dict[str, Any]:
    raw = fields.get("input")
    if raw is None or not bytes(raw).lstrip().startswith(b"["):
        return {}
    items = _list_of(raw)
    kept = [item for item in items if _block_of(item).type != "reasoning"]
    return {"input": kept} if len(kept) < len(items) else {}


def _of_messages(fields: dict[str, Raw]) -> dict[str, Any]:
    messages = _list_of(fields["messages"]) if "messages" in fields else []
    kept: list[Any] = []
    in_loop = False
    changed = False
    for raw in messages:
        message = _members_of(raw)
        content = message.get("content", Raw(b'""'))
        blocks = _list_of(content) if bytes(content).lstrip().startswith(b"[") else []
        kinds = [_block_of(block) for block in blocks]
        own = [block for block, kind in zip(blocks, kinds, strict=True) if not _is_sealed(kind)]
        in_loop = any(kind.type == "tool_result" for kind in kinds)
        if len(own) == len(blocks):
            kept.append(raw)
            continue
        changed = True
        if own:  # Anthropic takes two turns of one side in a row, but none that is empty
            kept.append({**message, "content": own})
    if not changed:
        return {}
    if in_loop and "thinking" in fields and _asked_of(fields["thinking"]).type == "enabled":
        # In a tool loop a thinking budget wants the turn before to begin with signed thinking, which is gone.
        del fields["thinking"]
        if b"clear_thinking" in bytes(fields.get("context_management", b"")):
            del fields["context_management"]
    return {"messages": kept}


def _is_sealed(block: _Block) -> bool:
    return block.type == "redacted_thinking" or (block.type == "thinking" and bool(block.signature))
